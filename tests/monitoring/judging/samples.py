"""Series whose dependence is known."""

import numpy as np


def autoregression(phi: float, n: int, seed: int) -> np.ndarray:
    """A stationary first-order autoregression of mean 0 and variance 1, shape (n,)."""
    values = np.random.default_rng(seed).normal(size=n)
    for t in range(1, n):
        values[t] = phi * values[t - 1] + np.sqrt(1 - phi * phi) * values[t]
    return values
