import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from monitoring.drift.profile import Profile, build_profile
from monitoring.drift.window import count_window, merge, window_from_json, window_to_json

RNG = np.random.default_rng(5)
PROFILE = Profile.from_json(
    build_profile(
        {"x": RNG.normal(0, 1, 3000), "k": RNG.integers(0, 5, 3000)}, {"x": "numeric", "k": "categorical"}, quantiles=64
    )
)
NUMBERS = (
    st.floats(-1e6, 1e6) | st.sampled_from([np.nan, np.inf, -np.inf]) | st.sampled_from(PROFILE.columns["x"].edges)
)


def tables(rows):
    return st.fixed_dictionaries(
        {"x": arrays(np.float64, rows, elements=NUMBERS), "k": arrays(np.int64, rows, elements=st.integers(0, 8))}
    )


def assert_same(a, b):
    assert (a.fingerprint, a.rows) == (b.fingerprint, b.rows)
    assert a.columns["k"] == b.columns["k"]
    x, y = a.columns["x"], b.columns["x"]
    assert (x.counts.tolist(), x.missing, x.infinite) == (y.counts.tolist(), y.missing, y.infinite)
    assert (x.tail_below, x.tail_above) == pytest.approx((y.tail_below, y.tail_above), rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_windows_counted_apart_and_merged_equal_the_window_counted_whole(data):
    first, second = data.draw(tables(17)), data.draw(tables(23))
    whole = count_window(PROFILE, {name: np.concatenate((first[name], second[name])) for name in first})
    a, b = count_window(PROFILE, first), count_window(PROFILE, second)
    assert_same(merge(a, b), whole)
    assert_same(merge(b, a), whole)


@settings(max_examples=60, deadline=None)
@given(tables(25), st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing_and_no_row_is_lost(table, random):
    order = list(range(25))
    random.shuffle(order)
    counted = count_window(PROFILE, table)
    assert_same(count_window(PROFILE, {name: column[order] for name, column in table.items()}), counted)
    x = counted.columns["x"]
    assert x.counts.sum() + x.missing + x.infinite == 25
    assert x.counts.min() >= 0


def test_a_window_survives_json():
    window = count_window(PROFILE, {"x": np.array([0.5, np.nan, 99.0]), "k": np.array([1, 1, 7])})
    assert_same(window_from_json(json.loads(json.dumps(window_to_json(window)))), window)


def test_a_column_that_the_window_lacks_is_missing_in_every_row():
    window = count_window(PROFILE, {"x": np.zeros(4)})
    assert (window.columns["k"].counts, window.columns["k"].missing) == ({}, 4)


def test_values_of_single_precision_meet_the_edges_of_double_precision_ones():
    profile = Profile.from_json(build_profile({"x": np.tile([0.1, 0.2, 0.3], 10)}, {"x": "numeric"}))
    for column in (np.tile([0.1, 0.2, 0.3], 10), np.tile([0.1, 0.2, 0.3], 10).astype(np.float32)):
        counts = count_window(profile, {"x": column}).columns["x"].counts
        assert counts.tolist() == [0, 10, 0, 10, 0, 10, 0]


def test_windows_of_different_profiles_are_not_added():
    other = Profile.from_json(build_profile({"x": [1.0, 2.0]}, {"x": "numeric"}))
    with pytest.raises(ValueError, match="different reference profiles"):
        merge(count_window(PROFILE, {"x": [1.0], "k": [1]}), count_window(other, {"x": [1.0]}))
