"""One change at a time of what a host has in memory, on engines that keep no fence.

Runs, preflights, trials and fallbacks may be about the same host. An engine that is told the whole set of versions to
hold, as Triton is, would be told an old set by whoever looked before the other's switch and called after it.
"""

import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from audit.locks import held
from incidents.rollback.fleet import Remote
from registry.serving.base import ServingError

LOCK_SPACE = 7302
CHANGING = ("load", "unload", "switch", "restore")
"""Acts that change what is in memory. Files are brought beside it, and hold nobody up."""
PATIENCE_SECONDS = 120.0
LOOK_AGAIN_SECONDS = 0.2


@contextmanager
def alone(remote: Remote, act: str) -> Iterator[bool]:
    """Hold the right to do `act` with a model on its host; False where another worker has it. Dies with its holder."""
    if act not in CHANGING or remote.driver.capabilities.fencing:
        yield True
        return
    with held(LOCK_SPACE, zlib.crc32(f"{remote.host.pk} {remote.model}".encode()) - 2**31) as mine:
        yield mine


@contextmanager
def once_alone(remote: Remote, act: str) -> Iterator[None]:
    """The same, for whoever can wait. Raises ServingError after two minutes."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        with alone(remote, act) as mine:
            if mine:
                yield
                return
        if time.monotonic() > deadline:
            raise ServingError(f"Another worker has been changing {remote.host.name} for two minutes. Try again later.")
        time.sleep(LOOK_AGAIN_SECONDS)
