"""Files are looked for by name and size, and read against their digests when that is due."""

import os
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from registry import intact, store
from registry.actions.known import stored_artifact
from registry.models import Artifact

DAY = timedelta(days=1)


@pytest.fixture
def files(db: None, settings: Any, tmp_path: Path) -> list[Artifact]:
    settings.LASTGOOD_VAR = tmp_path
    settings.LASTGOOD_ARTIFACTS_URL = ""
    return [stored_artifact(data, "application/octet-stream") for data in (b"weights" * 100, b"golden" * 50)]


def look(files: list[Artifact], *, reading: bool = True) -> intact.Looked:
    return intact.look([file.sha256 for file in files], unread_since=intact.fresh_since() if reading else None)


def change(file: Artifact, data: bytes, *, quietly: bool = False) -> None:
    """Other bytes under the same name; quietly: without another time, as a disk that decays does it."""
    path = store.path(file.sha256)
    before = path.stat()
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    path.write_bytes(data)
    if quietly:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_what_was_never_read_is_read_and_what_was_read_lately_is_not(files: list[Artifact]) -> None:
    first, second = look(files), look(files)

    assert (first.files, first.read, first.damage) == (2, 2, "")
    assert first.sentence == "2 files, read against their digests now"
    assert (second.read, second.damage) == (0, "")
    read_at = min(Artifact.objects.values_list("read_at", flat=True))
    assert second.since == read_at
    assert second.sentence == (
        f"2 files, there and of the right size; read against their digests since {read_at:%Y-%m-%d %H:%M} UTC"
    )


def test_what_was_read_too_long_ago_is_read_again(files: list[Artifact], settings: Any) -> None:
    look(files)
    Artifact.objects.filter(pk=files[0].pk).update(read_at=timezone.now() - 8 * DAY)

    found = look(files)

    assert (found.read, found.damage) == (1, "")
    assert "1 read against their digests now, the others since" in found.sentence
    settings.LASTGOOD_ARTIFACTS_CHECK_DAYS = 0
    assert look(files).read == 2


def test_nothing_is_read_where_there_is_no_time_for_it(files: list[Artifact]) -> None:
    found = look(files, reading=False)

    assert (found.read, found.since, found.damage) == (0, None, "")
    assert found.sentence == "2 files, there and of the right size; not all were read against their digests yet"
    assert not Artifact.objects.exclude(read_at=None).exists()


def test_a_file_that_was_written_since_is_read_and_found_damaged(files: list[Artifact]) -> None:
    look(files)
    Artifact.objects.update(read_at=timezone.now() - DAY)
    change(files[0], b"WEIGHTS" * 100)

    found = look(files)

    assert found.damage.startswith(f"{files[0]}: ")
    assert Artifact.objects.get(pk=files[0].pk).read_at is None, "it does not count as read any more"


@pytest.mark.parametrize("reading", [True, False])
def test_a_file_that_is_cut_short_or_gone_is_found_without_reading(files: list[Artifact], reading: bool) -> None:
    look(files)
    change(files[0], b"weights", quietly=True)
    store.path(files[1].sha256).unlink()

    assert look(files[:1], reading=reading).damage == f"{files[0]} is missing or cut short"
    assert look(files[1:], reading=reading).damage == f"{files[1]} is missing or cut short"


def test_what_decays_quietly_is_found_when_it_is_due(files: list[Artifact]) -> None:
    look(files)
    change(files[0], b"WEIGHTS" * 100, quietly=True)
    assert look(files).damage == ""

    Artifact.objects.update(read_at=timezone.now() - 8 * DAY)

    assert look(files).damage.startswith(f"{files[0]}: ")
