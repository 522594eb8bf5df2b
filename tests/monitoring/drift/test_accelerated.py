"""The statistics of numeric columns by torch, on the device that is there, are those of NumPy."""

import warnings
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.drift import accelerated
from monitoring.drift.exact import compare_exact, sort_reference

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
VALUES = (
    st.integers(-20, 20).map(float) | st.floats(width=32) | st.just(float("nan")) | st.sampled_from([np.inf, -np.inf])
)
COLUMN = st.lists(VALUES, min_size=1, max_size=80)
DTYPES = st.sampled_from([np.float32, np.float64])


def both(reference, window, kind="numeric"):
    """What NumPy says of one column, and what torch says."""
    kinds = {"c": kind}
    references = (sort_reference({"c": reference}, kinds), sort_reference({"c": reference}, kinds, device=DEVICE))
    return [(one.profile.columns["c"], compare_exact(one, {"c": window})[0]) for one in references]


def assert_alike(told, known):
    """Counts, ranks and statistics to the bit; what is a sum, to the rounding of its order."""
    told, known = asdict(told), asdict(known)
    for name in ("mean", "std", "wasserstein"):
        if name in known:
            expected = known.pop(name)
            assert told.pop(name) == (None if expected is None else pytest.approx(expected, rel=1e-6, abs=1e-9))
    assert told == known


@settings(max_examples=150)
@given(COLUMN, COLUMN, DTYPES, DTYPES, st.integers(1, 20))
def test_any_columns_are_compared_as_numpy_compares_them(reference, window, of_reference, of_window, times):
    with np.errstate(all="ignore"):
        held, other = np.array(reference * times, of_reference), np.array(window, of_window)
        (profile, drift), (profile_there, drift_there) = both(held, other)

    assert_alike(profile_there, profile)
    assert_alike(drift_there, drift)


@pytest.mark.parametrize("rows", [40_000, 30_000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_large_columns_with_missing_and_infinite_values(dtype, rows):
    rng = np.random.default_rng(2)
    reference, window = rng.lognormal(3, 2, 40_000).astype(dtype), rng.lognormal(3.05, 2, rows).astype(dtype)
    if dtype is not np.int64:
        window[::7], window[3], window[4] = np.nan, np.inf, -np.inf

    (profile, drift), (profile_there, drift_there) = both(reference, window)

    assert_alike(profile_there, profile)
    assert_alike(drift_there, drift)
    assert drift_there.wasserstein == pytest.approx(drift.wasserstein, rel=1e-9)
    assert len(profile.edges) == 11


def test_values_beyond_single_precision_stay_finite():
    reference = np.linspace(-3e38, 3e38, 50).astype(np.float32)
    window = np.append(np.linspace(-1e300, 1e300, 49), 1e39)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (_, drift), (_, drift_there) = both(reference, window)

    assert_alike(drift_there, drift)
    assert np.isfinite(drift.wasserstein)


def test_columns_of_objects_and_of_arrow_are_read_as_numbers():
    mixed = np.array([1, None, "2", "text", float("inf"), True], object)
    fixed = np.arange(6.0)
    fixed.flags.writeable = False

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (_, drift), (_, drift_there) = both(fixed, mixed)

    assert_alike(drift_there, drift)
    assert drift_there.invalid_share_window == pytest.approx(1 / 6)


def test_categories_and_absent_columns_are_counted_beside_it():
    reference = {"n": np.arange(50.0), "gone": np.arange(50.0), "k": np.arange(50) % 3}
    window = {"n": np.arange(9.0), "k": np.arange(9) % 4}
    kinds = {"n": "numeric", "gone": "numeric", "k": "categorical"}

    there = compare_exact(sort_reference(reference, kinds, device=DEVICE), window)
    here = compare_exact(sort_reference(reference, kinds), window)

    assert [one.name for one in there] == ["n", "gone", "k"]
    for told, known in zip(there, here, strict=True):
        assert_alike(told, known)
    assert there[1].missing_share_window == 1.0


def test_what_has_no_room_on_the_device_is_left_to_the_processor(monkeypatch, caplog):
    sort_column, tried = accelerated.sort_column, []

    def without_room(column, device):
        tried.append(len(column))
        if len(tried) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return sort_column(column, device)

    reference, window = {"a": np.arange(90.0), "b": np.arange(90.0)}, {"a": np.arange(80.0), "b": np.arange(10.0, 90.0)}
    kinds = dict.fromkeys("ab", "numeric")
    monkeypatch.setattr(accelerated, "COLUMNS_AT_ONCE", 1)
    monkeypatch.setattr(accelerated, "sort_column", without_room)
    there = sort_reference(reference, kinds, device=DEVICE)

    told = compare_exact(there, window)

    assert tried == [90, 90, 80]
    assert [one.n_window for one in told] == [80, 80]
    for one, known in zip(told, compare_exact(sort_reference(reference, kinds), window), strict=True):
        assert_alike(one, known)
    assert "the reference's column b has no room" in caplog.text
    assert "the window's column a has no room" in caplog.text


def test_only_large_tables_are_worth_the_way_and_only_where_there_is_a_driver(tmp_path, monkeypatch):
    monkeypatch.setattr(accelerated, "DRIVER", tmp_path / "none")
    assert accelerated.accelerator(10**9) is None

    monkeypatch.setattr(accelerated, "DRIVER", tmp_path)
    assert accelerated.accelerator(accelerated.WORTH_CELLS - 1) is None
    assert accelerated.accelerator(accelerated.WORTH_CELLS) == ("cuda" if torch.cuda.is_available() else None)
