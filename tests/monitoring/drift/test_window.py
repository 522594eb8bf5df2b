import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from monitoring.drift.compare import compare
from monitoring.drift.judge import judge
from monitoring.drift.profile import Profile, build_profile
from monitoring.drift.window import as_reference, count_window, merge, recount, window_from_json, window_to_json

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


@settings(max_examples=40, deadline=None)
@given(tables(5), tables(9), tables(3))
def test_windows_of_many_hosts_add_up_in_any_order(a, b, c):
    one, two, three = (count_window(PROFILE, table) for table in (a, b, c))
    assert_same(merge(merge(one, two), three), merge(one, merge(two, three)))
    assert_same(merge(merge(one, two), three), merge(merge(three, one), two))


def test_text_among_numbers_is_counted_apart_and_adds_up():
    numbers = np.array([1.0, "n/a", None, float("inf"), 0.5, "x"], dtype=object)
    parts = [count_window(PROFILE, {"x": part, "k": [1] * 3}) for part in (numbers[:3], numbers[3:])]
    x = merge(*(window_from_json(window_to_json(part)) for part in parts)).columns["x"]
    assert (x.invalid, x.missing, x.infinite, int(x.counts.sum())) == (2, 1, 1, 2)


def test_an_earlier_window_can_be_the_reference():
    rng = np.random.default_rng(7)
    training = {"x": rng.normal(size=20_000), "k": rng.integers(0, 5, 20_000)}
    profile = Profile.from_json(build_profile(training, {"x": "numeric", "k": "categorical"}))
    last_week, now, moved = (
        {"x": rng.normal(shift, 1, 3000), "k": rng.integers(0, 5, 3000)} for shift in (1.0, 1.0, 2.0)
    )
    reference = as_reference(profile, count_window(profile, last_week))
    same, other = (recount(count_window(profile, w), reference) for w in (now, moved))
    x, k = compare(reference, same)
    assert [v.outcome for v in judge([x, k])] == ["no drift", "no drift"]
    assert judge(compare(profile, count_window(profile, now)))[0].drifted
    drifted = compare(reference, other)[0]
    exact = stats.ks_2samp(last_week["x"], moved["x"]).statistic
    assert drifted.ks.statistic <= exact <= drifted.ks.statistic + drifted.ks_error
    assert drifted.ks_error < 0.02
    assert judge([drifted])[0].drifted


def test_a_window_on_other_edges_is_no_reference():
    other = Profile.from_json(
        build_profile({"x": np.arange(20.0), "k": [1] * 20}, {"x": "numeric", "k": "categorical"})
    )
    window = count_window(PROFILE, {"x": [1.0], "k": [1]})
    with pytest.raises(ValueError, match="another reference profile"):
        as_reference(other, window)
    with pytest.raises(ValueError, match="other edges"):
        recount(window, other)
