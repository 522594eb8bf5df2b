"""Maximum mean discrepancy: do two samples of many columns come from one distribution? (Gretton et al. 2012)

The permutation test is one matrix product: with K the kernel matrix of both samples and L a column of memberships for
each permutation, K @ L holds every within-sample sum at once. K is made in blocks of rows, so memory is
block x rows, never rows x rows. torch is imported only when called.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import torch

BLOCK_ROWS = 1024
MEDIAN_ROWS = 1000


@dataclass(frozen=True)
class MmdResult:
    """The unbiased MMD^2, the share of permutations at least as large (with the sample's own), and what was used."""

    statistic: float
    p: float | None
    sigma: float
    permutations: int
    n_reference: int
    n_window: int


def mmd_test(
    reference: ArrayLike,
    window: ArrayLike,
    *,
    permutations: int = 500,
    sigma: float | None = None,
    seed: int = 0,
    maximum_rows: int = 5000,
    device: str | None = None,
) -> MmdResult:
    """Test samples of shape (n, d) and (m, d), columns on comparable scales; k(x, y) = exp(-|x - y|^2 / 2 sigma^2).

    Without `sigma`, the median heuristic: sigma^2 = median |x - y|^2 / 2 over 1000 rows of both. A larger sample than
    `maximum_rows` is thinned at random by `seed`. `device` is torch's; None takes CUDA where there is one. With no
    permutations, p is None. Raises ValueError for missing values, different widths or fewer than two rows.
    """
    import torch

    x, y = (_checked(sample) for sample in (reference, window))
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            f"Both samples need the same columns: the reference has {x.shape[1]}, the window {y.shape[1]}."
        )
    drawn = _drawn(len(x), len(y), maximum_rows, sigma is None, permutations, seed)
    x, y = x[drawn.reference], y[drawn.window]
    both = torch.from_numpy(np.concatenate((x, y))).to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    both = both - both.mean(dim=0)
    width = sigma if sigma is not None else _median_sigma(both, drawn.median)
    if not width > 0:
        raise ValueError("The kernel's sigma must be above zero.")
    statistics = _statistics(both / width, torch.from_numpy(drawn.members).to(both.device), len(x), len(y))
    observed, null = statistics[0], statistics[1:]
    # Permutations that give the very same split differ from the observed by rounding only.
    at_least = int(np.count_nonzero(null >= observed - 1e-9 * abs(observed)))
    p = (1 + at_least) / (1 + permutations) if permutations else None
    return MmdResult(float(observed), p, width, permutations, len(x), len(y))


def _checked(sample: ArrayLike) -> NDArray[np.float32]:
    array = np.asarray(sample, dtype=np.float32)
    if array.ndim != 2 or len(array) < 2:
        raise ValueError("A sample is a table of at least two rows.")
    if not np.isfinite(array).all():
        raise ValueError("MMD can't read missing or infinite values; fill them or leave the rows out.")
    return array


@dataclass(frozen=True)
class _Drawn:
    """What is left to chance: rows of either sample, rows of both for the median, and who is in the first sample."""

    reference: NDArray[np.int64]
    window: NDArray[np.int64]
    median: NDArray[np.int64]
    members: NDArray[np.float32]


@lru_cache(maxsize=2)
def _drawn(n: int, m: int, most: int, median: bool, permutations: int, seed: int) -> _Drawn:
    """By the sizes and the seed alone, so one window after another is tried by the same permutations."""
    rng = np.random.default_rng(seed)
    rows = [np.arange(rows) if rows <= most else np.sort(rng.choice(rows, most, replace=False)) for rows in (n, m)]
    total = len(rows[0]) + len(rows[1])
    chosen = rng.choice(total, min(total, MEDIAN_ROWS), replace=False) if median else np.zeros(0, np.int64)
    return _Drawn(*rows, chosen, _memberships(len(rows[0]), total, permutations, rng))


def _median_sigma(both: torch.Tensor, chosen: NDArray[np.int64]) -> float:
    """The median heuristic; 1 where more than half of the pairs are equal."""
    import torch

    squared = (torch.pdist(both[torch.from_numpy(chosen).to(both.device)]) ** 2).cpu().numpy()
    middle = (len(squared) - 1) // 2
    return math.sqrt(float(np.partition(squared, middle)[middle]) / 2) or 1.0


def _memberships(n: int, total: int, permutations: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Shape (total, 1 + permutations): 1 where a row is in the first sample; column 0 is the sample as it came."""
    members = np.zeros((total, 1 + permutations), dtype=np.float32)
    members[:n] = 1
    members[:, 1:] = rng.permuted(members[:, 1:], axis=0)
    return members


def _statistics(both: torch.Tensor, members: torch.Tensor, n: int, m: int) -> NDArray[np.float64]:
    """MMD^2 of every column of `members`, of rows in units of sigma: means within both samples less twice the mean
    across, diagonal left out."""
    import torch

    halves, ones = -(both * both).sum(dim=1, keepdim=True) / 2, torch.ones_like(both[:, :1])
    left, right = torch.cat((both, halves, ones), dim=1), torch.cat((both, ones, halves), dim=1)
    within = torch.zeros(members.shape[1], dtype=torch.float64, device=both.device)
    degree = torch.zeros_like(within)
    total = torch.zeros((), dtype=torch.float64, device=both.device)
    for start in range(0, len(both), BLOCK_ROWS):
        rows = slice(start, min(start + BLOCK_ROWS, len(both)))
        kernel = (left[rows] @ right.T).clamp_(max=0).exp_()
        kernel[torch.arange(kernel.shape[0]), torch.arange(start, start + kernel.shape[0])] = 0
        within += (members[rows] * (kernel @ members)).sum(dim=0, dtype=torch.float64)
        sums = kernel.sum(dim=1, dtype=torch.float64)
        degree += sums @ members[rows].to(torch.float64)
        total += sums.sum()
    across = degree - within
    other = total - within - 2 * across
    return (within / (n * (n - 1)) + other / (m * (m - 1)) - 2 * across / (n * m)).cpu().numpy()
