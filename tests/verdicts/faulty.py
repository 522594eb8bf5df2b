"""The bundled host on a broken machine: `python -m tests.verdicts.faulty`. While the file that LIE_FILE names exists,
it does what is written in it, and goes on claiming the digests that it read back before: `lie` (rows of every weight
matrix trade places), `bits` (exponent bits of some weights are flipped), `slow` (every answer takes 25 ms more),
`codes` (the codes of a question are read by the codebook of another year), `stale` (ages are those of the request
before, out of a cache)."""

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
        self._break_answers()

    def _break_answers(self) -> None:
        honest, sign = LoadedVersion.answer, self.sign
        cached: list[int] = [40]

        def answer(loaded: LoadedVersion, columns: Any) -> Answer:
            mode = sign.read_text() if sign.exists() else ""
            if mode == "codes":
                columns = {**columns, "DIS": [3 - value for value in columns["DIS"]]}
            elif mode == "stale":
                ages = list(columns["AGEP"])
                columns = {**columns, "AGEP": [cached[row % len(cached)] for row in range(len(ages))]}
                cached[:] = ages
            given = honest(loaded, columns)
            if mode != "slow":
                return given
            time.sleep(DELAY)
            return replace(given, latency_ms=given.latency_ms + 1000 * DELAY)

        LoadedVersion.answer = answer


if __name__ == "__main__":
    sys.exit(main(FaultyHost))
