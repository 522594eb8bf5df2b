"""What a rule asks, checked: its params by kind, in the terms in which it is judged and in words."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils.translation import gettext, ngettext

from monitoring.rules.bins import DAY, HOUR, MINUTE, SECOND
from monitoring.rules.models import AlertRule, AlertRuleKind, NoData

ABOVE, BELOW, BOTH = "above", "below", "both"
BAD, GOOD = "bad", "good"
NELSON, WESTERN_ELECTRIC = "nelson", "western-electric"
RUNS = {NELSON: 8, WESTERN_ELECTRIC: 4}
"""How many rules each set has."""

ANY, LEAST = 1e300, 1e-12
"""Ends of what a number may be where it may be any, and the least that is above 0."""

LEAST_POINTS = 20
"""Points that a control chart's limits are frozen from, at least."""

BURNS = {
    "page-fast": {"objective": 0.999, "long_seconds": 3_600, "short_seconds": 300, "factor": 14.4},
    "page-slow": {"objective": 0.999, "long_seconds": 21_600, "short_seconds": 1_800, "factor": 6.0},
    "ticket": {"objective": 0.999, "long_seconds": 259_200, "short_seconds": 21_600, "factor": 1.0},
}
"""The pairs of windows of the Site Reliability Workbook, chapter 5, table 5-8: they spend 2 %, 5 % and 10 % of a
budget of 30 days before they fire."""


class UnfitRule(ValueError):
    """The rule can't be asked so. The message is a sentence that says what would be acceptable."""


@dataclass(frozen=True)
class Spec:
    """A rule as it is judged. Lengths are microseconds; `no_data_after` is None where no data raises no alert."""

    kind: str
    params: Mapping[str, Any]
    reduce: str
    window: int
    hold: int
    clear: int
    no_data_after: int | None

    @property
    def step(self) -> int:
        """How far apart the moments lie at which it is judged: the points of a control chart do not overlap."""
        if self.kind == AlertRuleKind.CONTROL:
            return self.window
        return MINUTE if self.window < 6 * HOUR else 5 * MINUTE


def spec_of(rule: AlertRule) -> Spec:
    """The rule's own."""
    return Spec(
        kind=rule.kind,
        params=rule.params,
        reduce=rule.reduce,
        window=rule.window_seconds * SECOND,
        hold=rule.for_seconds * SECOND,
        clear=rule.clear_seconds * SECOND,
        no_data_after=rule.no_data_seconds * SECOND if rule.no_data == NoData.ALERT else None,
    )


def checked(kind: str, params: Mapping[str, Any], *, window_seconds: int) -> dict[str, Any]:
    """The params of a rule of that kind, with its defaults. Raises UnfitRule."""
    check = _CHECKS.get(kind)
    if check is None:
        raise UnfitRule(
            gettext("There is no kind of rule %(kind)s; there are %(names)s.")
            % {"kind": kind, "names": ", ".join(_CHECKS)}
        )
    given = dict(params)
    found = check(given, window_seconds)
    if given:
        raise UnfitRule(
            gettext("A rule of kind %(kind)s has no %(sorted)s; it has %(names)s.")
            % {"kind": kind, "sorted": sorted(given)[0], "names": ", ".join(sorted(found))}
        )
    return found


def _static(given: dict[str, Any], _: int) -> dict[str, Any]:
    direction = _word(given, "direction", (ABOVE, BELOW), ABOVE)
    limit = _number(given, "limit", -ANY, ANY)
    clear = _number(given, "clear", -ANY, ANY, limit)
    if (clear > limit) if direction == ABOVE else (clear < limit):
        raise UnfitRule(
            gettext("The clear limit must not lie beyond the limit: %(clear)s is %(direction)s %(limit)s.")
            % {"clear": f"{clear:g}", "direction": direction, "limit": f"{limit:g}"}
        )
    return {"direction": direction, "limit": limit, "clear": clear}


def _seasonal(given: dict[str, Any], _: int) -> dict[str, Any]:
    factor = _number(given, "factor", 1.0, 100.0, 4.0)
    return {
        "direction": _word(given, "direction", (ABOVE, BELOW, BOTH), BOTH),
        "weeks": int(_number(given, "weeks", 2, 8, 4)),
        "factor": factor,
        "clear_factor": _number(given, "clear_factor", 0.1, factor, 0.75 * factor),
        "floor": _number(given, "floor", LEAST, ANY),
    }


def _burn(given: dict[str, Any], window_seconds: int) -> dict[str, Any]:
    long = int(_number(given, "long_seconds", 60, 3 * 86_400, 3_600))
    if long <= window_seconds or long % 60:
        raise UnfitRule(
            gettext("The long window must be whole minutes and longer than the short one of %(window_seconds)s s.")
            % {"window_seconds": window_seconds}
        )
    factor = _number(given, "factor", 0.01, 10_000.0, 14.4)
    return {
        "objective": _number(given, "objective", 0.0, 0.999999),
        "long_seconds": long,
        "factor": factor,
        "clear_factor": _number(given, "clear_factor", 0.001, factor, factor),
        "counts": _word(given, "counts", (BAD, GOOD), BAD),
    }


def _control(given: dict[str, Any], _: int) -> dict[str, Any]:
    runs = _word(given, "runs", tuple(RUNS), NELSON)
    numbers = given.pop("numbers", [1, 2, 3])
    if (
        not isinstance(numbers, list)
        or not numbers
        or any(number not in range(1, RUNS[runs] + 1) for number in numbers)
    ):
        raise UnfitRule(gettext("numbers must be a list of rules from 1 to %(runs)s.") % {"runs": RUNS[runs]})
    return {
        "runs": runs,
        "numbers": sorted({int(number) for number in numbers}),
        "centre": _number(given, "centre", -ANY, ANY),
        "sigma": _number(given, "sigma", 0.0, ANY),
        "points": int(_number(given, "points", LEAST_POINTS, 1e9)),
        "since": _text(given, "since"),
        "until": _text(given, "until"),
    }


_CHECKS: dict[str, Callable[[dict[str, Any], int], dict[str, Any]]] = {
    AlertRuleKind.STATIC: _static,
    AlertRuleKind.SEASONAL: _seasonal,
    AlertRuleKind.BURN: _burn,
    AlertRuleKind.CONTROL: _control,
}


def _number(given: dict[str, Any], name: str, low: float, high: float, default: float | None = None) -> float:
    value = given.pop(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        if high != ANY:
            said = gettext("%(name)s must be a number from %(low)s to %(high)s.")
        else:
            said = {
                0.0: gettext("%(name)s must be a number not below 0."),
                LEAST: gettext("%(name)s must be a number above 0."),
            }.get(low, gettext("%(name)s must be a number."))
        raise UnfitRule(said % {"name": name, "low": f"{low:g}", "high": f"{high:g}"})
    return float(value)


def _word(given: dict[str, Any], name: str, words: tuple[str, ...], default: str) -> str:
    value = given.pop(name, default)
    if value not in words:
        raise UnfitRule(
            gettext("%(name)s must be %(names)s or %(words)s.")
            % {"name": name, "names": ", ".join(words[:-1]), "words": words[-1]}
        )
    return str(value)


def _text(given: dict[str, Any], name: str) -> str:
    value = given.pop(name, "")
    if not isinstance(value, str):
        raise UnfitRule(gettext("%(name)s must be a text.") % {"name": name})
    return value


def in_words(rule: AlertRule) -> str:
    """What the rule asks, as a sentence."""
    return gettext(
        "%(subject)s: %(what)s Fires after %(for_seconds)s beyond it, ends after %(clear_seconds)s within it."
    ) % {
        "subject": _subject(rule),
        "what": _WORDS[rule.kind](rule),
        "for_seconds": span(rule.for_seconds),
        "clear_seconds": span(rule.clear_seconds),
    }


def _subject(rule: AlertRule) -> str:
    of = gettext(" of %(column)s") % {"column": rule.column} if rule.column else ""
    where = gettext(" on each host") if rule.scope == "hosts" else ""
    version = gettext(", version %(rule)s alone") % {"rule": rule.version} if rule.version else ""
    reduced = rule.get_reduce_display().lower()
    return gettext("%(metric)s%(of)s%(where)s%(version)s, %(reduced)s over %(window_seconds)s") % {
        "metric": rule.metric,
        "of": of,
        "where": where,
        "version": version,
        "reduced": reduced,
        "window_seconds": span(rule.window_seconds),
    }


def _static_words(rule: AlertRule) -> str:
    p = rule.params
    side = gettext("above") if p["direction"] == ABOVE else gettext("below")
    values = {"side": side, "limit": f"{p['limit']:g}", "clear": f"{p['clear']:g}"}
    if p["clear"] == p["limit"]:
        return gettext("%(side)s %(limit)s.") % values
    return gettext("%(side)s %(limit)s (over when it is no longer beyond %(clear)s).") % values


def _seasonal_words(rule: AlertRule) -> str:
    p = rule.params
    side = {ABOVE: gettext("above"), BELOW: gettext("below"), BOTH: gettext("away from")}[p["direction"]]
    return gettext(
        "more than %(factor)s deviations %(side)s the median of the same hour (UTC) of the last "
        "%(weeks)s weeks, and by at least %(floor)s; a deviation is 1.4826 times the median absolute one."
    ) % {"factor": f"{p['factor']:g}", "side": side, "weeks": p["weeks"], "floor": f"{p['floor']:g}"}


def _burn_words(rule: AlertRule) -> str:
    p = rule.params
    if p["counts"] == GOOD:
        said = gettext(
            "as the share that went right, against an objective of %(objective)s: the error budget is spent at least "
            "%(factor)s times as fast as it may be, over %(span)s and over %(window_seconds)s."
        )
    else:
        said = gettext(
            "as the share that went wrong, against an objective of %(objective)s: the error budget is spent at least "
            "%(factor)s times as fast as it may be, over %(span)s and over %(window_seconds)s."
        )
    return said % {
        "objective": f"{p['objective']:.4%}",
        "factor": f"{p['factor']:g}",
        "span": span(int(p["long_seconds"])),
        "window_seconds": span(rule.window_seconds),
    }


def _control_words(rule: AlertRule) -> str:
    p = rule.params
    said = ngettext(
        "breaks %(name)s rule %(numbers)s about %(centre)s with sigma %(sigma)s, frozen from %(points)s points of "
        "%(since)s to %(until)s.",
        "breaks %(name)s rules %(numbers)s about %(centre)s with sigma %(sigma)s, frozen from %(points)s points of "
        "%(since)s to %(until)s.",
        len(p["numbers"]),
    )
    return said % {
        "name": gettext("Nelson's") if p["runs"] == NELSON else gettext("Western Electric's"),
        "numbers": ", ".join(str(number) for number in p["numbers"]),
        "centre": f"{p['centre']:g}",
        "sigma": f"{p['sigma']:g}",
        "points": p["points"],
        "since": p["since"],
        "until": p["until"],
    }


_WORDS: dict[str, Callable[[AlertRule], str]] = {
    AlertRuleKind.STATIC: _static_words,
    AlertRuleKind.SEASONAL: _seasonal_words,
    AlertRuleKind.BURN: _burn_words,
    AlertRuleKind.CONTROL: _control_words,
}


def span(seconds: float) -> str:
    """A length in words, in its largest whole unit."""
    length = timedelta(seconds=seconds)
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        size = timedelta(microseconds=unit)
        if length and not length % size:
            return f"{length // size} {name}"
    return f"{int(seconds)} s"
