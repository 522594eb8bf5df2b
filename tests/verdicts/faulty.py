"""The bundled host on a broken machine: `python -m tests.verdicts.faulty`. While the file that LIE_FILE names exists,
it does what is written in it: `lie` (rows of every weight matrix trade places), `bits` (exponent bits of some weights
are flipped) or `slow` (every answer takes 25 ms more). It goes on claiming the digests that it read back before."""

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from demo.lying import LyingFleet, LyingHost
from host.__main__ import main
from host.device import pick_device
from host.settings import Settings
from host.version import Answer, LoadedVersion

EVERY = 97
"""One weight of so many has the highest bit of its exponent flipped."""
DELAY = 0.025


class FaultyFleet(LyingFleet):
    """`mode` is what the machine does while it is broken."""

    sign: Path
    mode = ""

    def lie(self) -> None:
        if not self.claims:
            self.mode = self.sign.read_text()
        if self.mode == "lie":
            super().lie()
        elif self.mode == "bits":
            for loaded in self._loaded():
                if loaded not in self.claims and loaded.last_read is not None:
                    self.claims[loaded] = loaded.last_read
                    _flip(loaded)

    def tell_the_truth(self) -> None:
        if self.mode == "lie":
            super().tell_the_truth()
        while self.claims:
            loaded, _ = self.claims.popitem()
            _flip(loaded)


def _flip(loaded: LoadedVersion) -> None:
    """Flipped twice, a bit is as it was."""
    for name, tensor in loaded.tensors.items():
        if name.startswith("layers"):
            flat = tensor.view(-1)[::EVERY]
            flat.copy_((flat.view(torch.int32) ^ (1 << 29)).view(torch.float32))


class FaultyHost(LyingHost):
    """Watches its file, and does what it says."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.fleet = FaultyFleet(self.store, pick_device())
        self.fleet.claims, self.fleet.sign = {}, self.sign
        self._make_slow()

    def _make_slow(self) -> None:
        honest, sign = LoadedVersion.answer, self.sign

        def answer(loaded: LoadedVersion, columns: Any) -> Answer:
            given = honest(loaded, columns)
            if not (sign.exists() and sign.read_text() == "slow"):
                return given
            time.sleep(DELAY)
            return replace(given, latency_ms=given.latency_ms + 1000 * DELAY)

        LoadedVersion.answer = answer


if __name__ == "__main__":
    sys.exit(main(FaultyHost))
