import numpy as np
import pytest

from monitoring.drift.control import (
    c4,
    cusum,
    ewma,
    freeze,
    individuals,
    last_cusum,
    last_ewma,
    proportions,
    rates,
    xbar_s,
)

FLOW = [49.6, 47.6, 49.9, 51.3, 47.8, 51.2, 52.6, 52.4, 53.6, 52.1]
VISCOSITY = [
    33.75, 33.05, 34.00, 33.81, 33.46, 34.02, 33.68, 33.27, 33.49, 33.20, 33.62, 33.00, 33.54, 33.12, 33.84,
]  # fmt: skip
ORANGE_JUICE = [
    12, 15, 8, 10, 4, 7, 16, 9, 14, 10, 5, 6, 17, 12, 22, 8, 10, 5, 13, 11, 20, 18, 24, 15, 9, 12, 7, 13, 9, 6,
]  # fmt: skip
CUSUM_DATA = [
    324.925, 324.675, 324.725, 324.350, 325.350, 325.225, 324.125, 324.525, 325.225, 324.600, 324.625, 325.150,
    328.325, 327.250, 327.825, 328.500, 326.675, 327.775, 326.875, 328.350,
]  # fmt: skip


def test_the_individuals_chart_is_the_handbooks():
    chart = individuals(FLOW)
    assert chart.centre == pytest.approx(50.81, abs=1e-10)
    assert chart.upper[0] == pytest.approx(55.8041, abs=5e-5)
    assert chart.lower[0] == pytest.approx(45.8159, abs=5e-5)
    assert chart.out == []
    chart = individuals(VISCOSITY)
    assert chart.centre == pytest.approx(33.52333, abs=5e-6)
    assert chart.sigma == pytest.approx(0.4261651, abs=5e-8)
    assert (chart.lower[0], chart.upper[0]) == pytest.approx((32.24484, 34.80183), abs=5e-6)


def test_an_individuals_chart_with_the_stable_periods_limits_names_point_and_rule():
    chart = individuals([0.1, -0.2, 4.0, 0.3], centre=0, sigma=1)
    assert chart.out == [2]
    assert [(hit.rule, hit.points) for hit in chart.hits] == [("nelson-1", (2,))]


def test_a_point_without_data_is_in_no_hit():
    chart = individuals([0.1, np.nan, 5.0], centre=0, sigma=1)
    assert chart.out == [2]
    assert [hit.points for hit in chart.hits] == [(2,)]


def test_any_change_of_a_series_without_spread_is_out():
    chart = individuals([5.0] * 10 + [5.1], centre=5, sigma=0)
    assert chart.out == [10]
    assert ("nelson-1", (10,)) in [(hit.rule, hit.points) for hit in chart.hits]


def test_the_p_chart_is_the_textbooks():
    chart = proportions(ORANGE_JUICE, [50] * 30)
    assert chart.centre == pytest.approx(0.2313333, abs=5e-8)
    assert (chart.lower[0], chart.upper[0]) == pytest.approx((0.05242755, 0.4102391), abs=5e-8)
    assert chart.out == [14, 22]


def test_each_sample_of_a_p_chart_has_the_limits_of_its_own_size():
    chart = proportions([10, 100, 0, 5], [100, 1000, 0, 50], centre=0.1)
    assert chart.upper[1] == pytest.approx(0.1 + 3 * (0.09 / 1000) ** 0.5, abs=1e-12)
    assert chart.upper[1] < chart.upper[0] < chart.upper[3]
    assert np.isnan(chart.points[2])
    assert chart.out == []


def test_the_ewma_chart_is_the_handbooks():
    data = [52.0, 47.0, 53.0, 49.3, 50.1, 47.0, 51.0, 50.1, 51.2, 50.5, *FLOW]
    chart = ewma(data, target=50, sigma=2.0539, weight=0.3, width=3, exact=False)
    expected = [
        50.60, 49.52, 50.56, 50.18, 50.16, 49.21, 49.75, 49.85, 50.26, 50.33, 50.11, 49.36, 49.52, 50.05, 49.38,
        49.92, 50.73, 51.23, 51.94, 51.99,
    ]  # fmt: skip
    assert chart.points == pytest.approx(expected, abs=0.005 + 1e-9)
    assert chart.upper[0] == pytest.approx(52.5884, abs=5e-5)
    assert chart.lower[0] == pytest.approx(47.41157, abs=5e-6)
    assert chart.hits == []


def test_exact_ewma_limits_open_from_one_observations_to_the_asymptotic_ones():
    chart = ewma([0.0] * 60, target=0, sigma=1, weight=0.2, width=3)
    assert chart.upper[0] == pytest.approx(3 * 0.2, abs=1e-12)
    assert chart.upper[1] == pytest.approx(3 * (0.2 / 1.8 * (1 - 0.8**4)) ** 0.5, abs=1e-12)
    assert chart.upper[-1] == pytest.approx(1.0, abs=1e-9)


def test_a_lasting_shift_of_one_sigma_is_found_by_ewma_and_cusum():
    series = np.append(np.random.default_rng(3).normal(0, 1, 50), np.random.default_rng(4).normal(1, 1, 50))
    [hit, *_] = ewma(series, target=0, sigma=1).hits
    assert (hit.rule, 50 <= hit.at < 80) == ("ewma", True)
    found = cusum(series, target=0, sigma=1)
    assert 50 <= found.signals[0] < 80
    assert 40 <= found.since <= 60


def test_the_cusum_chart_is_the_handbooks():
    chart = cusum(CUSUM_DATA, target=325, sigma=0.635, k=0.5, h=4.1959)
    assert chart.h == pytest.approx(2.6644, abs=5e-5)
    assert chart.high[12] == pytest.approx(3.0075, abs=1e-9)
    assert chart.high[13] == pytest.approx(4.94, abs=1e-9)
    assert chart.high[19] == pytest.approx(19.035, abs=1e-9)
    assert chart.signals == list(range(12, 20))
    assert chart.since == 12


def test_a_falling_mean_is_found_by_the_lower_sum():
    chart = cusum([-x for x in CUSUM_DATA], target=-325, sigma=0.635, k=0.5, h=4.1959)
    assert chart.low[19] == pytest.approx(19.035, abs=1e-9)
    assert chart.signals[0] == 12


def test_charts_refuse_what_they_cannot_read():
    with pytest.raises(ValueError, match="two neighbouring values"):
        individuals([1.0, np.nan, 2.0])
    with pytest.raises(ValueError, match="at least one point"):
        ewma([], target=0, sigma=1)
    with pytest.raises(ValueError, match="weight"):
        ewma([1.0], target=0, sigma=1, weight=0)
    with pytest.raises(ValueError, match="sigma above zero"):
        cusum([1.0], target=0, sigma=0)
    with pytest.raises(ValueError, match="all of its rows"):
        proportions([5], [4])
    with pytest.raises(ValueError, match="sample with rows"):
        proportions([0], [0])


PISTON_RINGS = 74 + np.array([
    [30, 2, 19, -8, 8], [-5, -8, 1, 11, 4], [-12, 24, 21, 5, 2], [2, -4, -7, 15, 9], [-8, 7, 15, -11, 14],
    [9, -6, -3, -15, -7], [-5, 6, -6, 0, 5], [-15, 3, -7, 15, -12], [8, -5, 9, 5, 4], [-2, 0, -10, 7, -5],
    [-6, -2, -6, -5, -10], [4, 0, 7, 0, -4], [-17, 2, -2, -3, 12], [6, -33, -6, 0, -16], [12, 14, -2, -1, 7],
    [0, -16, 5, -2, -4], [-6, 12, -14, 5, 7], [6, 10, 18, 3, 0], [-16, 2, 3, 5, -3], [0, 10, 13, 20, 3],
    [-12, 1, 9, 5, -4], [4, -1, -10, 6, 9], [10, -11, -10, 9, 14], [15, 8, -7, 0, 10], [-18, -16, -5, 17, 13],
]) / 1000  # fmt: skip
COMPUTER_FAULTS = [10, 12, 8, 14, 10, 16, 11, 7, 10, 15, 9, 5, 7, 11, 12, 6, 8, 10, 7, 5]


def test_the_subgroup_charts_are_the_textbooks():
    limits = freeze(PISTON_RINGS)
    means, spreads = xbar_s(PISTON_RINGS, limits)
    assert limits.centre == pytest.approx(74.00118, abs=5e-6)
    assert spreads.centre == pytest.approx(0.009240037, abs=5e-10)
    assert spreads.upper[0] == pytest.approx(0.019302416, abs=5e-9)
    assert spreads.lower[0] == 0.0
    assert (means.lower[0], means.upper[0]) == pytest.approx((73.988, 74.014), abs=5e-4)
    assert (means.out, spreads.out) == ([], [])


def test_limits_frozen_in_a_stable_period_name_the_subgroup_that_left_it():
    later = PISTON_RINGS[:3].copy()
    later[1] += 0.02
    later[2, 0] += 0.08
    means, spreads = xbar_s(later, freeze(PISTON_RINGS))
    assert (means.out, spreads.out) == ([1, 2], [2])
    assert means.upper[0] == pytest.approx(xbar_s(PISTON_RINGS, freeze(PISTON_RINGS))[0].upper[0])
    with pytest.raises(ValueError, match="subgroups of 5 values"):
        xbar_s(later[:, :4], freeze(PISTON_RINGS))
    with pytest.raises(ValueError, match="at least two subgroups"):
        freeze(later[:1])


@pytest.mark.parametrize(("size", "factor"), [(2, 0.7979), (5, 0.94), (10, 0.9727), (25, 0.9896)])
def test_the_factor_of_the_standard_deviation_is_the_tables(size, factor):
    assert c4(size) == pytest.approx(factor, abs=5e-5)


def test_the_u_chart_is_the_textbooks():
    chart = rates(COMPUTER_FAULTS, [5] * 20)
    assert chart.centre == pytest.approx(1.93, abs=1e-12)
    assert (chart.lower[0], chart.upper[0]) == pytest.approx((0.07, 3.79), abs=5e-3)
    assert chart.out == []


def test_each_sample_of_a_u_chart_has_the_limits_of_its_own_size():
    chart = rates([4, 40, 0, 9], [10, 100, 0, 10], centre=0.4)
    assert chart.upper[1] == pytest.approx(0.4 + 3 * (0.4 / 100) ** 0.5, abs=1e-12)
    assert chart.upper[1] < chart.upper[0]
    assert np.isnan(chart.points[2])
    assert rates([4, 40, 0, 19], [10, 100, 0, 10], centre=0.4).out == [3]
    with pytest.raises(ValueError, match="neither below zero"):
        rates([-1], [1])


def test_the_last_average_and_sums_of_a_row_are_those_of_the_whole_chart():
    values = np.array([*np.random.default_rng(3).normal(0.4, 1, 60).tolist(), np.nan, 0.2])

    whole, sums = ewma(values, target=0.1, sigma=1, exact=False), cusum(values, target=0.1, sigma=1, h=50)
    up, down = last_cusum(values[None, :], target=0.1, sigma=1, k=0.5, h=50)

    assert last_ewma(values[None, :], target=0.1, weight=0.2).tolist() == [whole.points[-1]]
    assert (up[0], down[0]) == pytest.approx((sums.high[-1], sums.low[-1]), abs=1e-12)


def test_a_sum_comes_back_below_its_limit_however_long_the_shift_went_on():
    back = np.array([5.0] * 200 + [0.0] * 11)[None, :]

    up, _ = last_cusum(back, target=0, sigma=1, k=0.5, h=5)
    before, _ = last_cusum(back[:, :-11], target=0, sigma=1, k=0.5, h=5)

    assert (before[0], up[0]) == (10.0, 4.5)


def test_standardised_points_are_distances_in_sigmas():
    assert individuals([1.0, 4.0, 7.0], centre=1, sigma=2).z.tolist() == [0.0, 1.5, 3.0]
    assert ewma([3.0], target=0, sigma=1, weight=1.0, width=3.0).z.tolist() == [3.0]
