import numpy as np
import pytest

from monitoring.drift.groups import rank_groups


def table(parts):
    """Answers and a feature from (group, rows, errors)."""
    correct = np.concatenate([np.arange(rows) >= errors for _, rows, errors in parts])
    return correct, {"sex": np.concatenate([np.full(rows, group) for group, rows, _ in parts])}


REFERENCE = table([(1, 1000, 200), (2, 1000, 200), (3, 60, 6)])


def ranked(parts, **options):
    correct, features = table(parts)
    return rank_groups(correct, features, reference_correct=REFERENCE[0], reference_features=REFERENCE[1], **options)


def test_the_group_with_most_errors_too_many_comes_first():
    first, second = ranked([(1, 400, 82), (2, 400, 200)])
    assert (first.feature, first.group, first.n, first.errors, first.accuracy) == ("sex", 2, 400, 200, 0.5)
    assert first.excess_errors == pytest.approx(120, abs=1e-9)
    assert (first.outcome, second.outcome) == ("drift", "no drift")
    assert (first.low, first.high) == pytest.approx((0.451228, 0.548772), abs=1e-5)
    assert first.sentence.endswith("120 more errors than expected.")
    assert second.excess_errors == pytest.approx(2, abs=1e-9)


def test_a_group_that_is_too_small_comes_last_unjudged():
    groups = ranked([(3, 40, 40), (1, 400, 80)])
    assert [(g.group, g.outcome, g.p is None) for g in groups] == [(1, "no drift", False), (3, "not enough data", True)]
    assert "40 rows in the window and 60 in the reference" in groups[1].sentence


def test_a_group_that_the_reference_lacks_is_not_judged():
    [group] = ranked([(9, 500, 400)])
    assert (group.outcome, group.reference_accuracy, group.excess_errors) == ("not enough data", None, None)


def test_a_group_that_improved_is_not_drift():
    [group] = ranked([(1, 500, 0)])
    assert group.p < 1e-6
    assert (group.outcome, group.excess_errors) == ("no drift", pytest.approx(-100, abs=1e-9))


def test_missing_values_are_a_group_of_their_own():
    correct = [True, False, True, False]
    for column in (np.array([1.0, np.nan, 1.0, np.nan]), np.array([1, None, 1, None], dtype=object)):
        groups = rank_groups(
            correct, {"x": column}, reference_correct=correct, reference_features={"x": column}, minimum_rows=2
        )
        assert [(g.group, g.n, g.errors) for g in groups] == [(None, 2, 2), (1, 2, 0)] or [
            (g.group, g.n, g.errors) for g in groups
        ] == [(1, 2, 0), (None, 2, 2)]


def test_without_a_change_no_group_is_named():
    rng = np.random.default_rng(1)
    reference = (rng.random(20_000) < 0.8, {"x": rng.integers(0, 20, 20_000)})
    alarms = 0
    for _ in range(100):
        groups = rank_groups(
            rng.random(2000) < 0.8,
            {"x": rng.integers(0, 20, 2000)},
            reference_correct=reference[0],
            reference_features=reference[1],
        )
        alarms += any(group.outcome == "drift" for group in groups)
    assert alarms <= 3


def test_columns_of_other_lengths_and_unknown_features_are_refused():
    with pytest.raises(ValueError, match="sex has 2 rows, but there are 1"):
        rank_groups([True], {"sex": [1, 2]}, reference_correct=[True], reference_features={"sex": [1]})
    with pytest.raises(ValueError, match="lacks these features: sex"):
        rank_groups([True], {"sex": [1]}, reference_correct=[True], reference_features={})
