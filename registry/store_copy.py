"""All artifacts of one store into another: only what is missing there, each checked, resumed where it was cut off."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from registry.store_directory import (
    ArtifactDamaged,
    ArtifactMissing,
    DigestMismatch,
    Directory,
    Place,
)
from registry.store_objects import ArtifactUnavailable


@dataclass
class Copied:
    """What a copy came to. `left` names by SHA-256 what did not go, and why."""

    there: int = 0
    files: int = 0
    bytes: int = 0
    left: dict[str, str] = field(default_factory=dict)


def copy_all(source: Place, target: Place, drafts: Path, say: Callable[[str], None] = lambda line: None) -> Copied:
    """Copy what the target lacks, or has in another size. Between two buckets files go through the directory `drafts`.

    Raises ArtifactUnavailable where the source can't be listed or the target does not answer; a file that is damaged or
    can't be read is left, and named.
    """
    target.check()
    done = Copied()
    for sha256, size, _ in source.names():
        if target.size_of(sha256) == size:
            done.there += 1
            continue
        try:
            _copy(sha256, source, target, Directory(drafts))
        except (ArtifactDamaged, ArtifactMissing, ArtifactUnavailable, DigestMismatch) as error:
            target.check()
            done.left[sha256] = str(error)
            continue
        done.files, done.bytes = done.files + 1, done.bytes + size
        say(f"{sha256}  {size} bytes")
    return done


def _copy(sha256: str, source: Place, target: Place, drafts: Directory) -> None:
    if isinstance(target, Directory):
        target.remove(sha256)
        target.fetch(sha256, source)
        return
    through = source if isinstance(source, Directory) else drafts
    was_there = through.size_of(sha256) is not None
    path = through.fetch(sha256, source)
    try:
        through.verify(sha256)
        target.write(sha256, path)
    finally:
        if through is not source and not was_there:
            through.remove(sha256)
