"""The statistics of numeric columns on a CUDA device, by torch, column after column of a table.

The definitions are those of `values`, `profile`, `window` and `exact`, and so are the results: counts to the row, KS to
the bit, sums to the rounding of their order. Here nothing is searched for that can be computed: the device counts at
every rank at once. Columns go over in threads, each with a stream of its own, so that one is copied while others are
sorted; what does not fit beside them is left to the processor (`NoRoom`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monitoring.drift.profile import NumericProfile, NumericSummary, NumericWindow, cell_counts, ranks
from monitoring.drift.values import NumericValues, as_float64

if TYPE_CHECKING:
    import torch

WORTH_CELLS = 10_000_000
"""Cells of a table from which the way to the device is expected to be shorter than the processor's; not measured."""

COLUMNS_AT_ONCE = 4
"""Columns that are on their way at a time. Each takes about ten times its own size of the device's memory."""

DRIVER = Path("/dev/nvidiactl")


class NoRoom(RuntimeError):
    """The device has no memory left for a column."""


def accelerator(cells: int) -> str | None:
    """torch's name of the CUDA device, where there is one and a table has so many cells that it pays; else None.

    torch takes seconds to import, so it is asked only where NVIDIA's driver is at all.
    """
    if cells < WORTH_CELLS or not DRIVER.exists():
        return None
    import torch

    return "cuda" if torch.cuda.is_available() else None


@dataclass(frozen=True)
class Sorted:
    """One numeric column on a device: its finite values in ascending order, and what was not a finite number."""

    finite: torch.Tensor
    missing: int
    infinite: int
    invalid: int

    def held(self) -> NumericValues:
        """The same in the processor's memory."""
        return NumericValues(self.finite.cpu().numpy(), self.missing, self.infinite, self.invalid)


@contextmanager
def on_device(device: str) -> Iterator[None]:
    """A stream of the calling thread's own, done when this ends. Raises NoRoom."""
    import torch

    try:
        if torch.device(device).type != "cuda":
            yield
            return
        stream = torch.cuda.Stream(device)
        with torch.cuda.stream(stream):
            yield
        stream.synchronize()
    except torch.OutOfMemoryError as error:
        raise NoRoom(str(error)) from error


def sort_column(column: ArrayLike, device: str) -> Sorted:
    """As `values.numeric_values`, for one column of shape (rows,)."""
    import torch

    array, invalid = np.asarray(column), 0
    if array.dtype != np.float32:
        array, invalid = as_float64(array)
    array = np.require(array, requirements=["C", "W"])  # torch warns of what it might write to, as Arrow's columns
    held = torch.from_numpy(array.reshape(-1))
    if torch.device(device).type == "cuda":
        held = held.pin_memory().to(device, non_blocking=True)
    absent, infinite = int(held.isnan().sum()), int(held.isinf().sum())
    low = int((held == -torch.inf).sum()) if infinite else 0
    ordered = torch.sort(held).values  # NaN last, as NumPy sorts
    finite = ordered[low : len(ordered) - absent - (infinite - low)]
    return Sorted(finite, absent - invalid, infinite, invalid)


def profile_sorted(values: Sorted, quantiles: int) -> NumericProfile:
    """As `profile.profile_numeric`."""
    import torch

    ordered, n = values.finite, len(values.finite)
    single = ordered.dtype == torch.float32
    kept = (n, values.missing, values.infinite, values.invalid, single)
    if n == 0:
        return NumericSummary.empty(*kept)
    fresh = torch.ones(n, dtype=torch.bool, device=ordered.device)
    fresh[1:] = ordered[1:] != ordered[:-1]
    few = int(fresh.sum()) <= quantiles + 1
    distinct = ordered[fresh] if few else torch.unique(ordered[_places(ranks(n, quantiles), ordered)])
    tenths = ordered[_places(ranks(n, 10)[1:], ordered)]
    wide = ordered.double()
    mean = wide.mean()
    std = (wide - mean).square_().mean().sqrt()
    return NumericSummary(
        *kept, float(mean), float(std), _numbers(distinct).astype(np.float64),
        _numbers(torch.searchsorted(ordered, distinct)), _numbers(torch.searchsorted(ordered, distinct, right=True)),
        np.unique(_numbers(torch.searchsorted(distinct, tenths))),
    ).profile()  # fmt: skip


def _places(of_ranks: NDArray[np.int64], like: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.from_numpy(of_ranks).to(like.device)


def _numbers(tensor: torch.Tensor) -> NDArray:
    return tensor.cpu().numpy()


def count_sorted(reference: NumericProfile, values: Sorted) -> NumericWindow:
    """As `window.count_sorted`."""
    import torch

    ordered, n = values.finite, len(values.finite)
    edges = torch.from_numpy(reference.edge_array).to(ordered.device)
    if reference.single or ordered.dtype == torch.float32:
        ordered, edges = _single(ordered), _single(edges)
    if not len(edges):
        return NumericWindow(np.array([n], np.int64), values.missing, values.infinite, 0.0, 0.0, values.invalid)
    below, upto = torch.searchsorted(ordered, edges), torch.searchsorted(ordered, edges, right=True)
    tail_below = float((edges[0] - ordered[: int(below[0])]).sum(dtype=torch.float64))
    tail_above = float((ordered[int(upto[-1]) :] - edges[-1]).sum(dtype=torch.float64))
    counts = cell_counts(_numbers(below), _numbers(upto), n)
    return NumericWindow(counts, values.missing, values.infinite, tail_below, tail_above, values.invalid)


def like(values: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Values in the precision of others."""
    import torch

    return _single(values) if other.dtype == torch.float32 else values.double()


def _single(values: torch.Tensor) -> torch.Tensor:
    """As `values.as_float32`."""
    ends = np.finfo(np.float32)
    return values.clamp(float(ends.min), float(ends.max)).float()


def ks_statistic(a: torch.Tensor, b: torch.Tensor) -> float:
    """As `exact.ks_statistic`, at every rank of `a`."""
    import torch

    n, m = len(a), len(b)
    rank = torch.arange(n, dtype=torch.float64, device=a.device)
    above = (rank + 1) / n - torch.searchsorted(b, a, right=True) / _double(m, a)
    below = torch.searchsorted(b, a) / _double(m, a) - rank / n
    return max(float(above.max()), float(below.max()), 0.0)


def _double(number: int, like: torch.Tensor) -> torch.Tensor:
    """A divisor of integers whose quotient is then a float64, as NumPy's is."""
    import torch

    return torch.tensor(number, dtype=torch.float64, device=like.device)


def wasserstein_distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """As `exact.wasserstein_distance`."""
    import torch

    n, m = len(a), len(b)
    if n == m:
        return float((a.double() - b.double()).abs_().mean())
    steps: Callable[[int], torch.Tensor] = lambda size: torch.arange(1, size + 1, device=a.device)  # noqa: E731
    ends = torch.unique(torch.cat((steps(n) * m, steps(m) * n)))
    starts = torch.cat((ends.new_zeros(1), ends[:-1]))
    apart = (a[starts // m].double() - b[starts // n].double()).abs_()
    return float(torch.dot(apart, (ends - starts) / _double(n * m, a)))
