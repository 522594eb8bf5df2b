"""The artifact store: files below LASTGOOD_VAR/artifacts, each named by the SHA-256 of its bytes."""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from django.conf import settings

CHUNK_BYTES = 2**20
CHECK_BYTES = 64 * 2**20
"""After so many bytes of a stream the room on the disk is looked at again."""
SHA256 = re.compile(r"[0-9a-f]{64}")


class ArtifactMissing(FileNotFoundError):
    """The store holds no file of that SHA-256. The message says what to do."""


class ArtifactDamaged(ValueError):
    """A stored file's bytes are no longer the ones that its name promises."""


class TooLarge(ValueError):
    """A file has more bytes than the store takes, or than its disk has room for."""


class DigestMismatch(ValueError):
    """What was sent is not what was promised."""


def root() -> Path:
    """The directory of the store."""
    return Path(settings.LASTGOOD_VAR) / "artifacts"


def path(sha256: str) -> Path:
    """Where the file of that SHA-256 (64 hex digits, lowercase) is or would be. Raises ValueError for anything else."""
    if not SHA256.fullmatch(sha256):
        raise ValueError(f"{sha256[:80]!r} is not a SHA-256 in lowercase hex.")
    return root() / sha256[:2] / sha256


def put_bytes(data: bytes) -> str:
    """Store the bytes durably and return their SHA-256. Storing the same bytes again changes nothing."""
    return _put(iter([data]))


def put_file(source: Path) -> str:
    """Store a copy of a file durably and return its SHA-256."""
    with source.open("rb") as file:
        return _put(_chunks(file))


def put_stream(pieces: Iterable[bytes], sha256: str) -> int:
    """Store what is being sent under the SHA-256 that was promised, and return its size in bytes.

    Raises DigestMismatch when it is something else, and TooLarge, as soon as that shows; nothing is stored then.
    """
    return path(_put(_limited(pieces), path(sha256).name)).stat().st_size


def put_new(pieces: Iterable[bytes]) -> tuple[str, int]:
    """Store what a program of ours writes piece by piece; its SHA-256 and size in bytes. Raises TooLarge."""
    sha256 = _put(_limited(pieces))
    return sha256, path(sha256).stat().st_size


def check_size(size: int) -> None:
    """Raises TooLarge for a file of so many bytes: beyond LASTGOOD_BLOB_MAX_BYTES, or where the disk would be left with
    less than LASTGOOD_BLOB_SPARE_BYTES."""
    if size > settings.LASTGOOD_BLOB_MAX_BYTES:
        raise TooLarge(f"A file has at most {settings.LASTGOOD_BLOB_MAX_BYTES} bytes (LASTGOOD_BLOB_MAX_BYTES).")
    root().mkdir(parents=True, exist_ok=True)
    if size + settings.LASTGOOD_BLOB_SPARE_BYTES > shutil.disk_usage(root()).free:
        raise TooLarge("The artifact store's disk has no room for a file of that size. Make room, then send it again.")


def _limited(pieces: Iterable[bytes]) -> Iterator[bytes]:
    size = checked = 0
    for piece in pieces:
        size += len(piece)
        if size > checked:
            checked = size + CHECK_BYTES
            check_size(size)
        elif size > settings.LASTGOOD_BLOB_MAX_BYTES:
            check_size(size)
        yield piece


@contextmanager
def open_verified(sha256: str) -> Iterator[IO[bytes]]:
    """The stored file, open for reading from its start, after all its bytes were checked against its name.

    Raises ArtifactMissing (an OSError) and ArtifactDamaged (a ValueError).
    """
    try:
        file = path(sha256).open("rb")
    except FileNotFoundError:
        raise ArtifactMissing(f"The file {sha256[:12]} is not in the artifact store. Upload it again.") from None
    with file:
        found = _digest(file)
        if found != sha256:
            raise ArtifactDamaged(f"The file {sha256[:12]} is damaged: its SHA-256 is now {found[:12]}.")
        file.seek(0)
        yield file


def holds(sha256: str) -> bool:
    """Whether a file of that name is there; its bytes are not looked at."""
    return path(sha256).is_file()


def digest_of(source: Path | bytes) -> tuple[str, int]:
    """SHA-256 in hex and size in bytes of a file or of bytes."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest(), len(source)
    with source.open("rb") as file:
        return _digest(file), source.stat().st_size


def _digest(file: IO[bytes]) -> str:
    state = hashlib.sha256()
    for piece in _chunks(file):
        state.update(piece)
    return state.hexdigest()


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(CHUNK_BYTES):
        yield piece


def _put(pieces: Iterator[bytes], promised: str = "") -> str:
    drafts = root() / "drafts"
    drafts.mkdir(parents=True, exist_ok=True)
    state = hashlib.sha256()
    with tempfile.NamedTemporaryFile(dir=drafts, delete=False) as draft:
        try:
            for piece in pieces:
                state.update(piece)
                draft.write(piece)
            draft.flush()
            os.fsync(draft.fileno())
            found = state.hexdigest()
            if promised and found != promised:
                raise DigestMismatch(f"The SHA-256 of what was sent is {found}, not {promised}. Nothing was stored.")
            return _publish(Path(draft.name), found)
        except BaseException:
            Path(draft.name).unlink(missing_ok=True)
            raise


def _publish(draft: Path, sha256: str) -> str:
    """Give the draft its name, over a damaged file too: what is renamed here has just been hashed."""
    target = path(sha256)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft.chmod(0o644)
    draft.replace(target)
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return sha256
