"""The lines of an exported runbook, run by a shell as they are printed, bring another engine to their version."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from incidents.practice.exported import compose
from registry.actions import mark_soaked
from registry.models import Endpoint
from tests.engines.servers import Server
from tests.engines.test_rollback import fleet_on, observed
from tests.incidents.rollback.fleet import SETUP

pytestmark = pytest.mark.engines


def lines_of(body: str, title: str) -> str:
    """The shell lines below a heading of the runbook."""
    found = re.search(rf"^## {re.escape(title)}$.*?^```sh\n(.*?)^```$", body, re.MULTILINE | re.DOTALL)
    assert found is not None, body
    return found.group(1)


def run(lines: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", lines], cwd=folder, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("engine", ["triton", "mlserver", "torchserve"])
def test_the_printed_lines_bring_a_host_to_the_older_version_and_back(
    db: Any, servers: Callable[[str], Server], tmp_path: Path, settings: Any, engine: str
) -> None:
    # given version 2 live, version 1 last-good
    server = servers(engine)
    fleet = fleet_on(server, tmp_path, settings)
    fleet.serve(fleet.good)
    mark_soaked(version=fleet.good, endpoint=fleet.endpoint, actor=SETUP)
    fleet.serve(fleet.bad)
    body, _ = compose(Endpoint.objects.get(pk=fleet.endpoint.pk))
    assert fleet.answers() == server.expected(2)

    # when
    back = run(lines_of(body, f"Roll back to version {fleet.good.number}"), tmp_path)

    # then
    assert back.returncode == 0, back.stdout + back.stderr
    assert fleet.answers() == server.expected(1)
    assert observed(engine).observed_digest == fleet.good.digest

    # and the other way
    forth = run(lines_of(body, f"Go back to what is served now: version {fleet.bad.number}"), tmp_path)
    assert forth.returncode == 0, forth.stdout + forth.stderr
    assert fleet.answers() == server.expected(2)
    assert observed(engine).observed_digest == fleet.bad.digest
