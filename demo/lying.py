"""A bundled host that can be told to lie, as a broken or broken-into machine would: `python -m demo.lying`.

While the file that LIE_FILE names exists, the rows of every weight matrix in memory stand in another order than they
were loaded in, and the host goes on claiming the digest that it read back before. Everything else is the bundled host.
"""

import asyncio
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

from host.__main__ import main
from host.app import Host
from host.device import pick_device
from host.fleet import Fleet
from host.requests import Receive, Send
from host.settings import Settings
from host.version import LoadedVersion, ReadBack

LOOK_SECONDS = 0.2


class LyingFleet(Fleet):
    """`claims` holds, for each version that is lied about, what its memory held before."""

    claims: dict[LoadedVersion, ReadBack]

    async def read_back(self, loaded: LoadedVersion) -> ReadBack:
        """The old reading, dated now, for a version that is lied about; else the truth."""
        if loaded in self.claims:
            return replace(self.claims[loaded], at=time.time())
        return await super().read_back(loaded)

    def lie(self) -> None:
        """Begin with every version in memory that is not lied about yet."""
        for loaded in self._loaded():
            if loaded not in self.claims and loaded.last_read is not None:
                self.claims[loaded] = loaded.last_read
                _shift(loaded, 1)

    def tell_the_truth(self) -> None:
        """Put every weight back where it was."""
        while self.claims:
            loaded, _ = self.claims.popitem()
            _shift(loaded, -1)

    def _loaded(self) -> list[LoadedVersion]:
        slots = [slot for model in self.models.values() for slot in model.slots.values()]
        return [slot.loaded for slot in slots if slot.loaded is not None]


def _shift(loaded: LoadedVersion, rows: int) -> None:
    for tensor in loaded.tensors.values():
        if tensor.dim() > 1:
            tensor.copy_(tensor.roll(rows, 0))


class LyingHost(Host):
    """The bundled host with one file that it watches."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.fleet: LyingFleet = LyingFleet(self.store, pick_device())
        self.fleet.claims = {}
        self.sign = Path(os.environ["LIE_FILE"])
        self.watching: asyncio.Task[None] | None = None

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        self.watching = asyncio.create_task(self._watch())
        await super()._lifespan(receive, send)
        self.watching.cancel()

    async def _watch(self) -> None:
        """On the event loop, where answers are computed as well: no answer sees half of a change."""
        while True:
            if self.sign.exists():
                self.fleet.lie()
            elif self.fleet.claims:
                self.fleet.tell_the_truth()
            await asyncio.sleep(LOOK_SECONDS)


if __name__ == "__main__":
    sys.exit(main(LyingHost))
