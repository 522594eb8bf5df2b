"""What running other makers' detectors showed wrong, each with the outcome that is right."""

import numpy as np
import pytest

from monitoring.drift import measures
from monitoring.drift.compare import compare
from monitoring.drift.exact import compare_exact, sort_reference
from monitoring.drift.judge import Limits, judge, overall
from monitoring.drift.mmd import mmd_test
from monitoring.drift.profile import Profile, build_profile


def judged(reference, window, kind="numeric", **limits):
    [verdict] = judge(compare(build_profile({"c": reference}, {"c": kind}), {"c": window}), limits=Limits(**limits))
    return verdict


@pytest.mark.parametrize("categories", [3, 5, 10, 20])
def test_chi_square_takes_the_reference_for_a_sample_and_not_for_the_truth(categories):
    # Taken as exact, equal windows of 1000 rows gave 23, 30, 51 and 72 % of false alarms at a nominal 5 %.
    rng = np.random.default_rng(categories)
    shares = np.full(categories, 1 / categories)
    counts = rng.multinomial(1000, shares, size=(1000, 2))
    false = np.mean([measures.chi_square(a, b).p < 0.05 for a, b in counts])
    assert 0.03 <= false <= 0.07


@pytest.mark.parametrize("rows", [5000, 100_000])
@pytest.mark.parametrize("spoilt", ["reference", "window"])
def test_one_outlier_does_not_hide_a_shift_of_two_sigmas(rows, spoilt):
    # Bins from minimum to maximum put everything into one: PSI fell from 3.74 to 0.00007.
    rng = np.random.default_rng(1)
    samples = {"reference": rng.normal(0, 1, rows), "window": rng.normal(2, 1, rows)}
    samples[spoilt][0] = 1e6
    [drift] = compare(build_profile({"c": samples["reference"]}, {"c": "numeric"}), {"c": samples["window"]})
    assert drift.psi > 2.5
    assert drift.js > 0.5
    assert drift.kl > 1.5
    assert drift.ks.statistic == pytest.approx(0.68, abs=0.02)
    assert judged(samples["reference"], samples["window"]).drifted


def test_missing_values_are_drift():
    # 0 to 95 % missing was "no drift" with a score of 0.016, and 60 % missing categories 0.002.
    rng = np.random.default_rng(2)
    numbers, now = rng.normal(size=5000), rng.normal(size=5000)
    now[:4750] = np.nan
    assert judged(numbers, now).test == "missing values"
    assert judged(numbers, now).drifted
    codes, then = rng.choice(list("abc"), 5000), rng.choice(list("abc"), 5000).astype(object)
    then[:3000] = None
    assert judged(codes, then, "categorical").drifted


def test_a_single_infinite_value_is_no_drift_in_column_or_window():
    # One report called the column drifted in its count and not drifted in its value.
    rng = np.random.default_rng(3)
    window = rng.normal(size=100_000)
    window[0] = np.inf
    verdict = judged(rng.normal(size=100_000), window)
    assert not verdict.drifted
    assert overall([verdict]).outcome == "no drift"


def test_mmd_keeps_its_level_on_samples_of_one_distribution():
    # Held against the 5th instead of the 95th percentile, 60 of 60 equal pairs were flagged.
    rng = np.random.default_rng(4)
    flagged = 0
    for _ in range(12):
        a, b = rng.normal(size=(2, 60, 3))
        flagged += mmd_test(a, b, permutations=60, device="cpu").p < 0.05
    assert flagged <= 3


def test_the_number_of_quantiles_is_heeded():
    # psi(n_bins=5), 10, 30 and 100 all gave the same number.
    rng = np.random.default_rng(5)
    reference, window = rng.normal(size=5000), rng.normal(0.2, 1, 5000)
    errors = [
        compare(build_profile({"c": reference}, {"c": "numeric"}, quantiles=q), {"c": window})[0].ks_error
        for q in (10, 100, 1000)
    ]
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize(("column", "kind"), [(np.full(500, 3.0), "numeric"), (np.full(500, "a"), "categorical")])
def test_a_constant_column_has_statistics_and_no_drift(column, kind):
    # A constant category gave nan.
    verdict = judged(column, column[:200], kind)
    assert (verdict.outcome, verdict.effect) == ("no drift", 0.0)


def test_stable_columns_stay_quiet_over_ten_windows():
    # 33 % of 200 stable columns alerted at least once in ten windows, by mean and three standard deviations of ten.
    rng = np.random.default_rng(6)
    profile = Profile.from_json(
        build_profile({f"c{i}": rng.gamma(2, size=4000) for i in range(60)}, {f"c{i}": "numeric" for i in range(60)})
    )
    drifted = set()
    for _ in range(10):
        window = {name: rng.gamma(2, size=400) for name in profile.columns}
        drifted |= set(overall(judge(compare(profile, window))).drifted)
    assert len(drifted) <= 1


def test_a_window_that_lost_most_of_its_rows_is_not_drift_for_its_size():
    # Limits that do not know the window's size alerted 10 of 10 such windows.
    rng = np.random.default_rng(7)
    profile = Profile.from_json(build_profile({"c": rng.normal(size=20_000)}, {"c": "numeric"}))
    outcomes = {judge(compare(profile, {"c": rng.normal(size=120)}))[0].outcome for _ in range(10)}
    assert outcomes == {"no drift"}
    assert judge(compare(profile, {"c": rng.normal(size=20)}))[0].outcome == "not enough data"


def test_exact_distances_are_exact_when_they_are_asked_for():
    # calculation_method "exact" was read at the wrong level and ignored.
    rng = np.random.default_rng(8)
    reference, window = rng.normal(size=20_000), rng.normal(size=20_000)
    [drift] = compare_exact(sort_reference({"c": reference}, {"c": "numeric"}), {"c": window})
    expected = np.abs(np.sort(reference) - np.sort(window)).mean()
    assert drift.wasserstein * reference.std() == pytest.approx(expected, abs=1e-12)


def test_what_a_sketch_leaves_out_is_not_taken_for_drift():
    # p-values that ignore the sketch's error called 10 of 15 stable columns drifted at a million rows.
    rng = np.random.default_rng(9)
    small = []
    for _ in range(15):
        reference, window = rng.normal(size=(2, 200_000)).astype(np.float32)
        [drift] = compare(build_profile({"c": reference}, {"c": "numeric"}, quantiles=64), {"c": window})
        [whole] = compare_exact(sort_reference({"c": reference}, {"c": "numeric"}), {"c": window})
        assert drift.ks.p >= whole.ks.p
        assert drift.ks.statistic <= whole.ks.statistic <= drift.ks.statistic + drift.ks_error
        small.append(drift.ks.p < 0.05)
    assert sum(small) <= 3


def test_many_columns_share_one_false_discovery_rate():
    # None but one of the peers corrects for the number of features.
    rng = np.random.default_rng(10)
    names = [f"c{i}" for i in range(60)]
    profile = Profile.from_json(
        build_profile({n: rng.normal(size=3000) for n in names}, dict.fromkeys(names, "numeric"))
    )
    windows = [judge(compare(profile, {n: rng.normal(size=300) for n in names})) for _ in range(4)]
    raw = sum(v.p < 0.05 for verdicts in windows for v in verdicts)
    corrected = sum(v.p_adjusted < 0.05 for verdicts in windows for v in verdicts)
    assert raw > 3
    assert corrected <= 1
