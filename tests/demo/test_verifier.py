"""The verifier of an exported bundle, run by the demo in a Python that knows nothing but cryptography."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connections

from demo.scenario import run_verifier
from tests.audit import story
from tests.audit.log import edit_record, exported, rezip, sequence_all, sequencer_in, unzip
from tests.conftest import CommittedDatabase

pytestmark = pytest.mark.slow


@pytest.fixture
def bundle(committed_db: CommittedDatabase, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """An exported rollback, and the log's key as the auditor knows it."""
    sequencer = sequencer_in(tmp_path)
    story.people()
    story.whole()
    sequence_all(sequencer)
    path = tmp_path / "bundle.zip"
    exported(sequencer, path)
    yield path, sequencer.signer.vkey
    connections["sequencer"].close()


def can_import(python: Path, module: str) -> bool:
    return subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False).returncode == 0


def test_a_whole_bundle_verifies_without_the_product_and_a_changed_one_does_not(bundle: tuple[Path, str]) -> None:
    path, key = bundle

    done = run_verifier(path, key)

    assert done.stdout.splitlines()[-1] == "Whole: every check passed."
    python = path.parent / "demo-verifier" / "venv" / "bin" / "python"
    assert [can_import(python, module) for module in ("cryptography", "django", "torch")] == [True, False, False]

    rezip(path, edit_record(unzip(path), 1, b"u-", b"v-"))
    assert run_verifier(path, key).returncode == 1
