"""How fast a CUDA device computes the exact drift of a table that takes the processor minutes.

``drift_gpu_100x10m_seconds``: 100 numeric columns of 10 million rows against the same number, both raw in ordinary
memory (8 GB of float32), until every statistic of `compare_exact` is there. `floor` is what copying these bytes to the
device takes at the rate that is measured in the same run. Its peers are the reference's and the window's parts, NumPy
with a few of the columns on the processor, taken times as many, and the most memory that the device held. There is no
target: the figure is a record. Results are checked against NumPy's before anything is timed.

Without CUDA nothing is measured, unless ROWS is given: then torch on the processor stands in, to see that it works.
"""

import os
import sys
import time

import numpy as np

from bench.gpu_load import copy_rates, device
from bench.report import machine, report
from monitoring.drift.exact import compare_exact, sort_reference

COLUMNS, ROWS = int(os.environ.get("COLUMNS") or 100), int(os.environ.get("ROWS") or 10_000_000)
BY_NUMPY = 4
"""Columns that the processor computes, to be checked against and timed."""

Table = dict[str, np.ndarray]


def table(seed: int, shift: float) -> Table:
    """Normal, lognormal, uniform and integer columns; every fourth one is shifted."""
    found = {}
    for number in range(COLUMNS):
        rng = np.random.default_rng([seed, number])
        drawn = rng.standard_normal(ROWS, np.float32)
        if number % 4 == 1:
            np.exp(drawn, out=drawn)
        if number % 4 == 2:
            drawn = rng.random(ROWS, np.float32)
        if number % 4 == 3:
            drawn = np.floor(drawn * 10 + shift)
        found[f"n{number}"] = drawn
    return found


def check(reference: Table, window: Table, on: str) -> float:
    """Seconds of NumPy for BY_NUMPY columns. Raises SystemExit where the device says something else."""
    some = list(reference)[:BY_NUMPY]
    kinds = dict.fromkeys(some, "numeric")
    begun = time.perf_counter()
    known = compare_exact(sort_reference({n: reference[n] for n in some}, kinds), {n: window[n] for n in some})
    taken = time.perf_counter() - begun
    there = sort_reference({n: reference[n] for n in some}, kinds, device=on)
    for one, told in zip(known, compare_exact(there, {n: window[n] for n in some}), strict=True):
        same = one.psi == told.psi and one.ks == told.ks and np.isclose(one.wasserstein, told.wasserstein, rtol=1e-6)
        if not same:
            raise SystemExit(f"The device's statistics of {one.name} are not NumPy's:\n{told}\n{one}")
    return taken


def main() -> int:
    import torch

    cuda = torch.cuda.is_available()
    if not cuda and "ROWS" not in os.environ:
        print("gpu_drift: there is no CUDA device here, so nothing is measured.", file=sys.stderr)
        return 0
    on = f"{machine()}, {device()}"
    reference, window = table(1, 0.0), table(2, 0.5)
    size = sum(column.nbytes for both in (reference, window) for column in both.values())
    by_numpy = check(reference, window, "cuda" if cuda else "cpu") * COLUMNS / BY_NUMPY
    rates = copy_rates(min(size, 4 * 2**30))
    begun = time.perf_counter()
    held = sort_reference(reference, dict.fromkeys(reference, "numeric"), device="cuda" if cuda else "cpu")
    sorted_at = time.perf_counter()
    compare_exact(held, window)
    ended = time.perf_counter()
    peers = {
        "the reference": round(sorted_at - begun, 3),
        "the window": round(ended - sorted_at, 3),
        f"NumPy with {BY_NUMPY} columns, times {COLUMNS / BY_NUMPY:g}": round(by_numpy, 1),
        "copy_bytes_per_second": {name: round(rate) for name, rate in rates.items()},
    }
    if cuda:
        peers["device_peak_bytes"] = torch.cuda.max_memory_allocated()
    name = "drift_gpu_100x10m_seconds"
    report(name, ended - begun, "s", 0, at_least=True, on=on, floor=size / max(rates.values()), peers=peers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
