"""Maximum mean discrepancy: do two samples of many columns come from one distribution? (Gretton et al. 2012)

The permutation test is one matrix product: with K the kernel matrix of both samples and L a column of memberships for
each permutation, K @ L holds every within-sample sum at once. K is made in blocks of rows, so memory is
block x rows, never rows x rows. torch is imported only when called.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
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

    rng = np.random.default_rng(seed)
    x, y = (_rows(sample, maximum_rows, rng) for sample in (reference, window))
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            f"Both samples need the same columns: the reference has {x.shape[1]}, the window {y.shape[1]}."
        )
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    both = torch.from_numpy(np.concatenate((x, y))).to(where)
    both = both - both.mean(dim=0)
    width = sigma if sigma is not None else _median_sigma(both, rng)
    if not width > 0:
        raise ValueError("The kernel's sigma must be above zero.")
    members = torch.from_numpy(_memberships(len(x), len(both), permutations, rng)).to(where)
    statistics = _statistics(both, members, width, len(x), len(y))
    observed, null = statistics[0], statistics[1:]
    # Permutations that give the very same split differ from the observed by rounding only.
    at_least = int(np.count_nonzero(null >= observed - 1e-9 * abs(observed)))
    p = (1 + at_least) / (1 + permutations) if permutations else None
    return MmdResult(float(observed), p, width, permutations, len(x), len(y))


def _rows(sample: ArrayLike, maximum: int, rng: np.random.Generator) -> NDArray[np.float32]:
    array = np.asarray(sample, dtype=np.float32)
    if array.ndim != 2 or len(array) < 2:
        raise ValueError("A sample is a table of at least two rows.")
    if not np.isfinite(array).all():
        raise ValueError("MMD can't read missing or infinite values; fill them or leave the rows out.")
    if len(array) <= maximum:
        return array
    return array[np.sort(rng.choice(len(array), maximum, replace=False))]


def _median_sigma(both: torch.Tensor, rng: np.random.Generator) -> float:
    """The median heuristic; 1 where more than half of the pairs are equal."""
    import torch

    chosen = rng.choice(len(both), min(len(both), MEDIAN_ROWS), replace=False)
    squared = torch.pdist(both[torch.from_numpy(chosen).to(both.device)]) ** 2
    return math.sqrt(float(squared.median()) / 2) or 1.0


def _memberships(n: int, total: int, permutations: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Shape (total, 1 + permutations): 1 where a row is in the first sample; column 0 is the sample as it came."""
    members = np.zeros((total, 1 + permutations), dtype=np.float32)
    members[:n] = 1
    members[:, 1:] = rng.permuted(members[:, 1:], axis=0)
    return members


def _statistics(both: torch.Tensor, members: torch.Tensor, sigma: float, n: int, m: int) -> NDArray[np.float64]:
    """MMD^2 of every column of `members`: means within both samples less twice the mean across, diagonal left out."""
    import torch

    squares = (both * both).sum(dim=1)
    within = torch.zeros(members.shape[1], dtype=torch.float64, device=both.device)
    degree = torch.zeros_like(within)
    total = torch.zeros((), dtype=torch.float64, device=both.device)
    for start in range(0, len(both), BLOCK_ROWS):
        rows = slice(start, min(start + BLOCK_ROWS, len(both)))
        distance = squares[rows, None] + squares[None, :] - 2 * (both[rows] @ both.T)
        kernel = torch.exp(distance.clamp_(min=0).mul_(-1 / (2 * sigma * sigma)))
        kernel[torch.arange(kernel.shape[0]), torch.arange(start, start + kernel.shape[0])] = 0
        within += (members[rows] * (kernel @ members)).sum(dim=0, dtype=torch.float64)
        sums = kernel.sum(dim=1, dtype=torch.float64)
        degree += sums @ members[rows].to(torch.float64)
        total += sums.sum()
    across = degree - within
    other = total - within - 2 * across
    return (within / (n * (n - 1)) + other / (m * (m - 1)) - 2 * across / (n * m)).cpu().numpy()
