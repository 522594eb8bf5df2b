import numpy as np
import pytest

from monitoring.drift import joint
from monitoring.drift.joint import MOST_ROWS, JointLimits, are_unlike, judge_together

ROWS = 3000


def table(seed, *, together=0.0):
    """Three numbers and a category; the first two hang together so much."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=ROWS)
    b = together * a + np.sqrt(1 - together**2) * rng.normal(size=ROWS)
    return {"a": a, "b": b, "c": rng.lognormal(size=ROWS), "k": rng.choice(list("xyz"), ROWS)}


def test_two_samples_of_one_distribution_are_no_drift():
    found = judge_together(table(1, together=0.8), table(2, together=0.8), limits=JointLimits())
    assert (found.outcome, found.by) == ("no drift", [])
    assert (found.n_reference, found.n_window) == (MOST_ROWS, MOST_ROWS)


def test_a_relation_that_no_single_column_shows_is_found_and_named():
    found = judge_together(table(1), table(2, together=0.8), limits=JointLimits())
    assert (found.outcome, found.by[0]) == ("drift", "classifier")
    assert found.telling[0][0] == "a with b"


def test_what_is_certain_and_small_is_no_drift():
    limits = JointLimits(auc=0.95, mmd=0.5)
    found = judge_together(table(1), table(2, together=0.8), limits=limits)
    assert found.outcome == "no drift"
    assert found.auc_p < 1e-6
    assert found.auc < 0.95


def test_a_shift_of_everything_is_found_by_both():
    moved = {name: column + 1 if name in "abc" else column for name, column in table(2).items()}
    assert judge_together(table(1), moved, limits=JointLimits()).by == ["classifier", "mmd"]


def test_missing_values_are_compared_and_do_not_hide_anything():
    window = table(2)
    window["a"] = np.where(np.arange(ROWS) % 3 == 0, np.nan, window["a"])
    found = judge_together(table(1), window, limits=JointLimits())
    assert (found.outcome, found.telling[0][0]) == ("drift", "a")


def test_too_few_rows_are_not_enough_data():
    few = {name: column[:150] for name, column in table(2).items()}
    found = judge_together(table(1), few, limits=JointLimits())
    assert (found.outcome, found.n_window, np.isnan(found.auc)) == ("not enough data", 150, True)


def test_a_column_that_the_window_lacks_is_named():
    with pytest.raises(ValueError, match="The window lacks these columns: b"):
        judge_together(table(1), {"a": np.zeros(500), "c": np.zeros(500), "k": np.zeros(500)}, limits=JointLimits())


@pytest.mark.parametrize("limits", [JointLimits(), JointLimits(alpha=0.2), JointLimits(auc=0.95, mmd=0.002)])
def test_fewer_permutations_below_the_floor_change_no_verdict(monkeypatch, limits):
    windows = [table(seed, together=together) for seed, together in enumerate((0.0, 0.1, 0.2, 0.3, 0.5, 0.8), start=2)]
    windows.append({name: column + 0.2 if name == "c" else column for name, column in table(9).items()})

    quick = [judge_together(table(1), window, limits=limits) for window in windows]
    alone = [are_unlike(table(1), window, limits=limits) for window in windows]
    monkeypatch.setattr(joint, "FEWER", joint.PERMUTATIONS)
    whole = [judge_together(table(1), window, limits=limits) for window in windows]

    assert [(one.outcome, one.by, one.auc, one.mmd) for one in quick] == [
        (one.outcome, one.by, one.auc, one.mmd) for one in whole
    ]
    assert alone == [one.outcome == "drift" for one in whole]
    assert {one.outcome for one in whole} == {"drift", "no drift"}
