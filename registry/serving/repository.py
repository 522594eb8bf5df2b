"""Versions as folders of a file system that an engine reads as well: written whole or not at all, and read back.

A folder holds the files of one version by their names in its manifest, and beside them the manifest itself, so that
what is on disk says of itself what it should be, and can be found out when it is not.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.serving.base import Act, Call, Refused, ServingError

MANIFEST = "lastgood-manifest.json"
VERSION = "lastgood-version"
COMPILED = "__pycache__"
OURS = frozenset({MANIFEST, VERSION, COMPILED})


@dataclass(frozen=True)
class Stored:
    """A version in a folder. `digest` is that of its manifest; `damage` says what differs from it, "" for nothing."""

    folder: Path
    version: str
    digest: str
    damage: str

    def holds(self, manifest: bytes) -> bool:
        """Whether it was written for these bytes of a manifest."""
        return self.digest == hashlib.sha256(manifest).hexdigest()

    def json(self, name: str) -> Any:
        """A file of the version that holds JSON. Raises Refused where there is none."""
        try:
            return json.loads((self.folder / name).read_bytes())
        except (OSError, ValueError):
            raise Refused(422, "artifact-refused", f"The version has no file {name} with JSON in it.") from None


def root_of(options: Mapping[str, str]) -> Path:
    """The folder that the option `repository` names. Raises ServingError where this machine can't write to it."""
    root = Path(options.get("repository", ""))
    if not root.is_absolute() or not root.is_dir() or not os.access(root, os.R_OK | os.W_OK | os.X_OK):
        raise ServingError(
            f"The folder {str(root)!r} can't be written from here. Mount the engine's model repository on the machines "
            "of the workers, and name it in the host's option 'repository'."
        )
    return root


def write(
    beside: Path,
    place: Callable[[], Path],
    version: str,
    manifest: bytes,
    blobs: Mapping[str, Path],
    *,
    compiled: bool = True,
) -> None:
    """Make a folder in `beside` hold the version, by one rename of a folder that is whole and on disk. Which one,
    `place` says then: others may have been written meanwhile. Unless `compiled`, a file stands where Python would keep
    compiled code, so that the engine itself changes nothing in the folder.

    Raises Refused (`artifact-refused`) for two files of one name, or one whose bytes are not those of its digest.
    """
    fresh = beside / f".{uuid.uuid4().hex}"
    fresh.mkdir(parents=True)
    try:
        for name, sha256 in files_of(manifest).items():
            _copy(blobs[sha256], fresh / name, sha256)
        for name, data in ((MANIFEST, manifest), (VERSION, version.encode())):
            _keep(fresh / name, data)
        if not compiled:
            _keep(fresh / COMPILED, b"")
        _sync(fresh)
        folder = place()
        if folder.exists():
            shutil.rmtree(folder)
        fresh.rename(folder)
        _sync(beside)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def copy(source: Path, target: Path) -> None:
    """Make a folder that is not there yet hold what another one does, by one rename."""
    fresh = target.parent / f".{uuid.uuid4().hex}"
    try:
        shutil.copytree(source, fresh)
        for path in fresh.rglob("*"):
            _sync(path)
        fresh.rename(target)
        _sync(target.parent)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def written(options: Mapping[str, str], act: Act) -> list[Call]:
    """How staging is told to people, for engines whose versions lie in a folder."""
    return [Call("write", f"{options.get('repository', '')}/{act.model}", f"the files of version {act.version}")]


def keep(folder: Path, version: str, manifest: bytes, blobs: Mapping[str, Path]) -> Stored:
    """Make sure that `folder` holds the version, undamaged; written only where it does not. Raises as `write` does."""
    stored = read(folder)
    if stored is not None and not stored.damage and stored.holds(manifest):
        return stored
    write(folder.parent, lambda: folder, version, manifest, blobs)
    written = read(folder)
    assert written is not None
    return written


def files_of(manifest: bytes) -> dict[str, str]:
    """File name -> SHA-256 of all components. Raises Refused where two components hold a file of one name."""
    found: dict[str, str] = {}
    for entries in json.loads(manifest)["components"].values():
        for entry in entries:
            name = str(entry["path"])
            if name in found or name in OURS:
                raise Refused(422, "artifact-refused", f"Two files are called {name}; this engine has one folder.")
            found[name] = str(entry["sha256"])
    return found


def read(folder: Path) -> Stored | None:
    """What a folder holds, every file hashed (again where it changed); None for a folder that is not of ours."""
    try:
        manifest = (folder / MANIFEST).read_bytes()
        version = (folder / VERSION).read_text()
    except (OSError, UnicodeDecodeError):
        return None
    return Stored(folder, version, hashlib.sha256(manifest).hexdigest(), _damage(folder, manifest))


def read_all(parent: Path) -> Iterator[Stored]:
    """Every version in the folders of `parent`, by the folders' names."""
    for folder in sorted(parent.iterdir()) if parent.is_dir() else ():
        if not folder.name.startswith(".") and folder.is_dir():
            stored = read(folder)
            if stored is not None:
                yield stored


def _damage(folder: Path, manifest: bytes) -> str:
    try:
        expected = files_of(manifest)
        there = {path.name for path in folder.iterdir() if path.name not in OURS}
        for name in sorted(expected.keys() | there):
            if name not in expected:
                return f"{name} is there, and the manifest names no such file"
            if name not in there:
                return f"{name} is missing"
            if sha256_of(folder / name) != expected[name]:
                return f"{name} is not the file that the manifest names"
    except (OSError, ValueError, KeyError, TypeError, ServingError) as error:
        return f"it can't be read: {error}"
    return ""


def sha256_of(path: Path) -> str:
    """The digest of a file; one that looks unchanged (place, size, times) is not read again."""
    found = path.stat()
    return _digest(path, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@functools.lru_cache(maxsize=4096)
def _digest(path: Path, *_: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copy(source: Path, target: Path, sha256: str) -> None:
    """Copy and sync; what arrived must hash to the digest."""
    shutil.copyfile(source, target)
    _sync(target)
    if sha256_of(target) != sha256:
        raise Refused(422, "artifact-refused", f"{target.name} is not the file that the manifest names.")


def _keep(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    _sync(path)


def write_json(path: Path, value: Any) -> None:
    """Replace a file that an engine reads, whole or not at all."""
    fresh = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    _keep(fresh, json.dumps(value, indent=2, sort_keys=True).encode())
    fresh.replace(path)
    _sync(path.parent)


def link(source: Path, target: Path) -> None:
    """Give a file a second name, replacing what bore it. A copy where the file system knows no links."""
    fresh = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        os.link(source, fresh)
    except OSError:
        shutil.copyfile(source, fresh)
        _sync(fresh)
    fresh.replace(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
