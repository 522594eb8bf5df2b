import json
import time

import numpy as np
import pytest
from scipy import stats

from monitoring.drift import measures
from monitoring.drift.compare import compare
from monitoring.drift.profile import Profile, build_profile
from monitoring.drift.window import count_window, merge


def compare_one(reference, window, kind="numeric", quantiles=1024):
    profile = build_profile({"c": reference}, {"c": kind}, quantiles=quantiles)
    [drift] = compare(profile, {"c": window})
    return drift


def test_two_known_samples_have_the_known_statistics():
    drift = compare_one(np.arange(100), np.arange(20, 120))
    assert drift.ks.statistic == pytest.approx(0.2, abs=1e-12)
    assert drift.ks.p == pytest.approx(0.03638428787491733, abs=1e-9)
    assert measures.ks_p_asymptotic(0.2, 100, 100) == pytest.approx(0.03143878, abs=1e-8)
    assert drift.wasserstein == pytest.approx(0.6928549666419952, abs=1e-12)
    assert drift.unseen_share_window == 0.2


def test_known_categories_have_the_known_statistics():
    reference, window = np.repeat(list("abc"), [50, 30, 20]), np.repeat(list("abcd"), [20, 30, 40, 10])
    drift = compare_one(reference, window, "categorical")
    assert drift.chi_square.statistic == pytest.approx(29.523809523809526, abs=1e-10)
    assert drift.psi == pytest.approx(1.103601408044551, abs=1e-12)
    assert drift.js == pytest.approx(0.34988433915414435, abs=1e-12)
    assert drift.total_variation == pytest.approx(0.3, abs=1e-12)
    assert drift.new_categories == [("d", 10)]
    assert drift.vanished_categories == []
    assert compare_one(window, reference, "categorical").vanished_categories == [("d", 10)]


@pytest.mark.parametrize("quantiles", [32, 256, 1024])
@pytest.mark.parametrize("shift", [0.0, 0.1, 1.0])
def test_a_profile_of_k_quantiles_is_within_one_kth_of_the_exact_statistic(quantiles, shift):
    rng = np.random.default_rng(3)
    reference, window = rng.lognormal(0, 1, 20_000), rng.lognormal(shift, 1, 3000)
    drift, exact = compare_one(reference, window, quantiles=quantiles), stats.ks_2samp(reference, window)
    assert 0 <= exact.statistic - drift.ks.statistic + 1e-12 <= 1 / quantiles
    assert exact.statistic <= drift.ks.statistic + drift.ks_error + 1e-12


def test_with_few_distinct_values_a_profile_is_exact():
    rng = np.random.default_rng(4)
    reference, window = rng.integers(0, 96, 5000), rng.integers(5, 110, 700)
    drift = compare_one(reference, window)
    assert drift.ks.statistic == pytest.approx(stats.ks_2samp(reference, window).statistic, abs=1e-12)
    assert drift.wasserstein * reference.std() == pytest.approx(stats.wasserstein_distance(reference, window), abs=1e-9)
    assert drift.ks_error == 0.0


@pytest.mark.parametrize("outlier", [1e6, -1e6, 1e300])
@pytest.mark.parametrize("where", ["reference", "window"])
def test_one_outlier_does_not_hide_a_shift(outlier, where):
    rng = np.random.default_rng(6)
    reference, window = rng.normal(0, 1, 5000), rng.normal(2, 1, 5000)
    clean = compare_one(reference, window)
    (reference if where == "reference" else window)[0] = outlier
    spoilt = compare_one(reference, window)
    # What was beyond the reference's range may now lie within it; the shift of the deciles remains.
    assert spoilt.psi > 2.5
    assert spoilt.js == pytest.approx(clean.js, rel=0.05)
    assert spoilt.ks.statistic == pytest.approx(clean.ks.statistic, abs=1e-3)


def test_missing_values_are_drift_even_where_the_others_did_not_change():
    rng = np.random.default_rng(8)
    reference, window = rng.normal(0, 1, 5000), rng.normal(0, 1, 5000)
    window[: 5000 * 95 // 100] = np.nan
    drift = compare_one(reference, window)
    assert (drift.missing_share_reference, drift.missing_share_window) == (0.0, 0.95)
    assert drift.missing_p < 1e-300
    assert drift.psi > 1
    assert drift.ks.p > 0.01


def test_infinite_values_are_counted_apart():
    window = np.arange(200.0)
    window[:10] = np.inf
    drift = compare_one(np.arange(200.0), window)
    assert (drift.n_window, drift.rows_window) == (190, 200)
    assert (drift.infinite_share_reference, drift.infinite_share_window) == (0.0, 0.05)
    assert drift.missing_share_window == 0.0


def test_repeating_every_row_changes_no_distance():
    rng = np.random.default_rng(9)
    reference, window = rng.normal(0, 1, 2000), rng.normal(0.3, 1.2, 500)
    once, thrice = compare_one(reference, window), compare_one(np.repeat(reference, 3), np.repeat(window, 3))
    assert thrice.ks.statistic == pytest.approx(once.ks.statistic, abs=2e-3)
    assert thrice.wasserstein == pytest.approx(once.wasserstein, rel=0.02)
    assert thrice.ks.p < once.ks.p


def test_a_merged_window_compares_like_the_whole():
    rng = np.random.default_rng(10)
    columns = {"x": rng.normal(0, 1, 900), "k": rng.integers(0, 4, 900)}
    profile = Profile.from_json(build_profile(columns, {"x": "numeric", "k": "categorical"}))
    window = {"x": rng.normal(0.2, 1, 600), "k": rng.integers(0, 5, 600)}
    parts = [count_window(profile, {n: c[part] for n, c in window.items()}) for part in (slice(250), slice(250, None))]
    for merged, whole in zip(compare(profile, merge(*parts)), compare(profile, window), strict=True):
        assert (merged.ks, merged.chi_square, merged.psi) == (whole.ks, whole.chi_square, whole.psi)
        assert merged.wasserstein == (whole.wasserstein and pytest.approx(whole.wasserstein, rel=1e-9))
        assert json.loads(json.dumps(merged.to_json()))["rows_window"] == 600


def test_columns_with_nothing_to_compare_have_no_statistics():
    empty = compare_one([np.nan] * 5, [1.0, 2.0])
    assert (empty.ks, empty.wasserstein, empty.n_reference, empty.n_window) == (None, None, 0, 2)
    constant = compare_one([7.0] * 50, [7.0] * 40)
    assert (constant.ks.statistic, constant.ks.p, constant.psi, constant.wasserstein) == (0.0, 1.0, 0.0, None)
    one_category = compare_one(["a"] * 50, ["a"] * 40, "categorical")
    assert (one_category.chi_square.p, one_category.psi, one_category.js) == (1.0, 0.0, 0.0)
    nothing = compare_one(["a"] * 50, [], "categorical")
    assert (nothing.chi_square, nothing.psi, nothing.vanished_categories) == (None, None, [])


def test_a_window_of_another_profile_is_refused():
    profile, other = (Profile.from_json(build_profile({"c": [1.0, n]}, {"c": "numeric"})) for n in (2.0, 3.0))
    with pytest.raises(ValueError, match="another reference profile"):
        compare(profile, count_window(other, {"c": [1.0]}))


def test_sixty_columns_of_a_hundred_thousand_rows_take_less_than_two_seconds():
    rng = np.random.default_rng(12)
    numbers, codes = rng.normal(0, 1, 100_000), rng.integers(0, 20, 100_000)
    columns = {f"n{i}": np.roll(numbers, i) for i in range(50)} | {f"c{i}": np.roll(codes, i) for i in range(10)}
    kinds = {name: "numeric" if name[0] == "n" else "categorical" for name in columns}
    profile = Profile.from_json(build_profile(columns, kinds))
    started = time.process_time()
    assert len(compare(profile, columns)) == 60
    assert time.process_time() - started < 2


def test_a_reference_with_one_usable_value_is_compared():
    drift = compare_one([7.0, np.nan, np.nan], [7.0, 7.0, 8.0, np.nan])
    assert (drift.n_reference, drift.n_window) == (1, 3)
    assert (drift.unseen_share_reference, drift.unseen_share_window) == (1.0, pytest.approx(1 / 3))
    assert drift.missing_share_reference == pytest.approx(2 / 3)
