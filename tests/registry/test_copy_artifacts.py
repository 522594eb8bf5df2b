"""``manage.py copy_artifacts``: only what is missing, and never what is damaged."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from registry import store
from registry.store_directory import Directory
from tests.registry.buckets import BUCKET, use


@pytest.fixture(autouse=True)
def _in_the_bucket(settings: Any, tmp_path: Path, s3: str) -> None:
    settings.LASTGOOD_VAR = tmp_path / "var"
    use(settings, s3, tmp_path.name)


def copied(source: str, target: str) -> str:
    said = StringIO()
    call_command("copy_artifacts", source, target, stdout=said, stderr=said)
    return said.getvalue()


def filled(root: Path, *contents: bytes) -> list[str]:
    return [Directory(root).put([data])[0] for data in contents]


def test_a_directory_goes_into_a_bucket_and_a_second_time_nothing_does(tmp_path: Path) -> None:
    one, two = filled(tmp_path / "old", b"one", b"two")

    first, second = (copied((tmp_path / "old").as_uri(), "here") for _ in range(2))

    assert "2 files of 6 bytes copied" in first
    assert "0 files of 0 bytes copied" in second
    assert "2 were there already" in second
    assert store.lacking([one, two]) == set()
    assert not store.path(one).exists()


def test_a_bucket_goes_into_a_directory_and_into_another_bucket(settings: Any, tmp_path: Path) -> None:
    sha256 = store.put_bytes(b"weights")
    store.path(sha256).unlink()

    copied("here", (tmp_path / "new").as_uri())
    copied("here", f"s3://{BUCKET}/{tmp_path.name}-other")

    assert Directory(tmp_path / "new").path(sha256).read_bytes() == b"weights"
    assert store.place_at(f"s3://{BUCKET}/{tmp_path.name}-other").size_of(sha256) == 7
    assert not store.path(sha256).exists()


def test_a_damaged_file_is_named_and_the_others_go(tmp_path: Path) -> None:
    one, two = filled(tmp_path / "old", b"one", b"two")
    Directory(tmp_path / "old").path(one).write_bytes(b"eno")

    with pytest.raises(CommandError, match="1 files could not be copied"):
        copied((tmp_path / "old").as_uri(), "here")

    assert store.lacking([one, two]) == {one}


def test_a_store_copied_onto_itself_is_refused(settings: Any) -> None:
    with pytest.raises(CommandError, match="the same store"):
        copied("here", settings.LASTGOOD_ARTIFACTS_URL)
