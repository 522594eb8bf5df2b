import random

import numpy as np
import pytest
from river import drift

from monitoring.drift.concept import accuracy_windows, detect_changes


def steps():
    rng = np.random.RandomState(12345)
    return np.concatenate((rng.randint(2, size=1000), rng.randint(8, size=1000)))


def test_adwin_and_page_hinkley_find_the_pinned_points():
    assert detect_changes(steps(), "adwin").changes == [1023]
    assert detect_changes(steps(), "page-hinkley").changes == [1020, 1397, 1548, 1988]
    rng = random.Random(12345)
    stream = rng.choices([0, 1], k=1000) + rng.choices(range(4, 8), k=1000)
    assert detect_changes(stream, "adwin").changes == [1023]
    assert detect_changes(stream, "page-hinkley").changes == [1006]


def test_ddm_finds_the_pinned_points_and_warns_before():
    rng = np.random.RandomState(12345)
    errors = np.concatenate((rng.binomial(1, 0.2, 1000), rng.binomial(1, 0.8, 1000)))
    found = detect_changes(errors, "ddm")
    assert found.changes == [1049]
    assert 1007 in found.warnings
    rng = random.Random(42)
    stream = rng.choices([0, 1], k=1000) + rng.choices([0, 1], k=1000, weights=[0.3, 0.7])
    found = detect_changes(stream, "ddm")
    assert (found.changes, found.warnings[0]) == ([1334], 1084)


def test_hddm_finds_the_pinned_points():
    rng = np.random.RandomState(12345)
    errors = np.concatenate((rng.binomial(1, 0.2, 1000), rng.binomial(1, 0.8, 1000)))
    assert detect_changes(errors, "hddm-a").changes == [1047]
    assert detect_changes(errors, "hddm-w").changes == [1018]


@pytest.mark.parametrize("clock", [1, 7, 32])
def test_adwin_finds_what_rivers_own_loop_finds(clock):
    rng = np.random.default_rng(clock)
    stream = np.concatenate([rng.normal(mean, 1, 700) for mean in (0, 0.1, 2, 0.5)])
    model, expected = drift.ADWIN(clock=clock), []
    for i, value in enumerate(stream.tolist()):
        model.update(value)
        if model.drift_detected:
            expected.append(i)
    assert len(expected) > 1
    assert detect_changes(stream, "adwin", clock=clock).changes == expected


RIVERS = {
    "ddm": drift.binary.DDM, "hddm-a": drift.binary.HDDMA, "hddm-w": drift.binary.HDDMW,
    "page-hinkley": drift.PageHinkley,
}  # fmt: skip


def by_rivers_own_loop(detector, stream, given):
    """Positions at which river signals, and at which it begins to warn."""
    model, changes, warned = RIVERS[detector](**given), [], []
    for i, value in enumerate(stream.tolist()):
        model.update(value)
        if model.drift_detected:
            changes.append(i)
        warned.append(bool(getattr(model, "warning_detected", False)))
    return changes, [i for i, warns in enumerate(warned) if warns and not (i and warned[i - 1])]


@pytest.mark.parametrize(
    ("detector", "given"),
    [
        ("ddm", {}),
        ("ddm", {"warm_start": 5, "warning_threshold": 1.0, "drift_threshold": 1.5}),
        ("hddm-a", {}),
        ("hddm-a", {"drift_confidence": 0.1, "warning_confidence": 0.3, "two_sided_test": True}),
        ("hddm-w", {}),
        ("hddm-w", {"drift_confidence": 0.1, "warning_confidence": 0.3, "lambda_val": 0.2, "two_sided_test": True}),
        ("page-hinkley", {"mode": "up"}),
        ("page-hinkley", {"threshold": 3.0}),
        ("page-hinkley", {"mode": "down", "threshold": 2.0, "delta": 0.01, "alpha": 0.99, "min_instances": 5}),
    ],
)
def test_a_stream_read_at_once_gives_what_rivers_own_loop_gives(detector, given):
    rng, told = np.random.default_rng(3), 0
    for _ in range(6):
        shares = rng.random(4)
        chance = np.concatenate([rng.random(rng.integers(1, 900)) < share for share in shares]).astype(float)
        in_turn = np.concatenate([np.tile((rng.random(7) < share).astype(float), 60) for share in shares])
        for stream in (chance, in_turn, np.zeros(300), np.ones(300), chance[:1]):
            found = detect_changes(stream, detector, **given)
            assert (found.changes, found.warnings) == by_rivers_own_loop(detector, stream, given)
            told += len(found.changes)
    assert told >= 6


def test_a_long_quiet_stream_is_read_on_to_the_change_at_its_end():
    rng = np.random.default_rng(5)
    stream = (rng.random(20_000) < np.repeat([0.1, 0.4], [19_000, 1_000])).astype(float)
    for detector in ("ddm", "hddm-a", "hddm-w"):
        changes, _ = by_rivers_own_loop(detector, stream, {})
        assert detect_changes(stream, detector).changes == changes
        assert any(19_000 < at < 19_300 for at in changes)


def test_a_detectors_parameters_reach_it():
    assert detect_changes(steps(), "page-hinkley", threshold=1e9).changes == []


def test_streams_that_a_detector_cannot_read_are_refused():
    with pytest.raises(ValueError, match="DDM and HDDM read errors"):
        detect_changes([0, 1, 2], "ddm")
    with pytest.raises(ValueError, match="no detector eddm"):
        detect_changes([0, 1], "eddm")
    with pytest.raises(ValueError, match="missing values"):
        detect_changes([0, float("nan")], "adwin")


def test_the_window_in_which_accuracy_fell_is_named():
    correct = np.tile([True] * 4 + [False], 400)
    correct[1000:1500] = np.tile([True, True, True, False, False], 100)
    windows = accuracy_windows(correct, reference_accuracy=0.8, reference_rows=20_000)
    assert [(w.start, w.stop, w.accuracy, w.outcome) for w in windows] == [
        (0, 500, 0.8, "no drift"),
        (500, 1000, 0.8, "no drift"),
        (1000, 1500, 0.6, "drift"),
        (1500, 2000, 0.8, "no drift"),
    ]
    fallen = windows[2]
    assert (fallen.low, fallen.high) == pytest.approx((0.5564541, 0.6420210), abs=1e-7)
    assert fallen.drop == pytest.approx(0.2, abs=1e-12)
    assert fallen.sentence.startswith("Accuracy 60.0% (55.6% to 64.2%) on 500 labels, 80.0% in the reference: fallen")


def test_a_small_but_certain_fall_and_a_rise_are_not_drift():
    correct = np.tile([True] * 79 + [False] * 21, 1000)
    [window] = accuracy_windows(correct, reference_accuracy=0.8, reference_rows=1_000_000, size=100_000)
    assert window.p < 1e-6
    assert window.outcome == "no drift"
    [better] = accuracy_windows(np.ones(500), reference_accuracy=0.8, reference_rows=20_000)
    assert (better.outcome, better.p > 0.99) == ("no drift", True)


def test_few_labels_are_a_third_answer():
    [window] = accuracy_windows([False] * 30, reference_accuracy=0.8, reference_rows=20_000)
    assert (window.outcome, window.p) == ("not enough data", None)
    assert window.sentence == "30 labels have come; at least 100 are needed."


def test_stable_accuracy_stays_quiet():
    rng = np.random.default_rng(1)
    windows = accuracy_windows(rng.random(300 * 500) < 0.8, reference_accuracy=0.8, reference_rows=20_000, size=300)
    assert sum(window.outcome == "drift" for window in windows) <= 1


def test_a_reference_without_rows_is_refused():
    with pytest.raises(ValueError, match="number of rows"):
        accuracy_windows([True], reference_accuracy=0.8, reference_rows=0)
