import numpy as np
import pytest

from monitoring.drift.importance import Loss, shuffling, weights_of

RNG = np.random.default_rng(3)
ROWS = 2000
COLUMNS = {"much": RNG.normal(size=ROWS), "some": RNG.normal(size=ROWS), "none": RNG.normal(size=ROWS)}


def answer(columns):
    return (columns["much"] + 0.4 * columns["some"] > 0).astype(int)


LABELS = np.where(RNG.random(ROWS) < 0.05, 1 - answer(COLUMNS), answer(COLUMNS))


def losses(predict, columns, labels, **how):
    found = shuffling(predict, columns, labels, **how)
    return found, {name: found.loss_of(name) for name in columns}


def test_what_a_column_is_worth_is_what_shuffling_it_costs():
    found, lost = losses(answer, COLUMNS, LABELS)
    weights = weights_of(lost)
    assert found.baseline == pytest.approx(0.95, abs=0.02)
    assert weights["much"] == 1.0
    assert 0.1 < weights["some"] < 0.5
    assert (weights["none"], lost["none"].loss) == (0.0, 0.0)
    # At most what it may be worth.
    assert weights["some"] == (lost["some"].loss + 2 * lost["some"].error) / lost["much"].loss
    assert lost["much"].loss > 0.35


def test_a_column_s_loss_is_the_same_whichever_was_shuffled_before_and_the_columns_stay_as_they_were():
    before = {name: column.copy() for name, column in COLUMNS.items()}
    _, all_of_them = losses(answer, COLUMNS, LABELS)
    assert shuffling(answer, COLUMNS, LABELS).loss_of("some") == all_of_them["some"]
    assert all((COLUMNS[name] == column).all() for name, column in before.items())


def test_of_a_model_that_answers_with_a_number_it_is_what_the_absolute_error_grows():
    found, lost = losses(lambda c: 3 * c["much"], COLUMNS, 3 * COLUMNS["much"] + 1, metric="absolute_error")
    shuffled = np.random.default_rng(1).permutation(COLUMNS["much"])
    assert found.baseline == pytest.approx(1.0)
    assert lost["much"].loss == pytest.approx(np.abs(3 * (shuffled - COLUMNS["much"]) - 1).mean() - 1, rel=0.05)
    assert weights_of(lost) == {"much": 1.0, "some": 0.0, "none": 0.0}


def test_of_a_model_that_reads_nothing_no_weight_is_known():
    _, lost = losses(lambda columns: np.zeros(ROWS), COLUMNS, LABELS)
    assert weights_of(lost) == {}


def test_a_loss_within_its_error_makes_nothing_known():
    assert weights_of({"a": Loss(0.01, 0.006), "b": Loss(0.0, 0.0)}) == {}


def test_importance_without_rows_is_refused():
    with pytest.raises(ValueError, match="rows with their labels"):
        shuffling(answer, {"much": []}, [])


def test_fewer_answers_than_rows_are_refused():
    with pytest.raises(ValueError, match="There are 3 answers to 2000 rows"):
        shuffling(lambda columns: np.zeros(3), COLUMNS, LABELS)


def test_a_column_that_matters_is_not_silenced_for_want_of_rows():
    rng, silenced = np.random.default_rng(7), 0
    for _ in range(40):
        columns = {"much": rng.normal(size=300), "tenth": rng.normal(size=300)}
        labels = (columns["much"] + 0.13 * columns["tenth"] > 0).astype(int)
        _, lost = losses(lambda c: (c["much"] + 0.13 * c["tenth"] > 0).astype(int), columns, labels)
        silenced += weights_of(lost)["tenth"] < 0.05
    assert silenced <= 2
