"""Two versions on the same rows."""

import numpy as np
import pytest

from monitoring.judging.paired import paired


def rows(both: int, first: int, second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    one = np.repeat([1, 1, 0, 0], [both, first, second, neither])
    other = np.repeat([1, 0, 1, 0], [both, first, second, neither])
    return one, other


def test_only_rows_on_which_one_alone_is_right_count() -> None:
    found = paired(*rows(700, 25, 5, 270))
    assert (found.n, found.gained, found.lost, found.difference) == (1000, 25, 5, 0.02)
    assert found.p == pytest.approx(0.000325, abs=1e-6)
    assert found.better
    assert not found.worse


def test_a_difference_that_overlapping_intervals_would_hide_is_found() -> None:
    """70 % and 72 % of 1,000 rows: the two intervals overlap by three points, the pairs leave no doubt."""
    found = paired(*rows(700, 20, 0, 280))
    assert found.p < 1e-5
    assert found.low == pytest.approx(0.0111, abs=1e-3)


def test_as_many_gained_as_lost_is_no_difference() -> None:
    found = paired(*rows(500, 40, 40, 420))
    assert (found.difference, found.p, found.better, found.worse) == (0.0, 1.0, False, False)


def test_versions_that_never_disagree_are_alike_within_a_narrow_interval() -> None:
    found = paired(*rows(900, 0, 0, 100))
    assert found.p == 1.0
    assert -0.005 < found.low < 0 < found.high < 0.005


def test_chance_alone_finds_a_better_version_in_at_most_one_set_of_twenty() -> None:
    rng = np.random.default_rng(1)
    found = [paired(rng.random(400) < 0.7, rng.random(400) < 0.7) for _ in range(600)]
    assert sum(one.better or one.worse for one in found) <= 0.06 * len(found)


def test_rows_of_different_number_are_refused() -> None:
    with pytest.raises(ValueError, match="3 rows can't be paired with 2"):
        paired([1, 1, 0], [1, 0])
