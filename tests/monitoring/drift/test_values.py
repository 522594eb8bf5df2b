import numpy as np
import pytest

from monitoring.drift.values import category_counts, numeric_values


def test_missing_and_infinite_numbers_are_counted_apart_from_the_finite_ones():
    values = numeric_values(np.array([3.0, np.nan, -np.inf, 1.0, np.inf, np.inf, 2.0]))
    assert values.finite.tolist() == [1.0, 2.0, 3.0]
    assert (values.missing, values.infinite, values.rows) == (1, 3, 7)


@pytest.mark.parametrize("column", [[1, None, 2], np.array(["1", None, "2"], dtype=object), [1.0, "n/a", "2"]])
def test_what_is_no_number_is_missing(column):
    values = numeric_values(np.array(column, dtype=object))
    assert values.finite.tolist() == [1.0, 2.0]
    assert (values.missing, values.infinite) == (1, 0)


def test_the_callers_column_is_left_as_it_was():
    column = np.array([3.0, 1.0, 2.0], dtype=np.float32)
    assert numeric_values(column).finite.dtype == np.float32
    assert column.tolist() == [3.0, 1.0, 2.0]


def test_whole_floats_and_integers_are_one_category():
    expected = {1: 2, 2: 1}
    assert category_counts(np.array([1.0, 2.0, 1.0, np.nan])) == (expected, 1)
    assert category_counts(np.array([1, 2, 1])) == (expected, 0)
    assert category_counts(np.array([1, 2.0, 1.0, None, float("nan")], dtype=object)) == (expected, 2)


def test_text_categories_are_counted():
    assert category_counts(np.array(["b", "a", "b"])) == ({"a": 1, "b": 2}, 0)
    assert category_counts(np.array(["b", "a", "b", None], dtype=object)) == ({"a": 1, "b": 2}, 1)


def test_an_infinite_category_is_kept_as_text_that_json_can_hold():
    assert category_counts(np.array([0.5, np.inf, -np.inf])) == ({"-inf": 1, 0.5: 1, "inf": 1}, 0)
