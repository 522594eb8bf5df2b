import numpy as np
import pytest

from monitoring.drift.rules import nelson, western_electric


def names(hits):
    return [hit.rule for hit in hits]


def test_nelson_1_is_one_point_beyond_three_sigma():
    [hit] = nelson([0, 0.5, 3.01, 0, 3.0], rules=[1])
    assert (hit.rule, hit.at, hit.points) == ("nelson-1", 2, (2,))


def test_nelson_2_is_nine_points_on_one_side():
    series = [-0.1] + [0.2] * 9
    [hit] = nelson(series, rules=[2])
    assert (hit.at, hit.points) == (9, tuple(range(1, 10)))
    assert nelson([-0.1] + [0.2] * 8 + [-0.1], rules=[2]) == []


def test_nelson_3_is_six_points_rising_or_falling():
    [hit] = nelson([0, 0.1, 0.2, 0.3, 0.4, 0.5], rules=[3])
    assert (hit.at, hit.points) == (5, (0, 1, 2, 3, 4, 5))
    assert nelson([0, 0.1, 0.2, 0.3, 0.4, 0.4], rules=[3]) == []
    assert names(nelson([1, 0.8, 0.6, 0.4, 0.2, 0.1], rules=[3])) == ["nelson-3"]


def test_nelson_4_is_fourteen_points_alternating():
    zigzag = [0.3, -0.3] * 7
    [hit] = nelson(zigzag, rules=[4])
    assert (hit.at, hit.points) == (13, tuple(range(14)))
    assert nelson(zigzag[:13], rules=[4]) == []


def test_nelson_5_is_two_of_three_beyond_two_sigma_on_one_side():
    [hit] = nelson([2.1, 0, 2.2, 0], rules=[5])
    assert (hit.at, hit.points) == (2, (0, 2))
    assert nelson([2.1, 0, -2.2, 0], rules=[5]) == []
    assert nelson([2.1, 0, 0, 2.2], rules=[5]) == []


def test_nelson_6_is_four_of_five_beyond_one_sigma_on_one_side():
    [hit] = nelson([-1.1, -1.2, 0, -1.3, -1.4], rules=[6])
    assert (hit.at, hit.points) == (4, (0, 1, 3, 4))
    assert nelson([-1.1, -1.2, 0, 0, -1.3, -1.4], rules=[6]) == []


def test_nelson_7_is_fifteen_points_within_one_sigma():
    [hit] = nelson([1.5] + [0.5, -0.5, 0.9] * 5, rules=[7])
    assert (hit.at, hit.points) == (15, tuple(range(1, 16)))
    assert nelson([0.5, -0.5] * 7, rules=[7]) == []


def test_nelson_8_is_eight_points_outside_one_sigma_on_both_sides():
    [hit] = nelson([1.1, -1.2, 1.3, 1.4, -1.5, 1.6, 1.7, -1.8], rules=[8])
    assert (hit.at, hit.points) == (7, tuple(range(8)))
    assert nelson([1.1] * 8, rules=[8]) == []


def test_western_electric_calls_a_run_at_eight_points():
    assert names(western_electric([0.2] * 8)) == ["western-electric-4"]
    assert western_electric([0.2] * 7) == []
    assert names(western_electric([3.5])) == ["western-electric-1"]
    assert names(western_electric([2.1, 0, 2.1])) == ["western-electric-2"]
    assert names(western_electric([1.1, 1.1, 0, 1.1, 1.1])) == ["western-electric-3"]


def test_a_long_shift_is_told_once_with_all_of_its_points():
    [hit] = nelson([-0.5] * 3 + [0.5] * 40, rules=[2])
    assert (hit.at, hit.points) == (11, tuple(range(3, 43)))


def test_a_point_without_data_breaks_a_run():
    series = [0.2] * 4 + [np.nan] + [0.2] * 8
    assert nelson(series, rules=[2]) == []
    assert nelson([2.1, np.nan, 2.2], rules=[5]) == []
    assert nelson([np.nan] * 20) == []


def test_turning_the_series_over_turns_the_hits_over():
    series = np.random.default_rng(1).normal(0.4, 1.2, 300)
    over, under = nelson(series), nelson(-series)
    assert over
    assert sorted((h.rule, h.at, h.points) for h in over) == sorted((h.rule, h.at, h.points) for h in under)


def test_a_quiet_process_breaks_rule_one_about_once_in_370_points():
    series = np.random.default_rng(2).normal(0, 1, 100_000)
    beyond = sum(len(hit.points) for hit in nelson(series, rules=[1]))
    assert beyond == pytest.approx(270, abs=50)


def test_an_unknown_rule_is_refused():
    with pytest.raises(KeyError):
        nelson([0.0], rules=[9])
