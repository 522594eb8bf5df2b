import time

import numpy as np
import pytest

from monitoring.drift.calibration import FalseAlarms, false_alarms
from monitoring.drift.judge import Limits
from monitoring.drift.profile import Profile, build_profile

RNG = np.random.default_rng(5)
ROWS = 4000
COLUMNS = {
    "x": np.where(RNG.random(ROWS) < 0.1, np.nan, RNG.lognormal(size=ROWS)),
    "whole": RNG.integers(0, 9, ROWS).astype(float),
    "k": RNG.choice(list("abcdefg"), ROWS),
}
PROFILE = Profile.from_json(build_profile(COLUMNS, {"x": "numeric", "whole": "numeric", "k": "categorical"}))


def test_the_reference_split_against_itself_raises_hardly_an_alarm():
    found = false_alarms(PROFILE, 256, limits=Limits(), splits=200)
    assert (found.splits, found.rows, found.alarms) == (200, 256, 0)
    assert found.high == pytest.approx(0.01885, abs=1e-4)


def test_limits_that_are_too_tight_are_seen_to_cry_wolf():
    loose = Limits(alpha=0.2, psi_floor=0.001, share_floor=0.001)
    found = false_alarms(PROFILE, 256, limits=loose, splits=100)
    # Half of a false discovery rate of 20 % or more is left after the floors.
    assert 8 <= found.alarms <= 35


def test_the_size_of_a_window_counts():
    tight = Limits(alpha=0.2, psi_floor=0.03, share_floor=0.05)
    small, large = (false_alarms(PROFILE, rows, limits=tight, splits=60) for rows in (128, 1500))
    assert large.alarms <= small.alarms
    assert large.alarms == 0


def test_columns_that_the_model_does_not_read_raise_none():
    loose = Limits(alpha=0.2, psi_floor=0.001, share_floor=0.001)
    weights = {"x": 0.0, "whole": 0.0, "k": 0.0}
    assert false_alarms(PROFILE, 256, limits=loose, splits=30, weights=weights).alarms == 0


def test_a_reference_too_small_to_split_has_no_figure():
    assert false_alarms(PROFILE, 50, limits=Limits()) is None
    small = Profile.from_json(build_profile({"x": np.arange(150.0)}, {"x": "numeric"}))
    assert false_alarms(small, 1000, limits=Limits()) is None


def test_the_sentence_says_how_often_in_days():
    found = FalseAlarms(splits=400, rows=2048, alarms=0, high=0.0095)
    assert found.days_between(window_seconds=300, in_a_row=2) == pytest.approx(1 / (288 * 0.0095**2))
    assert found.sentence(window_seconds=300, in_a_row=2) == (
        "Split against itself 400 times, 2,048 rows at a time, the reference raised 0 alarms: "
        "with 2 in a row, at most about one false alarm in 38 days."
    )
    assert found.sentence(window_seconds=60, in_a_row=1).endswith("at most about 13.7 false alarms a day.")


def test_few_splits_say_what_they_found_and_not_how_often():
    found = FalseAlarms(splits=99, rows=256, alarms=1, high=0.055)
    assert found.sentence(window_seconds=300, in_a_row=2) == (
        "Split against itself 99 times, 256 rows at a time, the reference raised 1 alarm: too few splits so far to say "
        "how often."
    )


def test_a_column_that_is_nearly_always_empty_is_split_as_well():
    rare = np.where(np.arange(5000) < 4, 1.0, np.nan)
    profile = Profile.from_json(build_profile({"x": rare}, {"x": "numeric"}))
    loose = Limits(alpha=0.2, psi_floor=0.001, share_floor=0.0001)
    assert false_alarms(profile, 1000, limits=loose, splits=40).splits == 40


def test_a_column_with_fewer_rows_than_the_others_bounds_the_window():
    outputs = build_profile({"score": np.arange(500.0)}, {"score": "numeric"})
    shorter = Profile.from_json({**outputs, "rows": ROWS})
    assert false_alarms(shorter, 1000, limits=Limits(), splits=20).rows == 250


def test_a_profile_without_columns_has_no_figure():
    assert false_alarms(Profile(ROWS), 1000, limits=Limits()) is None


def test_a_column_with_more_categories_than_can_be_split_is_left_out_and_named():
    columns = {"user": np.arange(ROWS) % 1800, "x": RNG.normal(size=ROWS)}
    profile = Profile.from_json(build_profile(columns, {"user": "categorical", "x": "numeric"}))
    found = false_alarms(profile, 512, limits=Limits(), splits=20)
    assert (found.left_out, found.alarms) == (["user"], 0)
    said = found.sentence(window_seconds=300, in_a_row=2)
    assert said.endswith("Not tried, for its many categories: user.")


def test_a_large_reference_is_split_in_a_moment():
    columns = {f"x{i}": RNG.normal(size=200_000).astype(np.float32) for i in range(10)}
    profile = Profile.from_json(build_profile(columns, dict.fromkeys(columns, "numeric")))
    began = time.process_time()
    assert false_alarms(profile, 65_536, limits=Limits()).alarms == 0
    assert time.process_time() - began < 5
