import numpy as np
import pytest

from monitoring.drift.fairness import RATES, group_rates

ANSWERS = np.array([1] * 60 + [0] * 40 + [1] * 30 + [0] * 70)
LABELS = np.array([1] * 50 + [0] * 10 + [1] * 10 + [0] * 30 + [1] * 20 + [0] * 10 + [1] * 20 + [0] * 50)
GROUPS = np.array(["a"] * 100 + ["b"] * 100)


def rates(**options):
    found = group_rates(ANSWERS, LABELS, {"g": GROUPS}, **{"minimum_rows": 10, **options})
    return {(rate.group, rate.rate): rate for rate in found}


def test_the_rates_of_each_group_are_those_of_its_table():
    found = rates()
    assert [(found["a", name].hits, found["a", name].n) for name in RATES] == [(60, 100), (50, 60), (10, 40), (50, 60)]
    assert [(found["b", name].hits, found["b", name].n) for name in RATES] == [(30, 100), (20, 40), (10, 60), (20, 30)]
    assert found["a", "selection rate"].others == 0.3
    assert (found["a", "selection rate"].low, found["a", "selection rate"].high) == pytest.approx(
        (0.502, 0.691), abs=1e-3
    )


def test_a_group_that_is_chosen_more_often_is_named_and_a_difference_by_chance_is_not():
    found = rates()
    assert found["a", "selection rate"].outcome == "drift"
    assert found["a", "true positive rate"].outcome == "drift"
    assert found["a", "false positive rate"].outcome == "no drift"
    assert found["a", "selection rate"].sentence == (
        "g a: selection rate 60.0% (50.2% to 69.1%) on 100 rows, 30.0% in all other groups."
    )
    assert rates(difference_floor=0.4)["a", "selection rate"].outcome == "no drift"


def test_small_groups_are_listed_and_not_judged():
    found = rates(minimum_rows=50)
    assert found["b", "precision"].outcome == "not enough data"
    assert found["b", "precision"].p is None
    assert found["b", "precision"].sentence.endswith("at least 50 are needed of both.")


def test_groups_that_are_treated_alike_stay_quiet():
    rng = np.random.default_rng(3)
    raised = 0
    for _ in range(40):
        answers, labels = rng.random((2, 800)) < 0.4
        found = group_rates(answers, labels, {"g": rng.integers(0, 4, 800), "h": rng.integers(0, 2, 800)})
        raised += any(rate.outcome == "drift" for rate in found)
    assert raised <= 3


def test_missing_cells_are_a_group_of_their_own():
    column = GROUPS.astype(object)
    column[:30] = None
    found = group_rates(ANSWERS, LABELS, {"g": column})
    assert {rate.group for rate in found} == {None, "a", "b"}


def test_rows_without_both_answer_and_label_are_refused():
    with pytest.raises(ValueError, match="each row needs both"):
        group_rates([1, 0], [1], {})
    with pytest.raises(ValueError, match="labels must be 0 or 1"):
        group_rates([1, 0], [1, 2], {})
    with pytest.raises(ValueError, match="Feature g has 1 rows"):
        group_rates([1, 0], [1, 1], {"g": ["a"]})
