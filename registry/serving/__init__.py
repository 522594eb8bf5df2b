"""Serving engines behind one interface: `driver_for(engine)` gives a `base.ServingDriver`."""

from __future__ import annotations

from registry.serving.base import ServingDriver
from registry.serving.bundled import BundledDriver
from registry.serving.mlserver import MLServerDriver
from registry.serving.torchserve import TorchServeDriver
from registry.serving.triton import TritonDriver

DRIVERS: dict[str, ServingDriver] = {
    "bundled": BundledDriver(),
    "mlserver": MLServerDriver(),
    "torchserve": TorchServeDriver(),
    "triton": TritonDriver(),
}


def driver_for(engine: str) -> ServingDriver:
    """The driver of a serving engine. Raises LookupError for one that Lastgood can't drive."""
    if engine not in DRIVERS:
        raise LookupError(f"Lastgood has no driver for the engine {engine!r}; it has {', '.join(sorted(DRIVERS))}.")
    return DRIVERS[engine]
