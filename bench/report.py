"""The one line that each figure prints."""

import json
import os
import platform
from pathlib import Path
from typing import Any


def machine() -> str:
    """The machine in words: processor, cores, memory, load before the run, Python."""
    model = platform.machine()
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    return f"{model}, {cores} cores, {memory:.0f} GiB, load {load:.1f}, Python {platform.python_version()}"


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def report(
    name: str,
    value: float,
    unit: str,
    target: float,
    *,
    at_least: bool,
    on: str,
    floor: float | None = None,
    peers: dict[str, Any] | None = None,
) -> bool:
    """Print one JSON line; returns whether the target is met.

    ``at_least``: the target is the least that will do, else the most. ``on``: ``machine()`` from before the run.
    ``floor``: what the same machine does with nothing of ours in the way. ``peers``: other figures to compare with.
    """
    met = value >= target if at_least else value <= target
    line: dict[str, Any] = {"name": name, "value": round(value, 4), "unit": unit, "target": target, "met": met}
    if floor is not None:
        line["floor"] = round(floor, 4)
    if peers:
        line["peers"] = peers
    print(json.dumps(line | {"machine": on}), flush=True)
    return met
