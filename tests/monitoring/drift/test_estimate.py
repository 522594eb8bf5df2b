import numpy as np
import pytest

from monitoring.drift.estimate import calibrate, estimate


def wave(rows, start):
    """Scores and labels without chance: two irrational steps, so that both are spread evenly."""
    i = np.arange(rows)
    scores = ((i * 0.6180339887498949 + start) % 1.0).round(3)
    labels = ((i * 0.7548776662466927) % 1.0 < np.clip(scores * scores * 0.9 + 0.05, 0, 1)).astype(int)
    return scores, labels


def test_estimates_without_labels_are_nannymls():
    # NannyML 0.13.1's CBPE of the same rows, one chunk.
    scores, labels = wave(5000, 0.1)
    now = np.round(wave(3000, 0.37)[0] ** 0.5, 3)
    found = estimate(now, now >= 0.5, calibrate(scores, labels))
    assert found.accuracy == pytest.approx(0.6688889713514256, abs=1e-9)
    assert found.f1 == pytest.approx(0.7351091357613757, abs=1e-9)
    assert found.precision == pytest.approx(0.6120421881777249, abs=1e-9)
    assert found.recall == pytest.approx(0.9201238971818017, abs=1e-9)
    assert found.roc_auc == pytest.approx(0.8019812930917456, abs=1e-6)
    assert found.n == 3000


def test_the_interval_holds_the_accuracy_that_the_labels_then_show():
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        p = rng.random(400)
        labels = rng.random(400) < p
        found = estimate(p, p >= 0.5)
        held += found.low <= np.mean((p >= 0.5) == labels) <= found.high
    assert 180 <= held <= 200


def test_scores_that_are_too_sure_are_seen_through_by_a_calibration():
    rng = np.random.default_rng(2)
    p = rng.random(20_000)
    labels, bold = rng.random(20_000) < p, np.where(p >= 0.5, 0.99, 0.01)
    assert estimate(bold, p >= 0.5).accuracy == pytest.approx(0.99)
    assert estimate(bold, p >= 0.5, calibrate(bold, labels)).accuracy == pytest.approx(0.75, abs=0.01)


def test_a_calibration_only_rises_and_is_flat_beyond_what_it_saw():
    fitted = calibrate([0.2, 0.4, 0.6, 0.8], [0, 1, 0, 1])
    expected = [0, 0, 0.5, 0.5, 0.5, 0.75, 1, 1]
    assert fitted([0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0]) == pytest.approx(expected, abs=1e-12)


def test_what_nothing_can_be_divided_by_is_not_known():
    found = estimate([0.2, 0.1], [0, 0])
    assert (found.precision, found.f1) == (None, 0.0)
    assert estimate([1.0, 1.0], [1, 1]).roc_auc is None


@pytest.mark.parametrize(
    ("scores", "answers", "words"),
    [([], [], "at least one"), ([0.5], [2], "0 or 1"), ([np.nan], [1], "without gaps"), ([1.5], [1], "no probab")],
)
def test_what_cannot_be_estimated_is_refused(scores, answers, words):
    with pytest.raises(ValueError, match=words):
        estimate(scores, answers)


def test_labels_that_are_no_labels_are_refused():
    with pytest.raises(ValueError, match="labels that are 0 or 1"):
        calibrate([0.1, 0.2], [0, 3])
    with pytest.raises(ValueError, match="as many labels as scores"):
        calibrate([0.1, 0.2], [0])
