import warnings

import numpy as np
import pytest

from monitoring.drift.compare import compare_column
from monitoring.drift.exact import ks_statistic
from monitoring.drift.judge import Limits, judge
from monitoring.drift.profile import Profile, build_profile
from monitoring.drift.sketch import NotMergeable, NumericSketch, as_reference, hold, merge, sketch_column
from monitoring.drift.sketch_bytes import packed, unpacked


def parts(values, hosts):
    return [sketch_column(part, "numeric") for part in np.array_split(values, hosts)]


def profile(**columns):
    kinds = {name: "numeric" if values.dtype.kind == "f" else "categorical" for name, values in columns.items()}
    return Profile.from_json(build_profile(columns, kinds))


def true_counts(values, at):
    ordered = np.sort(values)
    return np.searchsorted(ordered, at, "left"), np.searchsorted(ordered, at, "right")


@pytest.mark.parametrize("hosts", [1, 3, 50])
def test_the_true_counts_lie_within_the_bounds_of_the_merged_sketch(hosts):
    rng = np.random.default_rng(hosts)
    values = np.round(rng.lognormal(size=60_000), 3)

    whole = merge(parts(values, hosts))

    below, upto = true_counts(values, whole.values)
    assert (whole.below[0] <= below).all()
    assert (below <= whole.below[1]).all()
    assert (whole.upto[0] <= upto).all()
    assert (upto <= whole.upto[1]).all()
    assert (whole.n, whole.values[0], whole.values[-1]) == (60_000, values.min(), values.max())
    assert whole.error < 0.0085


def test_the_order_in_which_sketches_are_merged_does_not_matter_to_their_bounds():
    values = np.random.default_rng(1).normal(size=30_000)
    sketches = parts(values, 12)

    forth = merge([merge(sketches[:6]), merge(sketches[6:])])
    back = merge(sketches[::-1])

    for one in (forth, back):
        below, upto = true_counts(values, one.values)
        assert (one.below[0] <= below).all()
        assert (upto <= one.upto[1]).all()
    assert (forth.n, forth.missing) == (back.n, back.missing)


def test_a_column_of_few_values_is_counted_exactly_however_many_windows_are_merged():
    ages = np.random.default_rng(2).integers(0, 96, 20_000).astype(float)

    whole = merge(parts(ages, 40))

    values, counts = np.unique(ages, return_counts=True)
    assert whole.error == 0.0
    assert whole.values.tolist() == values.tolist()
    assert np.diff(whole.upto[0], prepend=0).tolist() == counts.tolist()


def test_hosts_of_single_and_double_precision_merge_to_finite_values():
    single = sketch_column(np.array([1.0, 2.0, 3.0], np.float32), "numeric")
    double = sketch_column(np.array([-1e300, 2.0, 1e39]), "numeric")
    reference = profile(c=np.linspace(0, 5, 50).astype(np.float32)).columns["c"]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = merge([single, double])
        held = hold(whole, reference)
        direct = hold(double, reference)

    assert np.isfinite(whole.values).all()
    assert whole.upto[0].tolist() == whole.upto[1].tolist() == [1, 2, 4, 5, 6]
    assert held.window.counts.sum() == 6
    assert (direct.window.counts[0], direct.window.counts[-1]) == (1, 1)


def test_missing_infinite_and_mistyped_values_are_counted_apart():
    column = np.array([1.0, np.nan, np.inf, None, "text", 2.0], dtype=object)

    whole = merge([sketch_column(column, "numeric"), sketch_column(np.array([3.0]), "numeric")])

    assert (whole.n, whole.missing, whole.infinite, whole.invalid, whole.rows) == (3, 2, 1, 1, 7)


def test_a_window_held_against_its_reference_has_at_most_the_true_distance_and_at_least_it_less_the_error():
    rng = np.random.default_rng(3)
    before, now = rng.normal(size=40_000), rng.normal(0.3, 1.1, 24_000)
    known = profile(x=before).columns["x"]

    held = hold(merge(parts(now, 8)), known)

    drift = compare_column("x", known, held.window)
    true = ks_statistic(np.sort(before), np.sort(now))
    assert drift.ks.statistic <= true + 1e-12
    assert drift.ks.statistic >= true - 2 * held.error - 1 / 1024
    assert 0 < held.error < 0.005
    assert drift.n_window == 24_000


def test_what_a_sketch_leaves_open_is_never_taken_for_drift():
    # whylogs called 10 of 15 stable columns of a million rows drifted, because it took a sketch's error for a shift.
    rng = np.random.default_rng(4)
    columns = [rng.normal(size=400_000) for _ in range(6)]
    sides = [(parts(values[:200_000], 4), parts(values[200_000:], 4)) for values in columns]
    limits = Limits(psi_floor=0.0, share_floor=0.0)

    drifts = []
    for before, now in sides:
        reference = as_reference(merge(before, points=64))
        drifts.append(compare_column("x", reference.profile, hold(merge(now, points=64), reference).window))

    assert [verdict.drifted for verdict in judge(drifts, limits=limits)] == [False] * 6
    assert max(drift.ks.statistic for drift in drifts) == 0.0


def test_a_shift_larger_than_the_error_is_found_between_two_sketches():
    rng = np.random.default_rng(5)
    reference = as_reference(merge(parts(rng.normal(size=30_000), 5)))
    window = merge(parts(rng.normal(0.8, 1.0, 30_000), 5))

    drift = compare_column("x", reference.profile, hold(window, reference).window)

    assert judge([drift])[0].drifted is True
    assert drift.psi > 0.4
    assert drift.wasserstein == pytest.approx(0.8, abs=0.05)


def test_categories_are_counted_and_those_left_out_are_bounded():
    rng = np.random.default_rng(6)
    codes = rng.zipf(1.3, 30_000) % 5_000
    sketches = [sketch_column(part, "categorical") for part in np.array_split(codes, 6)]

    whole = merge(sketches)

    values, counts = np.unique(codes, return_counts=True)
    true = dict(zip(values.tolist(), counts.tolist(), strict=True))
    assert whole.n == sum(whole.counts.values()) + whole.other == 30_000
    assert all(count <= true[name] <= count + whole.slack(name) for name, count in whole.counts.items())
    assert max(true[name] for name in true if name not in whole.counts) <= whole.bound


@pytest.mark.parametrize("most", [1, 50, 400])
def test_merged_again_and_again_categories_stay_few_and_within_their_bounds(most):
    rng = np.random.default_rng(most)
    codes = rng.zipf(1.3, 40_000) % 5_000
    parts = [sketch_column(part, "categorical", categories=100) for part in np.array_split(codes, 16)]

    halves = [merge(parts[:8], categories=most), merge(parts[8:], categories=most)]
    whole = merge(halves, categories=most)

    values, counts = np.unique(codes, return_counts=True)
    true = dict(zip(values.tolist(), counts.tolist(), strict=True))
    assert len(whole.counts) <= most
    assert whole.n == sum(whole.counts.values()) + whole.other == 40_000
    assert all(count <= true[name] <= count + whole.slack(name) for name, count in whole.counts.items())
    assert max(true[name] for name in true if name not in whole.counts) <= whole.bound
    assert next(iter(whole.counts)) == 1, "the commonest one stays"


def test_categories_left_out_of_a_sketch_are_never_taken_for_drift():
    rng = np.random.default_rng(7)
    codes = rng.integers(0, 600, 60_000)
    known = profile(c=codes[:30_000]).columns["c"]
    sketches = [sketch_column(part, "categorical", categories=100) for part in np.array_split(codes[30_000:], 3)]

    held = hold(merge(sketches), known)

    drift = compare_column("c", known, held.window)
    assert drift.n_window == 30_000
    assert judge([drift], limits=Limits(psi_floor=0.0, share_floor=0.0))[0].drifted is False


def test_a_new_category_is_found_between_two_sketches():
    before, now = np.array([1, 2] * 500), np.array([1, 2, 9, 9] * 250)
    reference = as_reference(sketch_column(before, "categorical"))

    drift = compare_column("c", reference.profile, hold(sketch_column(now, "categorical"), reference).window)

    assert drift.new_categories == [(9, 500)]
    assert judge([drift])[0].drifted is True


def test_numbers_and_categories_do_not_merge():
    with pytest.raises(NotMergeable, match="as numbers in one window and as categories in another"):
        merge([sketch_column(np.arange(3.0), "numeric"), sketch_column(np.arange(3), "categorical")])


def test_sketches_are_read_back_as_they_were_written():
    rng = np.random.default_rng(8)
    merged = merge(parts(rng.normal(size=5_000).astype(np.float32), 2))
    given = {
        "x": sketch_column(rng.normal(size=900), "numeric"),
        "m": merged,
        "c": sketch_column(np.array(["a", None, "b", "a"], dtype=object), "categorical"),
        "none": sketch_column(np.full(3, np.nan), "numeric"),
    }

    found = unpacked(packed(given))

    assert list(found) == list(given)
    assert found["c"] == given["c"]
    for name in ("x", "m", "none"):
        one, other = found[name], given[name]
        assert isinstance(one, NumericSketch)
        assert all(np.array_equal(getattr(one, key), getattr(other, key)) for key in ("values", "below", "upto"))
        assert (one.n, one.rows, one.total, one.squares, one.single) == (
            other.n, other.rows, other.total, other.squares, other.single,
        )  # fmt: skip


def test_quantiles_of_a_merged_sketch_are_within_its_error_of_the_true_ones():
    values = np.random.default_rng(9).gamma(3.0, 2.0, 50_000)
    whole = merge(parts(values, 10))

    for level, found in zip((0.5, 0.95, 0.99), whole.at([0.5, 0.95, 0.99]), strict=True):
        assert abs((values <= found).mean() - level) <= whole.error
    assert len(whole.sample()) == 50_000
    assert whole.mean == pytest.approx(values.mean())
    assert whole.std == pytest.approx(values.std())
