import numpy as np
import pytest

from monitoring.drift.importance import permutation_importance

RNG = np.random.default_rng(3)
ROWS = 2000
COLUMNS = {"much": RNG.normal(size=ROWS), "some": RNG.normal(size=ROWS), "none": RNG.normal(size=ROWS)}


def answer(columns):
    return (columns["much"] + 0.4 * columns["some"] > 0).astype(int)


LABELS = np.where(RNG.random(ROWS) < 0.05, 1 - answer(COLUMNS), answer(COLUMNS))


def test_what_a_column_is_worth_is_what_shuffling_it_costs():
    found = permutation_importance(answer, COLUMNS, LABELS)
    assert found["baseline"] == pytest.approx(0.95, abs=0.02)
    assert found["weights"]["much"] == 1.0
    assert 0.1 < found["weights"]["some"] < 0.5
    assert (found["weights"]["none"], found["loss"]["none"]) == (0.0, 0.0)
    # At most what it may be worth.
    assert found["weights"]["some"] == (found["loss"]["some"] + 2 * found["error"]["some"]) / found["loss"]["much"]
    assert found["loss"]["much"] > 0.35
    assert (found["rows"], found["repeats"], found["metric"]) == (ROWS, 5, "accuracy")


def test_the_columns_are_left_as_they_were_and_the_answer_is_repeatable():
    before = {name: column.copy() for name, column in COLUMNS.items()}
    assert permutation_importance(answer, COLUMNS, LABELS) == permutation_importance(answer, COLUMNS, LABELS)
    assert all((COLUMNS[name] == column).all() for name, column in before.items())


def test_of_a_model_that_reads_nothing_no_weight_is_known():
    found = permutation_importance(lambda columns: np.zeros(ROWS), COLUMNS, LABELS)
    assert found["weights"] == {}


def test_importance_without_rows_is_refused():
    with pytest.raises(ValueError, match="rows with their labels"):
        permutation_importance(answer, {"much": []}, [])


def test_a_column_that_matters_is_not_silenced_for_want_of_rows():
    rng, silenced = np.random.default_rng(7), 0
    for _ in range(40):
        columns = {"much": rng.normal(size=300), "tenth": rng.normal(size=300)}
        labels = (columns["much"] + 0.13 * columns["tenth"] > 0).astype(int)
        found = permutation_importance(lambda c: (c["much"] + 0.13 * c["tenth"] > 0).astype(int), columns, labels)
        silenced += found["weights"]["tenth"] < 0.05
    assert silenced <= 2
