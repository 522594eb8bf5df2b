"""Verdicts from sketches of a fleet's hosts are those from all of their rows."""

import numpy as np
import pytest

from monitoring.drift.band import compare_sketches, psi_between
from monitoring.drift.compare import compare, compare_column
from monitoring.drift.judge import Limits, judge
from monitoring.drift.profile import Profile, build_profile
from monitoring.drift.sketch import hold, merge, sketch_column

HOSTS, EACH = 4, 3000
LIMITS = Limits(0.01, 0.2, 0.05, 200)
KINDS = {"numbers": "numeric", "heavy": "numeric", "few": "categorical", "many": "categorical"}


def sample(rng, rows, shift=0.0, share=0.0):
    """Columns of shape (rows,): two of numbers, one with five categories, one with 900."""
    few = rng.choice(5, rows, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    few[rng.random(rows) < share] = 4
    return {
        "numbers": rng.normal(shift, 1, rows),
        "heavy": rng.exponential(1 + shift, rows),
        "few": few.astype(str),
        "many": (rng.zipf(1.3 + shift / 4, rows) % 900).astype(str),
    }


@pytest.fixture(scope="module")
def profile():
    return Profile.from_json(build_profile(sample(np.random.default_rng(1), 20_000), KINDS))


def fleet(rng, **changed):
    """Each host's rows, and all of them."""
    hosts = [sample(rng, EACH, **changed) for _ in range(HOSTS)]
    return hosts, {name: np.concatenate([host[name] for host in hosts]) for name in KINDS}


def merged(hosts):
    return {name: merge([sketch_column(host[name], kind) for host in hosts]) for name, kind in KINDS.items()}


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.3, 0.4, 0.44, 0.46, 0.5, 0.8])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.19, 0.21, 0.4])
def test_each_verdict_is_that_of_the_rows_or_is_left_to_them(profile, shift, share):
    hosts, rows = fleet(np.random.default_rng(round(1000 * shift + share)), shift=shift, share=share)

    drifts, left, error = compare_sketches(profile, merged(hosts), HOSTS * EACH, LIMITS)

    told = {one.column: one.drifted for one in judge(drifts, limits=LIMITS)}
    true = {one.column: one.drifted for one in judge(compare(profile, rows), limits=LIMITS)}
    assert {name: told[name] for name in told if name not in left} == {
        name: true[name] for name in true if name not in left
    }
    assert error <= 1 / 256
    assert "few" not in left


def test_a_fleet_that_is_as_it_was_raises_nothing_and_reads_rows_only_of_what_has_many_categories(profile):
    for seed in range(20):
        hosts, _ = fleet(np.random.default_rng(seed))

        drifts, left, _ = compare_sketches(profile, merged(hosts), HOSTS * EACH, LIMITS)

        assert left in ([], ["many"])
        assert not any(one.drifted for one in judge(drifts, limits=LIMITS))


@pytest.mark.parametrize("shift", [0.0, 0.2, 0.45, 1.0])
def test_the_rows_psi_lies_in_the_band(profile, shift):
    hosts, rows = fleet(np.random.default_rng(7), shift=shift)
    true = {one.name: one.psi for one in compare(profile, rows)}

    for name, sketch in merged(hosts).items():
        held = hold(sketch, profile.columns[name])
        low, high = psi_between(compare_column(name, profile.columns[name], held.window), profile.columns[name], held)
        assert low - 1e-9 <= true[name] <= high + 1e-9, name
        assert shift or name == "many" or high < LIMITS.psi_floor / 2


def test_rows_without_a_column_are_missing_and_what_does_not_merge_is_left_to_the_rows(profile):
    hosts, _ = fleet(np.random.default_rng(3))
    sketches = merged([*hosts[:2]]) | {"few": None}
    del sketches["heavy"]

    drifts, left, _ = compare_sketches(profile, sketches, HOSTS * EACH, LIMITS)

    missing = {one.name: one.missing_share_window for one in drifts}
    assert (missing["numbers"], missing["heavy"]) == (0.5, 1.0)
    assert left == ["few"]
