import numpy as np
import pytest
from scipy import stats

from monitoring.drift.compare import compare
from monitoring.drift.judge import Limits, benjamini_hochberg, judge, judge_windows, overall
from monitoring.drift.profile import Profile, build_profile

RNG = np.random.default_rng(2024)
KINDS = {f"n{i}": "numeric" for i in range(6)} | {f"c{i}": "categorical" for i in range(6)}
SHARES = [RNG.dirichlet(np.full(4 * i + 2, 1.0)) for i in range(6)]


def draw(rng, rows):
    numeric = [
        rng.normal(0, 1, rows),
        rng.lognormal(0, 2, rows),
        rng.integers(0, 96, rows).astype(float),
        np.where(rng.random(rows) < 0.6, 0.0, rng.random(rows)),
        rng.standard_t(2, rows),
        np.where(rng.random(rows) < 0.1, np.nan, rng.random(rows)),
    ]
    codes = [rng.choice(len(share), rows, p=share) for share in SHARES]
    return {f"n{i}": column for i, column in enumerate(numeric)} | {f"c{i}": column for i, column in enumerate(codes)}


REFERENCE = draw(RNG, 20_000)
PROFILE = Profile.from_json(build_profile(REFERENCE, KINDS))


def judged(window, **options):
    return {verdict.column: verdict for verdict in judge(compare(PROFILE, window), limits=Limits(**options))}


def test_adjusted_p_values_equal_scipy():
    p = [0.01, 0.04, 0.03, 0.005, 0.5, 0.04]
    assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p), abs=1e-15)
    assert benjamini_hochberg([]).tolist() == []


@pytest.mark.parametrize(("rows", "windows"), [(100, 60), (300, 120), (2000, 20)])
def test_windows_without_drift_stay_quiet(rows, windows):
    rng = np.random.default_rng(rows)
    results = [judge(compare(PROFILE, draw(rng, rows))) for _ in range(windows)]
    alarms = sum(overall(verdicts).outcome == "drift" for verdicts in results)
    significant = sum(any(v.p_adjusted is not None and v.p_adjusted <= 0.01 for v in verdicts) for verdicts in results)
    assert alarms <= 0.002 * windows
    # Significance alone keeps its level too: alpha is 1 % of the windows; three standard deviations are allowed.
    assert significant <= 0.01 * windows + 3 * (0.01 * windows) ** 0.5


def test_a_column_that_moved_is_named_and_the_others_are_not():
    window = draw(np.random.default_rng(1), 300)
    window["n0"] = window["n0"] + 1.5
    window["c3"] = np.where(window["c3"] == 0, 1, 0)
    verdicts = judged(window)
    assert sorted(name for name, verdict in verdicts.items() if verdict.drifted) == ["c3", "n0"]
    assert verdicts["n0"].test == "Kolmogorov-Smirnov"
    assert verdicts["n0"].effect > 0.2
    assert verdicts["n0"].p_adjusted < 1e-6
    assert verdicts["c3"].test == "chi-square"
    assert verdicts["n0"].sentence.startswith("n0 drifted: PSI ")
    summary = overall(list(verdicts.values()))
    assert (summary.outcome, summary.drifted, summary.judged) == ("drift", ["n0", "c3"], 12)
    assert summary.sentence == "2 of 12 columns drifted: n0, c3."


def test_a_certain_but_small_difference_is_not_drift():
    window = draw(np.random.default_rng(2), 100_000)
    window["n0"] = window["n0"] + 0.08
    verdict = judged(window)["n0"]
    assert verdict.p_adjusted < 1e-6
    assert verdict.outcome == "no drift"
    assert "certain but small" in verdict.sentence
    assert judged(window, psi_floor=0.001)["n0"].drifted


def test_a_large_distance_that_chance_explains_is_not_drift():
    window = draw(np.random.default_rng(3), 30)
    verdict = judged(window, minimum_rows=10)["c5"]
    assert verdict.outcome == "no drift"


def test_too_few_rows_are_a_third_answer():
    verdicts = judged(draw(np.random.default_rng(4), 40))
    assert {verdict.outcome for verdict in verdicts.values()} == {"not enough data"}
    assert verdicts["n0"].sentence == ("n0 can't be judged yet: 40 usable rows in the window, at least 100 are needed.")
    assert (verdicts["n0"].p, verdicts["n0"].effect, verdicts["n0"].drifted) == (None, None, False)
    assert overall(list(verdicts.values())).outcome == "not enough data"


def test_values_that_went_missing_are_drift_even_when_too_few_are_left_to_judge():
    window = draw(np.random.default_rng(5), 300)
    window["n0"][:285] = np.nan
    verdict = judged(window)["n0"]
    assert (verdict.outcome, verdict.test, verdict.effect) == ("drift", "missing values", pytest.approx(0.95, abs=0.01))
    assert "95.0% against 0.0% in the reference" in verdict.sentence


def test_a_share_of_missing_values_that_the_reference_has_too_is_not_drift():
    assert not judged(draw(np.random.default_rng(6), 1000))["n5"].drifted


def test_a_column_that_is_absent_from_the_window_is_drift():
    window = draw(np.random.default_rng(7), 300)
    del window["c2"]
    verdict = judged(window)["c2"]
    assert (verdict.outcome, verdict.test, verdict.effect) == ("drift", "missing values", pytest.approx(1, abs=0.01))


def test_infinite_values_are_drift():
    window = draw(np.random.default_rng(8), 300)
    window["n0"][:30] = np.inf
    verdict = judged(window)["n0"]
    assert (verdict.outcome, verdict.test, verdict.effect) == (
        "drift",
        "infinite values",
        pytest.approx(0.1, abs=0.003),
    )


def test_text_in_a_column_of_numbers_is_drift():
    window = draw(np.random.default_rng(8), 300)
    window["n0"] = window["n0"].astype(object)
    window["n0"][:30] = "12,5"
    verdict = judged(window)["n0"]
    assert (verdict.outcome, verdict.test) == ("drift", "values of another type")
    assert "10.0% against 0.0% in the reference" in verdict.sentence


def test_a_new_category_is_drift_once_it_fills_a_twentieth_of_the_window():
    window = draw(np.random.default_rng(9), 1000)
    window["c2"][:60] = 99
    verdict = judged(window)["c2"]
    assert verdict.outcome == "drift"
    assert verdict.sentence.endswith("Never seen before: 99 (60).")
    window["c2"][10:60] = 1
    rare = judged(window)["c2"]
    assert rare.outcome == "no drift"
    assert rare.sentence.endswith("Never seen before: 99 (10).")


def test_identifiers_that_are_always_new_are_not_unseen_values():
    profile = Profile.from_json(build_profile({"id": np.arange(900)}, {"id": "categorical"}))
    [verdict] = judge(compare(profile, {"id": np.arange(5000, 5300)}))
    assert verdict.test != "unseen values" or not verdict.drifted


def test_a_column_that_the_model_hardly_reads_is_named_and_is_no_reason():
    window = draw(np.random.default_rng(11), 500)
    window["n1"] = window["n1"] * 50
    verdicts = list(judged(window).values())
    weights = {"n0": 1.0, "n1": 0.01}
    assert overall(verdicts).drifted == ["n1"]
    quiet = overall(verdicts, weights)
    assert (quiet.outcome, quiet.drifted, quiet.unimportant) == ("no drift", [], ["n1"])
    assert quiet.sentence == "Drifted, but hardly read by the model: n1."
    assert overall(verdicts, weights, 0.005).outcome == "drift"
    assert overall(verdicts, {"n0": 1.0}).outcome == "drift"


def test_many_windows_together_share_one_false_discovery_rate():
    rng = np.random.default_rng(12)
    windows = [compare(PROFILE, draw(rng, 300)) for _ in range(4)]
    drifted = draw(rng, 300)
    drifted["n0"] = drifted["n0"] + 1
    windows.append(compare(PROFILE, drifted))
    together = judge_windows(windows)
    assert [overall(verdicts).drifted for verdicts in together] == [[], [], [], [], ["n0"]]
    alone, among = judge(windows[-1])[0], together[-1][0]
    assert alone.p_adjusted < among.p_adjusted < 1e-6
