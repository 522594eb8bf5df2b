"""From one answer to the next: when a rule fires and when it is over. Pure; what stands between calls is a Standing."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from monitoring.rules.answers import Condition, Judged
from monitoring.rules.models import Phase
from monitoring.rules.spec import Spec


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a rule stands. `since` is when the phase began, of FIRING when the breach did; `clear_since` is since when
    a firing rule has been clear, None while it is not. Microseconds since 1970."""

    phase: Phase = Phase.NEW
    since: int = 0
    clear_since: int | None = None


class What(StrEnum):
    FIRE = "fire"
    RESOLVE = "resolve"
    UNHEARD = "unheard"
    HEARD = "heard"


@dataclass(frozen=True, slots=True)
class Change:
    """What the alert of a rule has to do at `at`, the moment at `index`; `since` is when its cause began."""

    what: What
    at: int
    since: int
    index: int


def follow(spec: Spec, standing: Standing, judged: Judged) -> tuple[Standing, list[Change]]:
    """Where the rule stands after those moments, and what came of them, in order."""
    changes: list[Change] = []
    at, conditions = judged.at.tolist(), judged.condition.tolist()
    for index, (moment, condition) in enumerate(zip(at, conditions, strict=True)):
        before = standing
        standing = _next(spec, before, moment, condition)
        if standing is not before:
            changes += _changes(before, standing, moment, index)
    return standing, changes


def _next(spec: Spec, now: Standing, at: int, condition: int) -> Standing:
    if now.phase == Phase.FIRING:
        return _firing(spec, now, at, condition)
    if condition == Condition.BREACH:
        since = now.since if now.phase == Phase.PENDING else at
        if at - since >= spec.hold:
            return Standing(Phase.FIRING, since)
        return now if now.phase == Phase.PENDING else Standing(Phase.PENDING, at)
    if condition == Condition.NO_DATA:
        return _without_data(spec, now, at)
    phase = Phase.LEARNING if condition == Condition.UNKNOWN else Phase.OK
    return now if now.phase == phase else Standing(phase, at)


def _firing(spec: Spec, now: Standing, at: int, condition: int) -> Standing:
    """It is over only by being clear for long enough: neither no data nor a value between the limits is."""
    if condition != Condition.CLEAR:
        return Standing(Phase.FIRING, now.since) if now.clear_since is not None else now
    clear_since = at if now.clear_since is None else now.clear_since
    if at - clear_since >= spec.clear:
        return Standing(Phase.OK, at)
    return now if now.clear_since is not None else Standing(Phase.FIRING, now.since, clear_since)


def _without_data(spec: Spec, now: Standing, at: int) -> Standing:
    if now.phase == Phase.UNHEARD:
        return now
    since = now.since if now.phase == Phase.NO_DATA else at
    if spec.no_data_after is not None and at - since >= spec.no_data_after:
        return Standing(Phase.UNHEARD, since)
    return now if now.phase == Phase.NO_DATA else Standing(Phase.NO_DATA, at)


def _changes(before: Standing, after: Standing, at: int, index: int) -> list[Change]:
    if before.phase == after.phase:
        return []
    found = []
    if before.phase == Phase.UNHEARD:
        found.append(Change(What.HEARD, at, before.since, index))
    if before.phase == Phase.FIRING:
        found.append(Change(What.RESOLVE, at, before.since, index))
    if after.phase == Phase.FIRING:
        found.append(Change(What.FIRE, at, after.since, index))
    if after.phase == Phase.UNHEARD:
        found.append(Change(What.UNHEARD, at, after.since, index))
    return found


@dataclass(frozen=True, slots=True)
class Firing:
    """A span for which a rule fired, or for which nothing was heard. `ended` is None while it lasts."""

    what: What
    since: int
    fired: int
    ended: int | None
    index: int


def firings(changes: Sequence[Change]) -> list[Firing]:
    """The spans that the changes make, in order."""
    found: list[Firing] = []
    for change in changes:
        if change.what in (What.FIRE, What.UNHEARD):
            found.append(Firing(change.what, change.since, change.at, None, change.index))
        elif found and found[-1].ended is None:
            last = found[-1]
            found[-1] = Firing(last.what, last.since, last.fired, change.at, last.index)
    return found
