import numpy as np
import pytest

from monitoring.drift.values import category_counts, numeric_values


def test_missing_and_infinite_numbers_are_counted_apart_from_the_finite_ones():
    values = numeric_values(np.array([3.0, np.nan, -np.inf, 1.0, np.inf, np.inf, 2.0]))
    assert values.finite.tolist() == [1.0, 2.0, 3.0]
    assert (values.missing, values.infinite, values.rows) == (1, 3, 7)


@pytest.mark.parametrize(
    ("column", "missing", "invalid"),
    [([1, None, 2], 1, 0), (["1", None, "2"], 1, 0), ([1.0, "n/a", "2"], 0, 1), ([2, None, float("nan"), "", 1], 2, 1)],
)
def test_cells_that_hold_nothing_are_missing_and_those_that_hold_text_are_of_another_type(column, missing, invalid):
    values = numeric_values(np.array(column, dtype=object))
    assert values.finite.tolist() == [1.0, 2.0]
    assert (values.missing, values.invalid, values.infinite, values.rows) == (missing, invalid, 0, len(column))


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


def test_codes_in_a_narrow_range_are_counted_as_sorted_ones_are():
    codes = np.random.default_rng(2).integers(-500, 500, 3000)
    wide = np.append(codes, [2**62, -(2**63)])
    for column in (codes, codes.astype(np.int16), (codes + 500).astype(np.uint8), wide):
        values, numbers = np.unique(column, return_counts=True)
        assert category_counts(column) == (dict(zip(values.tolist(), numbers.tolist(), strict=True)), 0)
    assert category_counts(np.array([], dtype=np.int64)) == ({}, 0)


def test_an_infinite_category_is_kept_as_text_that_json_can_hold():
    assert category_counts(np.array([0.5, np.inf, -np.inf])) == ({"-inf": 1, 0.5: 1, "inf": 1}, 0)


def test_values_that_are_one_category_are_added_up():
    assert category_counts(np.array([0.0, -0.0, 0.0, None], dtype=object)) == ({0: 3}, 1)
    assert category_counts(np.array([np.inf, "inf", np.inf], dtype=object)) == ({"inf": 3}, 0)
    assert category_counts(np.array([1, True, "1", None], dtype=object)) == ({1: 2, "1": 1}, 1)


def test_lists_are_categories_and_no_numbers():
    column = np.empty(4, dtype=object)
    column[:] = [np.array([1, 2]), [1, 2], np.array([3]), None]
    assert category_counts(column) == ({"[1, 2]": 2, "[3]": 1}, 1)
    values = numeric_values(column)
    assert (len(values.finite), values.missing, values.invalid) == (0, 1, 3)
