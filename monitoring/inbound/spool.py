"""Deliveries on disk while the database is away: written and synced before they are answered, taken in afterwards.

One file for each, `<nanoseconds>-<digest>.delivery`: a line of JSON about it, then the body. A file appears under its
name when all of it is on disk, and goes when the database has committed it; a program that dies in between leaves
either a `.part`, which was not answered, or a file that is taken in again and found to be there already.
"""

import hashlib
import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings

MOST_FILES = 100_000
ENDING = ".delivery"
DAMAGED = ".damaged"


class SpoolFull(Exception):
    """The spool takes no more; its sender must keep the delivery."""


class SpoolDamaged(ValueError):
    """A file of the spool is not what was written."""


@dataclass(frozen=True)
class Spooled:
    """A delivery that waits for the database. `token` is the digest of the token that it came with, else empty;
    `sent_at` and `received_at` are RFC 3339 times, `sent_at` empty where it was not signed with a time."""

    source: str
    sender: str
    key: str
    content_type: str
    token: str
    sent_at: str
    received_at: str
    sha256: str

    @property
    def arrived_at(self) -> datetime:
        return datetime.fromisoformat(self.received_at).astimezone(UTC)


def folder() -> Path:
    return Path(settings.LASTGOOD_VAR) / "spool"


def keep(about: Spooled, body: bytes) -> str:
    """Write a delivery and have it on disk before returning; the name of its file. Raises SpoolFull, OSError."""
    place = folder()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    sizes = _sizes(place)
    if len(sizes) >= MOST_FILES or sum(sizes) + len(body) > settings.LASTGOOD_SPOOL_BYTES:
        raise SpoolFull(f"{len(sizes)} deliveries wait for the database; the spool takes no more.")
    name = f"{time.time_ns():020d}-{os.getpid()}-{about.sha256[:16]}{ENDING}"
    part = place / f"{name}.part"
    with part.open("xb") as file:
        file.write(json.dumps(asdict(about)).encode() + b"\n" + body)
        file.flush()
        os.fsync(file.fileno())
    part.rename(place / name)
    _sync(place)
    return name


def waiting(most: int = 200) -> list[str]:
    """The names of the deliveries that wait, oldest first."""
    place = folder()
    if not place.is_dir():
        return []
    return sorted(entry.name for entry in os.scandir(place) if entry.name.endswith(ENDING))[:most]


def load(name: str) -> tuple[Spooled, bytes] | None:
    """A delivery that waits; None where another took it in. Raises SpoolDamaged."""
    if "/" in name or not name.endswith(ENDING):
        raise SpoolDamaged(f"{name!r} is no delivery's file.")
    try:
        head, _, body = (folder() / name).read_bytes().partition(b"\n")
    except FileNotFoundError:
        return None
    try:
        about = Spooled(**json.loads(head))
    except (ValueError, TypeError) as error:
        raise SpoolDamaged(f"The first line of {name} can't be read: {error}") from error
    if hashlib.sha256(body).hexdigest() != about.sha256:
        raise SpoolDamaged(f"The body in {name} is not the one that was written.")
    return about, body


def remove(name: str) -> None:
    """Forget a delivery that the database has."""
    (folder() / name).unlink(missing_ok=True)


def put_aside(name: str) -> None:
    """Keep a file that can't be taken in for people to look at, under another name; another may have done it."""
    with suppress(FileNotFoundError):
        (folder() / name).rename(folder() / f"{name}{DAMAGED}")


def _sizes(place: Path) -> list[int]:
    """Bytes of each file that waits; one that was taken in meanwhile waits no more."""
    sizes = []
    for entry in os.scandir(place):
        if not entry.name.endswith(DAMAGED):
            with suppress(FileNotFoundError):
                sizes.append(entry.stat().st_size)
    return sizes


def _sync(place: Path) -> None:
    handle = os.open(place, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
