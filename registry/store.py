"""The artifact store: files named by the SHA-256 of their bytes, in a directory or in an S3-compatible bucket.

LASTGOOD_ARTIFACTS_URL says where. With a bucket, the directory LASTGOOD_VAR/artifacts keeps copies of what is used
here: a file is in the store once the bucket has it, and is read through its copy, whose bytes are checked.
"""

import functools
import hashlib
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from django.conf import settings

from registry.store_directory import (
    ArtifactDamaged,
    ArtifactMissing,
    DigestMismatch,
    Directory,
    Place,
    chunks,
    damaged,
    free_bytes,
    missing,
)
from registry.store_objects import Access, ArtifactUnavailable, Bucket, StoreAddressRefused

__all__ = [
    "ArtifactDamaged", "ArtifactMissing", "ArtifactUnavailable", "DigestMismatch", "StoreAddressRefused", "TooLarge",
    "address", "changed_at", "check_size", "copies", "digest_of", "holds", "in_bucket", "lacking", "local", "missing",
    "open_verified", "path", "place", "place_at", "put_bytes", "put_file", "put_new", "put_stream", "read", "remove",
    "root", "signed_address", "size_of", "trim_copies",
]  # fmt: skip

CHECK_BYTES = 64 * 2**20
"""After so many bytes of a stream the room on the disk is looked at again."""
SHA256 = re.compile(r"[0-9a-f]{64}")
IN_USE_SECONDS = 3600.0
"""A copy that was asked for so lately is not thrown away to make room."""


class TooLarge(ValueError):
    """A file has more bytes than the store takes, or than its disk has room for."""


def root() -> Path:
    """The directory of the store, or of the copies of what is in its bucket."""
    url = settings.LASTGOOD_ARTIFACTS_URL
    if url.startswith("file://"):
        return Path(unquote(urlsplit(url).path))
    return Path(settings.LASTGOOD_VAR) / "artifacts"


def copies() -> Directory:
    """The directory of `root`."""
    return Directory(root())


def path(sha256: str) -> Path:
    """Where the file of that SHA-256 (64 hex digits, lowercase) is or would be on this machine: `local` makes sure that
    it is. Raises ValueError for anything else."""
    if not SHA256.fullmatch(sha256):
        raise ValueError(f"{sha256[:80]!r} is not a SHA-256 in lowercase hex.")
    return copies().path(sha256)


def drop_drafts(older_than: float) -> int:
    """Remove files on this machine that died half written before that (seconds since 1970); how many they were."""
    return copies().drop_drafts(older_than)


def place(*, patient: bool = True) -> Place:
    """Where the files are kept. Raises StoreAddressRefused. `patient` as in Bucket."""
    return _bucket(patient) or copies()


def place_at(url: str) -> Place:
    """The store at file:///directory, or at s3://bucket/prefix with the keys of LASTGOOD_ARTIFACTS_*.

    Raises StoreAddressRefused.
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        return Directory(Path(unquote(parts.path)))
    return Bucket(_access(url))


def address() -> str:
    """Where the files are kept, for people."""
    return settings.LASTGOOD_ARTIFACTS_URL or copies().address


def in_bucket() -> bool:
    """Whether the files are kept in a bucket."""
    return _bucket() is not None


def signed_address(sha256: str, seconds: float) -> str:
    """Where whoever has this address can read the file from the bucket for so long; "" where files are kept in a
    directory. Whether it is there is not looked at. Raises ArtifactUnavailable."""
    bucket = _bucket(patient=False)
    return bucket.signed(path(sha256).name, seconds) if bucket else ""


def put_bytes(data: bytes) -> str:
    """Store the bytes durably and return their SHA-256. Storing the same bytes again changes nothing."""
    return _put([data])[0]


def put_file(source: Path) -> str:
    """Store a copy of a file durably and return its SHA-256."""
    with source.open("rb") as file:
        return _put(chunks(file))[0]


def put_stream(pieces: Iterable[bytes], sha256: str) -> int:
    """Store what is being sent under the SHA-256 that was promised, and return its size in bytes.

    Raises DigestMismatch when it is something else, and TooLarge, as soon as that shows; nothing is stored then.
    """
    return _put(_limited(pieces), path(sha256).name)[1]


def put_new(pieces: Iterable[bytes]) -> tuple[str, int]:
    """Store what a program of ours writes piece by piece; its SHA-256 and size in bytes. Raises TooLarge."""
    return _put(_limited(pieces))


def check_size(size: int) -> None:
    """Raises TooLarge for a file of so many bytes: beyond LASTGOOD_BLOB_MAX_BYTES, or where the disk would be left with
    less than LASTGOOD_BLOB_SPARE_BYTES."""
    if size > settings.LASTGOOD_BLOB_MAX_BYTES:
        raise TooLarge(f"A file has at most {settings.LASTGOOD_BLOB_MAX_BYTES} bytes (LASTGOOD_BLOB_MAX_BYTES).")
    if size + settings.LASTGOOD_BLOB_SPARE_BYTES > free_bytes(root()):
        raise TooLarge("The artifact store's disk has no room for a file of that size. Make room, then send it again.")


@contextmanager
def open_verified(sha256: str) -> Iterator[IO[bytes]]:
    """The stored file, open for reading from its start, after all its bytes were checked against its name. A copy that
    is damaged is brought anew from the bucket.

    Raises ArtifactMissing and ArtifactUnavailable (OSErrors) and ArtifactDamaged (a ValueError).
    """
    for again in (_bucket() is not None, False):
        try:
            file = local(sha256).open("rb")
        except FileNotFoundError:
            raise missing(sha256) from None
        with file:
            found = _digest(file)
            if found == sha256:
                file.seek(0)
                yield file
                return
        if not again:
            raise damaged(sha256, found)
        copies().remove(sha256)


def local(sha256: str) -> Path:
    """The file on this machine, brought from the bucket where it is not: resumed where an earlier read broke off, and
    checked against its name. Of a file that is here already the bytes are not looked at.

    Raises ArtifactMissing, ArtifactUnavailable, ArtifactDamaged.
    """
    here = path(sha256)
    bucket = _bucket()
    if bucket is None:
        if not here.is_file():
            raise missing(sha256)
        return here
    if not here.is_file():
        copies().fetch(sha256, bucket, _make_room)
    try:
        os.utime(here, (time.time(), here.stat().st_mtime))
    except FileNotFoundError:
        raise missing(sha256) from None
    return here


def read(sha256: str, offset: int = 0) -> Iterator[bytes]:
    """The file's bytes from `offset` on as they are kept, unchecked, for whoever hashes them: from a copy on this
    machine, else straight from the bucket. Raises ArtifactMissing and ArtifactUnavailable, also on the way."""
    here, bucket = copies(), _bucket()
    place = here if bucket is None or here.size_of(sha256) is not None else bucket
    try:
        yield from place.read(sha256, offset)
    except FileNotFoundError:
        raise missing(sha256) from None


def holds(sha256: str) -> bool:
    """Whether a file of that name is there; its bytes are not looked at. Raises ArtifactUnavailable."""
    return size_of(sha256) is not None


def size_of(sha256: str) -> int | None:
    """Bytes of the stored file, None where there is none. A copy on this machine counts; its bytes are not looked at.
    Raises ArtifactUnavailable."""
    here = path(sha256)
    if here.is_file():
        return here.stat().st_size
    bucket = _bucket(patient=False)
    return bucket.size_of(sha256) if bucket else None


def changed_at(sha256: str) -> float | None:
    """When the file on this machine was last written (seconds since 1970); None where there is none here."""
    try:
        return path(sha256).stat().st_mtime
    except FileNotFoundError:
        return None


def lacking(wanted: Iterable[str]) -> set[str]:
    """Those that can't be had now: missing, or in a bucket that does not answer (which is asked once)."""
    away = {sha256 for sha256 in wanted if not path(sha256).is_file()}
    bucket = _bucket(patient=False)
    if bucket is None:
        return away
    found: set[str] = set()
    try:
        for sha256 in sorted(away):
            if bucket.size_of(sha256) is not None:
                found.add(sha256)
    except ArtifactUnavailable:
        pass
    return away - found


def remove(sha256: str) -> None:
    """Take a file away, and the copy of it on this machine. Raises ArtifactUnavailable."""
    place().remove(path(sha256).name)
    copies().remove(sha256)


def trim_copies(wanted: int = 0) -> int:
    """Throw the copies away that were not asked for longest, until they and `wanted` bytes more fit into
    LASTGOOD_ARTIFACTS_CACHE_BYTES; those asked for within an hour stay. Bytes gone; 0 where files are kept here."""
    if _bucket() is None:
        return 0
    here = copies()
    files = sorted((here.path(name).stat().st_atime, size, name) for name, size, _ in here.names())
    over = sum(size for _, size, _ in files) + wanted - settings.LASTGOOD_ARTIFACTS_CACHE_BYTES
    gone = 0
    for asked_at, size, name in files:
        if gone >= over or asked_at > time.time() - IN_USE_SECONDS:
            break
        here.remove(name)
        gone += size
    return gone


def digest_of(source: Path | bytes) -> tuple[str, int]:
    """SHA-256 in hex and size in bytes of a file or of bytes."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest(), len(source)
    with source.open("rb") as file:
        return _digest(file), source.stat().st_size


def _digest(file: IO[bytes]) -> str:
    state = hashlib.sha256()
    for piece in chunks(file):
        state.update(piece)
    return state.hexdigest()


def _put(pieces: Iterable[bytes], promised: str = "") -> tuple[str, int]:
    bucket = _bucket()
    return copies().put(pieces, promised, bucket.write if bucket else None)


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


def _make_room(size: int) -> None:
    trim_copies(size)
    if size + settings.LASTGOOD_BLOB_SPARE_BYTES > free_bytes(root()):
        raise ArtifactUnavailable(
            f"{root()} has no room for {size} bytes from the artifact store. Make room on the disk."
        )


def _access(url: str) -> Access:
    return Access(
        url,
        settings.LASTGOOD_ARTIFACTS_ENDPOINT,
        settings.LASTGOOD_ARTIFACTS_REGION,
        settings.LASTGOOD_ARTIFACTS_KEY_ID,
        settings.LASTGOOD_ARTIFACTS_SECRET,
    )


def _bucket(patient: bool = True) -> Bucket | None:
    url = settings.LASTGOOD_ARTIFACTS_URL
    return None if not url or url.startswith("file://") else _opened(_access(url), patient, os.getpid())


@functools.lru_cache(maxsize=8)
def _opened(access: Access, patient: bool, process: int) -> Bucket:
    """One client a process: its connections must not be shared with children."""
    return Bucket(access, patient=patient)
