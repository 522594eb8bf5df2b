"""What a rule asks, checked: its params by kind, in the terms in which it is judged and in words."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils.translation import gettext, ngettext

from monitoring.rules.bins import DAY, HOUR, MINUTE, SECOND
from monitoring.rules.control import params as control
from monitoring.rules.fields import ANY, LEAST, UnfitRule, number, word
from monitoring.rules.models import AlertRule, AlertRuleKind, NoData

ABOVE, BELOW, BOTH = "above", "below", "both"
BAD, GOOD = "bad", "good"

BURNS = {
    "page-fast": {"objective": 0.999, "long_seconds": 3_600, "short_seconds": 300, "factor": 14.4},
    "page-slow": {"objective": 0.999, "long_seconds": 21_600, "short_seconds": 1_800, "factor": 6.0},
    "ticket": {"objective": 0.999, "long_seconds": 259_200, "short_seconds": 21_600, "factor": 1.0},
}
"""The pairs of windows of the Site Reliability Workbook, chapter 5, table 5-8: they spend 2 %, 5 % and 10 % of a
budget of 30 days before they fire."""


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
    direction = word(given, "direction", (ABOVE, BELOW), ABOVE)
    limit = number(given, "limit", -ANY, ANY)
    clear = number(given, "clear", -ANY, ANY, limit)
    if (clear > limit) if direction == ABOVE else (clear < limit):
        raise UnfitRule(
            gettext("The clear limit must not lie beyond the limit: %(clear)s is %(direction)s %(limit)s.")
            % {"clear": f"{clear:g}", "direction": direction, "limit": f"{limit:g}"}
        )
    return {"direction": direction, "limit": limit, "clear": clear}


def _seasonal(given: dict[str, Any], _: int) -> dict[str, Any]:
    factor = number(given, "factor", 1.0, 100.0, 4.0)
    return {
        "direction": word(given, "direction", (ABOVE, BELOW, BOTH), BOTH),
        "weeks": int(number(given, "weeks", 2, 8, 4)),
        "factor": factor,
        "clear_factor": number(given, "clear_factor", 0.1, factor, 0.75 * factor),
        "floor": number(given, "floor", LEAST, ANY),
    }


def _burn(given: dict[str, Any], window_seconds: int) -> dict[str, Any]:
    long = int(number(given, "long_seconds", 60, 3 * 86_400, 3_600))
    if long <= window_seconds or long % 60:
        raise UnfitRule(
            gettext("The long window must be whole minutes and longer than the short one of %(window_seconds)s s.")
            % {"window_seconds": window_seconds}
        )
    factor = number(given, "factor", 0.01, 10_000.0, 14.4)
    return {
        "objective": number(given, "objective", 0.0, 0.999999),
        "long_seconds": long,
        "factor": factor,
        "clear_factor": number(given, "clear_factor", 0.001, factor, factor),
        "counts": word(given, "counts", (BAD, GOOD), BAD),
    }


_CHECKS: dict[str, Callable[[dict[str, Any], int], dict[str, Any]]] = {
    AlertRuleKind.STATIC: _static,
    AlertRuleKind.SEASONAL: _seasonal,
    AlertRuleKind.BURN: _burn,
    AlertRuleKind.CONTROL: control.checked,
}


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
    return control.in_words(rule.params)


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


def between(seconds: float) -> str:
    """About how long lies between two of something, in one unit: 3 days, 5 h, 12 min."""
    days, hours = seconds / 86_400, seconds / 3_600
    if days >= 2:
        return ngettext("%(days)s day", "%(days)s days", round(days)) % {"days": f"{days:,.0f}"}
    return f"{hours:.0f} h" if hours >= 2 else f"{max(seconds / 60, 1):.0f} min"
