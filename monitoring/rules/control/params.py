"""The params of a control chart in a rule: which chart, its settings, and its limits frozen from a stable period."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from django.db import models
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from monitoring.drift.control import c4
from monitoring.rules.fields import ANY, LEAST, UnfitRule, number, text, word

NELSON, WESTERN_ELECTRIC = "nelson", "western-electric"
RUNS = {NELSON: 8, WESTERN_ELECTRIC: 4}
"""How many rules each set has."""

LEAST_POINTS = 20
"""Points that limits are frozen from, at least."""

WHOSE = {NELSON: _("Nelson's"), WESTERN_ELECTRIC: _("Western Electric's")}


class ControlChart(models.TextChoices):
    """What is plotted; `chart` among the params of a rule."""

    INDIVIDUALS = "individuals", _("Single values (Shewhart, individuals)")
    XBAR = "xbar", _("Means of subgroups (Shewhart, X-bar)")
    S = "s", _("Standard deviations of subgroups (Shewhart, S)")
    P = "p", _("Shares of counted rows (Shewhart, p)")
    U = "u", _("Counts per unit (Shewhart, u)")
    EWMA = "ewma", _("Moving average (EWMA)")
    CUSUM = "cusum", _("Cumulative sums (CUSUM)")


SUBGROUPS = frozenset({ControlChart.XBAR, ControlChart.S})
COUNTED = frozenset({ControlChart.P, ControlChart.U})
WITHOUT_RUNS = frozenset({ControlChart.EWMA, ControlChart.CUSUM})
"""Charts that remember the points before: run rules are of charts whose points are independent."""


def chart_of(params: Mapping[str, Any]) -> ControlChart:
    """Which chart it is: of single values, where a rule that was written before the others came does not say."""
    return ControlChart(params.get("chart", ControlChart.INDIVIDUALS))


def settings(given: dict[str, Any], window_seconds: int) -> dict[str, Any]:
    """What a person chooses of a chart, with its defaults, taken out of `given`. Raises UnfitRule."""
    chart = ControlChart(word(given, "chart", tuple(ControlChart.values), ControlChart.INDIVIDUALS))
    found: dict[str, Any] = {"chart": chart.value}
    if chart not in WITHOUT_RUNS:
        found |= _run_rules(given)
    if chart in SUBGROUPS:
        found["size"] = _size(given, window_seconds)
    if chart == ControlChart.U:
        found["per"] = text(given, "per").strip()
    if chart == ControlChart.EWMA:
        found |= {"weight": number(given, "weight", 0.05, 1.0, 0.2), "width": number(given, "width", 1.0, 6.0, 2.962)}
    if chart == ControlChart.CUSUM:
        found |= {"k": number(given, "k", 0.1, 3.0, 0.5), "h": number(given, "h", 1.0, 20.0, 5.0)}
    return found


def checked(given: dict[str, Any], window_seconds: int) -> dict[str, Any]:
    """The whole params: settings, frozen limits and the stable period, taken out of `given`. Raises UnfitRule."""
    found = settings(given, window_seconds)
    chart = ControlChart(found["chart"])
    low, high = {ControlChart.P: (LEAST, 1 - LEAST), ControlChart.U: (LEAST, ANY)}.get(chart, (-ANY, ANY))
    found["centre"] = number(given, "centre", low, high)
    if chart in COUNTED:
        found["sample"] = number(given, "sample", LEAST, ANY)
    else:
        found["sigma"] = number(given, "sigma", LEAST if chart in WITHOUT_RUNS else 0.0, ANY)
    return found | {
        "points": int(number(given, "points", LEAST_POINTS, 1e9)),
        "since": text(given, "since"),
        "until": text(given, "until"),
    }


def _run_rules(given: dict[str, Any]) -> dict[str, Any]:
    runs = word(given, "runs", tuple(RUNS), NELSON)
    numbers = given.pop("numbers", [1, 2, 3])
    if not isinstance(numbers, list) or not numbers or any(one not in range(1, RUNS[runs] + 1) for one in numbers):
        raise UnfitRule(gettext("numbers must be a list of rules from 1 to %(runs)s.") % {"runs": RUNS[runs]})
    return {"runs": runs, "numbers": sorted({int(one) for one in numbers})}


def _size(given: dict[str, Any], window_seconds: int) -> int:
    size = int(number(given, "size", 2, 60, 5))
    if window_seconds % (60 * size):
        raise UnfitRule(
            gettext("A window of %(minutes)s min can't be cut into %(size)s values of whole minutes. Change either.")
            % {"minutes": window_seconds // 60, "size": size}
        )
    return size


def period(params: Mapping[str, Any]) -> tuple[datetime, datetime]:
    """The stable period that the params name. Raises UnfitRule."""
    try:
        since, until = (datetime.fromisoformat(str(params.get(name, ""))) for name in ("since", "until"))
    except ValueError as error:
        raise UnfitRule(
            gettext("Say from when to when it was stable, as 2026-11-01T00:00+00:00, as since and until.")
        ) from error
    if since.tzinfo is None or until.tzinfo is None or until <= since:
        raise UnfitRule(gettext("The stable period needs a start and a later end, both with an offset from UTC."))
    return since, until


def in_words(params: Mapping[str, Any]) -> str:
    """What the chart asks, as the end of a sentence."""
    return f"{_ASKS[chart_of(params)](params)} {_frozen_words(params)}"


def _frozen_words(p: Mapping[str, Any]) -> str:
    try:
        since, until = (f"{one.astimezone(UTC):%Y-%m-%d %H:%M}" for one in period(p))
    except UnfitRule:
        return gettext("The limits are stated; no stable period is.")
    return gettext("The limits are frozen from %(points)s points of %(since)s to %(until)s UTC.") % {
        "points": f"{p['points']:,}",
        "since": since,
        "until": until,
    }


def rules_in_words(p: Mapping[str, Any]) -> str:
    """The run rules by number: Nelson's rules 1, 2."""
    said = ngettext("%(name)s rule %(numbers)s", "%(name)s rules %(numbers)s", len(p["numbers"]))
    return said % {"name": WHOSE[p["runs"]], "numbers": ", ".join(str(one) for one in p["numbers"])}


def said(p: Mapping[str, Any], metric: str, shown: str, low: float | None, high: float | None) -> str:
    """What was out of control, as an alert says it: the value as a text, held to its limits."""
    chart = chart_of(p)
    if chart == ControlChart.CUSUM:
        return (
            f"the cumulative sum of {metric} is {shown} sigma, beyond {p['h']:g}: its mean has moved from "
            f"{p['centre']:.4g}."
        )
    limits = "" if low is None or high is None else f", outside {low:.4g} to {high:.4g}"
    if chart == ControlChart.EWMA:
        return f"the moving average of {metric} is {shown}{limits}."
    what = {ControlChart.XBAR: "the mean of ", ControlChart.S: "the spread of "}.get(chart, "")
    numbers = ", ".join(str(one) for one in p["numbers"])
    return f"{what}{metric} is {shown} and breaks a run rule ({p['runs']} {numbers}) about {centre_line(p):.4g}."


def centre_line(p: Mapping[str, Any]) -> float:
    """The value about which the limits lie, in the unit of what is plotted."""
    chart = chart_of(p)
    if chart == ControlChart.CUSUM:
        return 0.0
    return float(p["sigma"] * c4(p["size"]) if chart == ControlChart.S else p["centre"])


def axis_title(p: Mapping[str, Any]) -> str:
    """What is plotted, in a word or two; "" for the metric itself."""
    return {
        ControlChart.XBAR: gettext("subgroup mean"),
        ControlChart.S: gettext("subgroup deviation"),
        ControlChart.EWMA: gettext("moving average"),
        ControlChart.CUSUM: gettext("CUSUM, sigmas"),
    }.get(chart_of(p), "")


def plotted_in_words(p: Mapping[str, Any], metric: str) -> str:
    """What the chart's points are."""
    said = {
        ControlChart.XBAR: gettext("%(metric)s, mean of %(size)s"),
        ControlChart.S: gettext("%(metric)s, standard deviation of %(size)s"),
        ControlChart.EWMA: gettext("%(metric)s, moving average"),
        ControlChart.CUSUM: gettext("%(metric)s, cumulative sum in sigmas"),
    }.get(chart_of(p), "%(metric)s")
    if p.get("per"):
        said = gettext("%(metric)s for each of %(per)s")
    return said % {"metric": metric, "size": p.get("size", ""), "per": p.get("per", "")}


def _individuals_words(p: Mapping[str, Any]) -> str:
    return gettext("breaks %(rules)s about %(centre)s with sigma %(sigma)s.") % _terms(p)


def _xbar_words(p: Mapping[str, Any]) -> str:
    said = gettext(
        "as the mean of a subgroup of %(size)s values, breaks %(rules)s about %(centre)s; sigma of one value is "
        "%(sigma)s."
    )
    return said % _terms(p)


def _s_words(p: Mapping[str, Any]) -> str:
    said = gettext(
        "as the standard deviation of a subgroup of %(size)s values, breaks %(rules)s; sigma of one value is %(sigma)s."
    )
    return said % _terms(p)


def _p_words(p: Mapping[str, Any]) -> str:
    said = gettext("as a share of counted rows, breaks %(rules)s about %(share)s; limits follow each window's rows.")
    return said % (_terms(p) | {"share": f"{p['centre']:.4g}"})


def _u_words(p: Mapping[str, Any]) -> str:
    if p["per"]:
        said = gettext("as a count per %(per)s, breaks %(rules)s about %(centre)s; limits follow each window's units.")
    else:
        said = gettext("as a count per row, breaks %(rules)s about %(centre)s; limits follow each window's rows.")
    return said % _terms(p)


def _ewma_words(p: Mapping[str, Any]) -> str:
    said = gettext(
        "as a moving average (EWMA, weight %(weight)s), lies more than %(width)s of its own sigmas from %(centre)s; "
        "sigma of one point is %(sigma)s."
    )
    return said % (_terms(p) | {"weight": f"{p['weight']:g}", "width": f"{p['width']:g}"})


def _cusum_words(p: Mapping[str, Any]) -> str:
    said = gettext(
        "as two cumulative sums (CUSUM) of what lies more than %(k)s sigma above or below %(centre)s, has one beyond "
        "%(h)s sigma; sigma of one point is %(sigma)s."
    )
    return said % (_terms(p) | {"k": f"{p['k']:g}", "h": f"{p['h']:g}"})


def _terms(p: Mapping[str, Any]) -> dict[str, str]:
    return {
        "rules": rules_in_words(p) if "runs" in p else "",
        "centre": f"{p['centre']:g}",
        "sigma": f"{p.get('sigma', 0):g}",
        "size": str(p.get("size", "")),
        "per": p.get("per", ""),
    }


_ASKS: dict[ControlChart, Callable[[Mapping[str, Any]], str]] = {
    ControlChart.INDIVIDUALS: _individuals_words,
    ControlChart.XBAR: _xbar_words,
    ControlChart.S: _s_words,
    ControlChart.P: _p_words,
    ControlChart.U: _u_words,
    ControlChart.EWMA: _ewma_words,
    ControlChart.CUSUM: _cusum_words,
}
