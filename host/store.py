"""What survives the death of the host: blobs by SHA-256, manifests, and each model's default pointer and fence.

Every file is written aside, synced, renamed over the old one, and its folder synced, before anything is answered.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PART_SECONDS = 7 * 86_400
"""A part of a blob that nobody went on with for so long is thrown away at a start."""


class StateInUse(RuntimeError):
    """Another host process holds the state directory."""


def sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file so that after a crash it is either the old one or the new one, whole."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@dataclass(frozen=True)
class Target:
    """A version by number and digest."""

    version: str
    digest: str

    def to_json(self) -> dict[str, str]:
        return {"version": self.version, "digest": self.digest}


@dataclass(frozen=True)
class Share:
    """A version that takes `percent` of the unversioned requests, 1 to 99, while the default takes the rest."""

    target: Target
    percent: int

    def to_json(self) -> dict[str, Any]:
        return {**self.target.to_json(), "percent": self.percent}


@dataclass(frozen=True)
class Pointer:
    """A model's default, the highest fence seen, and the target that this fence moved the default to, if it did.

    `out`: the model was taken out of service. `share`: a version beside the default that takes some of its requests.
    """

    default: Target | None = None
    fence: int = 0
    fenced: Target | None = None
    out: bool = False
    share: Share | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "default": self.default.to_json() if self.default else None,
            "fence": self.fence,
            "fenced": self.fenced.to_json() if self.fenced else None,
            "out": self.out,
            "share": self.share.to_json() if self.share else None,
        }


def _target(value: dict[str, str] | None) -> Target | None:
    return Target(**value) if value else None


def _pointer(value: dict[str, Any]) -> Pointer:
    share = value.get("share")
    taken = Share(Target(share["version"], share["digest"]), share["percent"]) if share else None
    return Pointer(
        _target(value["default"]), value["fence"], _target(value["fenced"]), bool(value.get("out", False)), taken
    )


class Store:
    """The state directory of one host. Raises StateInUse when another process has it."""

    def __init__(self, root: Path) -> None:
        self.blobs = root / "blobs"
        self.models = root / "models"
        self.spool = root / "spool"
        for folder in (root, self.blobs, self.models, self.spool):
            folder.mkdir(parents=True, exist_ok=True)
        self._lock = (root / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StateInUse(f"Another host runs on {root}; give this one a state directory of its own.") from None
        for leftover in root.rglob(".new-*"):
            leftover.unlink()
        for part in self.blobs.glob(".part-*"):
            if part.stat().st_mtime < time.time() - PART_SECONDS:
                part.unlink()
        self.uploads: dict[str, object] = {}
        """Blob -> who brings it at the moment: only the last who began. Changed under `arriving`, as is what came."""
        self.arriving = threading.Lock()

    def close(self) -> None:
        self._lock.close()

    def blob(self, sha256: str) -> Path:
        return self.blobs / sha256

    def part(self, sha256: str) -> Path:
        """What came of a blob so far. It outlives the host; finish it with `keep_blob`, or unlink it."""
        return self.blobs / f".part-{sha256}"

    def keep_blob(self, temporary: Path, sha256: str) -> None:
        os.rename(temporary, self.blob(sha256))
        sync_folder(self.blobs)

    def _model(self, model: str) -> Path:
        return self.models / model

    def keep_manifest(self, model: str, version: str, data: bytes) -> None:
        folder = self._model(model) / "versions"
        if not folder.exists():
            folder.mkdir(parents=True)
            sync_folder(self.models)
            sync_folder(folder.parent)
        write_atomically(folder / version, data)

    def manifest(self, model: str, version: str) -> bytes:
        """A staged version's manifest, as it came. Raises FileNotFoundError."""
        return (self._model(model) / "versions" / version).read_bytes()

    def keep_pointer(self, model: str, pointer: Pointer) -> None:
        write_atomically(self._model(model) / "pointer.json", json.dumps(pointer.to_json()).encode())

    def read_all(self) -> dict[str, tuple[Pointer, dict[str, bytes]]]:
        """Every model that was staged: its pointer, and its versions' manifests."""
        result = {}
        for folder in sorted(self.models.iterdir()):
            pointer = Pointer()
            path = folder / "pointer.json"
            if path.exists():
                pointer = _pointer(json.loads(path.read_bytes()))
            manifests = {file.name: file.read_bytes() for file in folder.glob("versions/*")}
            if manifests:
                result[folder.name] = (pointer, manifests)
        return result
