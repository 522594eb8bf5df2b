"""A directory of artifacts: files named by the SHA-256 of their bytes, each written whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Protocol

from audit.durable import sync_folder
from registry.store_objects import NAME, PIECE_BYTES, ArtifactUnavailable

DRAFTS = "drafts"
TRIES = 5
PAUSE_SECONDS = 0.2


class ArtifactMissing(FileNotFoundError):
    """The store holds no file of that SHA-256. The message says what to do."""


class ArtifactDamaged(ValueError):
    """A stored file's bytes are no longer the ones that its name promises."""


class DigestMismatch(ValueError):
    """What was sent is not what was promised."""


class Place(Protocol):
    """Where artifacts can be: a directory, or a bucket. Methods as `registry.store_objects.Bucket` says."""

    address: str

    def check(self) -> None: ...
    def size_of(self, sha256: str) -> int | None: ...
    def read(self, sha256: str, offset: int = 0) -> Iterator[bytes]: ...
    def write(self, sha256: str, source: Path) -> None: ...
    def remove(self, sha256: str) -> None: ...
    def names(self) -> Iterator[tuple[str, int, float]]: ...


class Directory:
    """Files below one directory, as `Place`. Drafts lie in a directory beside them, on the same file system."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.drafts = root / DRAFTS
        self.address = root.as_uri()

    def check(self) -> None:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            readable = os.access(self.root, os.R_OK | os.W_OK | os.X_OK)
        except OSError as error:
            raise ArtifactUnavailable(f"{self.root} can't be made: {error.strerror}.") from None
        if not readable:
            raise ArtifactUnavailable(f"{self.root} can't be read and written.")

    def path(self, sha256: str) -> Path:
        return self.root / sha256[:2] / sha256

    def size_of(self, sha256: str) -> int | None:
        path = self.path(sha256)
        return path.stat().st_size if path.is_file() else None

    def read(self, sha256: str, offset: int = 0) -> Iterator[bytes]:
        with self.path(sha256).open("rb") as file:
            file.seek(offset)
            yield from chunks(file)

    def write(self, sha256: str, source: Path) -> None:
        """Raises DigestMismatch when the file is something else than its name says."""
        with source.open("rb") as file:
            self.put(chunks(file), sha256)

    def remove(self, sha256: str) -> None:
        self.path(sha256).unlink(missing_ok=True)

    def names(self) -> Iterator[tuple[str, int, float]]:
        for path in sorted(self.root.glob("??/*")):
            if NAME.fullmatch(f"{path.parent.name}/{path.name}") and path.is_file():
                found = path.stat()
                yield path.name, found.st_size, found.st_mtime

    def put(
        self, pieces: Iterable[bytes], promised: str = "", also: Callable[[str, Path], None] | None = None
    ) -> tuple[str, int]:
        """Write the bytes durably under their SHA-256; that and their number. `also` is called with the SHA-256 and the
        whole draft before it gets its name. Raises DigestMismatch where they are not what was promised; nothing is
        stored then."""
        self.drafts.mkdir(parents=True, exist_ok=True)
        state, size = hashlib.sha256(), 0
        with tempfile.NamedTemporaryFile(dir=self.drafts, delete=False) as draft:
            try:
                for piece in pieces:
                    state.update(piece)
                    size += draft.write(piece)
                draft.flush()
                os.fsync(draft.fileno())
                found = state.hexdigest()
                if promised and found != promised:
                    raise DigestMismatch(f"What was sent has the SHA-256 {found}, not {promised}. Nothing was stored.")
                if also is not None:
                    also(found, Path(draft.name))
                self.publish(Path(draft.name), found)
            except BaseException:
                Path(draft.name).unlink(missing_ok=True)
                raise
        return found, size

    def drop_drafts(self, older_than: float) -> int:
        """Remove what processes that died left half written, `older_than` seconds since 1970; the number of files. One
        that a process has in hand stays: it writes to it, or holds its lock."""
        dropped = 0
        for path in self.drafts.glob("*"):
            with suppress(FileNotFoundError, BlockingIOError), path.open("rb") as draft:
                fcntl.flock(draft, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(draft.fileno()).st_mtime < older_than:
                    path.unlink()
                    dropped += 1
        return dropped

    def publish(self, draft: Path, sha256: str) -> None:
        """Give the draft its name, over a damaged file too: what is renamed here has just been hashed."""
        target = self.path(sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.chmod(0o644)
        draft.replace(target)
        sync_folder(target.parent)

    def fetch(self, sha256: str, place: Place, make_room: Callable[[int], None] = lambda size: None) -> Path:
        """The file's path, after it was brought here from another place where it was not here. What came of it before
        a read broke, or before a process died, is kept, and the rest is read. `make_room` is told how many bytes come.

        Raises ArtifactMissing, ArtifactDamaged, ArtifactUnavailable.
        """
        size = place.size_of(sha256)
        if size is None:
            raise missing(sha256)
        with self._part(sha256) as part:
            if self.size_of(sha256) is None:
                come = os.fstat(part.fileno()).st_size
                if come > size:
                    part.truncate(come := 0)
                make_room(size - come)
                self._fill(part, sha256, place, size)
            else:
                (self.drafts / f"{sha256}.part").unlink(missing_ok=True)
        return self.path(sha256)

    def verify(self, sha256: str) -> None:
        """Raises ArtifactMissing, and ArtifactDamaged where the file's bytes are not those of its name."""
        try:
            with self.path(sha256).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            raise missing(sha256) from None
        if found != sha256:
            raise damaged(sha256, found)

    @contextmanager
    def _part(self, sha256: str) -> Iterator[IO[bytes]]:
        """What came of a file so far, to one process at a time."""
        self.drafts.mkdir(parents=True, exist_ok=True)
        while True:
            with (self.drafts / f"{sha256}.part").open("a+b") as part:
                fcntl.flock(part, fcntl.LOCK_EX)
                # Who had it before may have given it its name, or have thrown it away.
                if os.fstat(part.fileno()).st_nlink:
                    yield part
                    return

    def _fill(self, part: IO[bytes], sha256: str, place: Place, size: int) -> None:
        part.seek(0)
        state = hashlib.sha256()
        for piece in chunks(part):
            state.update(piece)
        failures = 0
        while (come := part.tell()) < size:
            try:
                for piece in place.read(sha256, come):
                    state.update(piece)
                    part.write(piece)
                    failures = 0
                if part.tell() < size:
                    raise ArtifactUnavailable(f"{place.address} gave {part.tell()} of {size} bytes of {sha256[:12]}.")
            except FileNotFoundError:
                raise missing(sha256) from None
            except ArtifactUnavailable:
                failures += 1
                if failures >= TRIES:
                    part.flush()
                    raise
                time.sleep(PAUSE_SECONDS * 2**failures)
        part.flush()
        os.fsync(part.fileno())
        draft = self.drafts / f"{sha256}.part"
        if state.hexdigest() != sha256:
            draft.unlink(missing_ok=True)
            raise damaged(sha256, state.hexdigest())
        self.publish(draft, sha256)


def missing(sha256: str) -> ArtifactMissing:
    return ArtifactMissing(f"The file {sha256[:12]} is not in the artifact store. Upload it again.")


def damaged(sha256: str, found: str) -> ArtifactDamaged:
    return ArtifactDamaged(f"The file {sha256[:12]} is damaged: its SHA-256 is now {found[:12]}.")


def chunks(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(PIECE_BYTES):
        yield piece


def free_bytes(root: Path) -> int:
    """Room on the directory's disk."""
    root.mkdir(parents=True, exist_ok=True)
    return shutil.disk_usage(root).free
