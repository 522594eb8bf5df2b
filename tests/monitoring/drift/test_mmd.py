import numpy as np
import pytest

from monitoring.drift import mmd
from monitoring.drift.mmd import mmd_test


def plain_mmd(x, y, sigma):
    def kernel(a, b):
        return np.exp(-((a[:, None, :] - b[None, :, :]) ** 2).sum(axis=2) / (2 * sigma**2))

    n, m = len(x), len(y)
    within = (kernel(x, x).sum() - n) / (n * (n - 1)) + (kernel(y, y).sum() - m) / (m * (m - 1))
    return within - 2 * kernel(x, y).mean()


def test_the_statistic_is_the_known_one():
    result = mmd_test([(0, 0), (1, 0), (0, 1)], [(2, 2), (3, 2), (2, 3)], sigma=1.0, permutations=0)
    assert result.statistic == pytest.approx(1.0016050338745117, abs=2e-7)
    assert (result.p, result.n_reference, result.n_window) == (None, 3, 3)


def test_blocks_of_rows_give_the_plain_formula(monkeypatch):
    monkeypatch.setattr(mmd, "BLOCK_ROWS", 32)
    rng = np.random.default_rng(1)
    x, y = rng.normal(0, 1, (90, 4)), rng.normal(0.5, 1, (61, 4))
    assert mmd_test(x, y, sigma=1.5, permutations=10).statistic == pytest.approx(plain_mmd(x, y, 1.5), abs=1e-6)


def test_the_one_product_gives_every_permutation_its_own_statistic():
    import torch

    rng = np.random.default_rng(2)
    both = rng.normal(0, 1, (50, 3)).astype(np.float32)
    members = mmd._memberships(20, 50, 5, rng)
    found = mmd._statistics(torch.from_numpy(both), torch.from_numpy(members), 20, 30)
    for column, statistic in zip(members.T.astype(bool), found, strict=True):
        assert column.sum() == 20
        assert statistic == pytest.approx(plain_mmd(both[column], both[~column], 1.0), abs=1e-6)


def test_a_shift_in_a_few_of_many_columns_is_found():
    rng = np.random.default_rng(3)
    x, y = rng.normal(0, 1, (1000, 32)), rng.normal(0, 1, (1000, 32))
    y[:, :4] += 0.4
    assert mmd_test(x, y, permutations=200).p == pytest.approx(1 / 201, abs=1e-12)


def test_a_change_that_no_single_column_shows_is_found():
    rng = np.random.default_rng(4)
    x, y = rng.normal(0, 1, (800, 2)), rng.normal(0, 1, (800, 1))
    assert mmd_test(x, np.hstack((y, y)), permutations=200).p < 0.01


def test_samples_of_one_distribution_keep_the_level():
    rng = np.random.default_rng(5)
    p = [mmd_test(rng.normal(0, 1, (60, 3)), rng.normal(0, 1, (50, 3)), permutations=99, seed=i).p for i in range(80)]
    assert 1 <= sum(value <= 0.05 for value in p) <= 10


def test_the_same_seed_gives_the_same_answer_and_large_samples_are_thinned():
    rng = np.random.default_rng(6)
    x, y = rng.normal(0, 1, (3000, 2)), rng.normal(0, 1, (3000, 2))
    first = mmd_test(x, y, maximum_rows=500, permutations=50, seed=9)
    assert first == mmd_test(x, y, maximum_rows=500, permutations=50, seed=9)
    assert (first.n_reference, first.n_window) == (500, 500)


def test_tables_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="reference has 2, the window 3"):
        mmd_test(np.zeros((5, 2)), np.zeros((5, 3)))
    with pytest.raises(ValueError, match="missing or infinite"):
        mmd_test(np.full((5, 2), np.nan), np.zeros((5, 2)))
    with pytest.raises(ValueError, match="at least two rows"):
        mmd_test(np.zeros((1, 2)), np.zeros((5, 2)))
