"""How often would a rule cry wolf? What it is held against is split against itself, and the alarms are counted.

Windows are taken by their size's power of two, so that a reference is split once per worker and not anew for each one.
"""

from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Any

import numpy as np

from monitoring.asked import Asked
from monitoring.detectors import concept, joint
from monitoring.drift import calibration
from monitoring.drift.calibration import FalseAlarms, counted, split_against_itself
from monitoring.drift.concept import RiseLimits, accuracy_false_alarms, judge_rise
from monitoring.drift.judge import Limits
from monitoring.drift.latency import latency_false_alarms
from monitoring.drift.profile import Profile
from monitoring.drift.values import as_float64
from monitoring.models import Monitor, Rule, RuleKind
from monitoring.questions import drift_limits, latency_tests
from monitoring.windows import numpy_column

SPLITS_A_WINDOW, MOST_SPLITS = 1, 400
"""Inputs taken together cost as much to split as to judge: each window adds a split to those before it."""


def false_alarms(rule: Rule, monitor: Monitor, asked: Asked) -> tuple[str, dict[str, Any]]:
    """The measured rate as a sentence, empty where it can't be told, and what the next window goes on from."""
    if rule.kind == RuleKind.JOINT_DRIFT:
        found, tried = _joint(asked)
    else:
        found, tried = _MEASURED[RuleKind(rule.kind)](asked), {}
    if found is None:
        return "", tried
    return found.sentence(window_seconds=monitor.window_seconds, in_a_row=rule.for_windows), tried


def _size(rows: int, least: int) -> int:
    """The power of two at or below, and at least `least`; 0 for a window that is too small to be judged."""
    return max(1 << (rows.bit_length() - 1), least) if rows >= least else 0


def _labelled(asked: Asked) -> int:
    return len(asked.table) - int(asked.table.column("label").null_count)


def _accuracy(asked: Asked) -> FalseAlarms | None:
    size = _size(_labelled(asked), asked.min_rows)
    if not size or asked.promised is None or not asked.promised_rows:
        return None
    return _of_accuracy(
        asked.promised, asked.promised_rows, size, asked.params["alpha"], asked.params["drop"], asked.min_rows
    )


_of_accuracy = lru_cache(maxsize=64)(accuracy_false_alarms)


def _inputs(asked: Asked) -> FalseAlarms | None:
    return _drift(asked, asked.inputs)


def _outputs(asked: Asked) -> FalseAlarms | None:
    return _drift(asked, asked.outputs)


def _drift(asked: Asked, profile: Profile | None) -> FalseAlarms | None:
    size = _size(len(asked.table), asked.min_rows)
    if profile is None or not size:
        return None
    limits = drift_limits(asked.params, asked.min_rows)
    return _of_profile(_Held(profile), size, limits, asked.params.get("importance", 0.0))


class _Held:
    """A profile as a key: two of the same counts and weights are one."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.key = (profile.fingerprint, tuple(sorted(profile.weights.items())))

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held) and self.key == other.key


@lru_cache(maxsize=64)
def _of_profile(held: _Held, rows: int, limits: Limits, least: float) -> FalseAlarms | None:
    return calibration.false_alarms(held.profile, rows, limits=limits, weights=held.profile.weights, least=least)


def _latency(asked: Asked) -> FalseAlarms | None:
    size = _size(len(asked.table), asked.min_rows)
    if not size or asked.latencies is None:
        return None
    return _of_latencies(
        as_float64(numpy_column(asked.latencies, "latency_ms"))[0].tobytes(), size, latency_tests(asked.params),
        asked.params["alpha"], asked.min_rows,
    )  # fmt: skip


@lru_cache(maxsize=64)
def _of_latencies(
    reference: bytes, rows: int, tests: tuple[tuple[float, float, float], ...], alpha: float, minimum_rows: int
) -> FalseAlarms | None:
    return latency_false_alarms(
        np.frombuffer(reference, np.float64), rows, tests=tests, alpha=alpha, minimum_rows=minimum_rows
    )


def _concept(asked: Asked) -> FalseAlarms | None:
    size, errors = _size(_labelled(asked), asked.min_rows), asked.errors_before
    if not size or len(errors) < 2 * asked.min_rows:
        return None
    return _of_errors(
        errors.tobytes(), min(size, concept.MOST_STREAM), concept.rise_limits(asked.params, asked.min_rows)
    )


@lru_cache(maxsize=64)
def _of_errors(stream: bytes, rows: int, limits: RiseLimits) -> FalseAlarms:
    errors = np.frombuffer(stream, np.float64)

    def raises(drawn: np.ndarray) -> bool:
        window, rest = errors[drawn], errors[~drawn]
        # Most splits show no rise, and need no detector.
        return bool(
            window.mean() - rest.mean() >= limits.rise and judge_rise(rest, window, limits=limits).outcome == "drift"
        )

    return split_against_itself(len(errors), rows, raises)


def _joint(asked: Asked) -> tuple[FalseAlarms | None, dict[str, Any]]:
    """Added up over windows: asked.tried is what those before this one have come to."""
    names = joint.compared_columns(asked) if asked.holdout else []
    rows = len(asked.holdout[names[0]]) if names else 0
    taken = min(_size(len(asked.table), asked.min_rows), rows // 2)
    if taken < asked.min_rows:
        return None, {}
    columns = sha256(" ".join(names).encode()).hexdigest()
    key = f"{asked.holdout_id[:16]} {columns[:8]} {taken} {sorted(asked.params.items())}"
    before: Mapping[str, Any] = asked.tried if asked.tried.get("of") == key else {}
    done, alarms = int(before.get("splits", 0)), int(before.get("alarms", 0))
    number = min(SPLITS_A_WINDOW, MOST_SPLITS - done)
    if number > 0:
        alarms += joint.splits(asked, rows=taken, first=done, number=number)
        done += number
    return counted(done, taken, alarms), {"of": key, "splits": done, "alarms": alarms}


_MEASURED = {
    RuleKind.ACCURACY: _accuracy,
    RuleKind.INPUT_DRIFT: _inputs,
    RuleKind.OUTPUT_DRIFT: _outputs,
    RuleKind.LATENCY: _latency,
    RuleKind.CONCEPT_DRIFT: _concept,
}
