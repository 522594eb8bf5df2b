"""What a detector found in each window around one of its alerts."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
from django.db.models import FilteredRelation, Q, QuerySet
from django.utils.translation import gettext, ngettext

from monitoring.charts import parts
from monitoring.charts.over import Span
from monitoring.charts.parts import Chart
from monitoring.models import Alert, Answer, Finding, RuleKind, Window, WindowState
from monitoring.rules.charts import drawn_places
from registry.models import Host

BEFORE = 48
"""Judged windows that are shown before the alert began."""
MOST_WINDOWS = 10_000
"""Judged windows of an alert that are shown, from its first on: a week of minutes."""
SHARES = frozenset({RuleKind.ACCURACY, RuleKind.CONCEPT_DRIFT})


class Found(NamedTuple):
    """One judged window. What the detector said of the alert's version is None where it said nothing: the version
    answered nothing then, or its labels are awaited."""

    start: datetime
    end: datetime
    answer: str | None
    value: float | None
    limit: float | None
    rows: int | None


@dataclass(frozen=True)
class Around:
    """The judged windows before an alert and of it, oldest first, with what its detector found of one version, as a
    whole or on one host. `cut`: the alert has more windows than are shown."""

    alert: Alert
    kind: str
    host: Host | None
    before: list[Found]
    during: list[Found]
    cut: bool

    @property
    def windows(self) -> list[Found]:
        """All of them, oldest first."""
        return [*self.before, *self.during]

    @property
    def subject(self) -> str:
        """Whom the values are of, as a sentence names it."""
        if self.host is None:
            return gettext("version %(version)s") % {"version": self.alert.version}
        return gettext("version %(version)s on %(host)s") % {"version": self.alert.version, "host": self.host.name}

    def text(self, value: float | None) -> str:
        """A value or limit in the detector's unit; "" for None."""
        if value is None:
            return ""
        return f"{value:.1%}" if self.kind in SHARES else f"{value:.3g}"


def detected(alert: Alert) -> Chart | None:
    """The detector's value in each window before one of its alerts and until it ended (or now), against the limit as it
    stood then. None where no window has a value, and for an alert of anything else."""
    if alert.rule is None or alert.endpoint is None:
        return None
    found = _around(alert)
    if all(one.value is None for one in found.windows):
        return None
    return Chart("alert-chart", _title(found), _summary(found), _figure(found), _table(found))


def _around(alert: Alert) -> Around:
    assert alert.rule is not None
    host = _host(alert)
    judged = Window.objects.filter(endpoint=alert.endpoint, state=WindowState.JUDGED)
    during = judged.filter(start__gte=alert.started_at).order_by("start")
    if alert.ended_at is not None:
        during = during.filter(start__lt=alert.ended_at)
    before = judged.filter(start__lt=alert.started_at).order_by("-start")[:BEFORE]
    shown = _found(during[: MOST_WINDOWS + 1], alert, host)
    return Around(
        alert, alert.rule.kind, host, _found(before, alert, host)[::-1], shown[:MOST_WINDOWS], len(shown) > MOST_WINDOWS
    )


def _host(alert: Alert) -> Host | None:
    """The host whose value the alert carries; None where that is the version's as a whole."""
    carried = Finding.objects.filter(
        rule=alert.rule,
        version=alert.version,
        answer=Answer.BREACH,
        window__start__gte=alert.started_at,
        value=alert.annotations.get("value"),
    )
    first = carried.select_related("host").order_by("window__start").first()
    return first.host if first else None


def _found(windows: QuerySet[Window], alert: Alert, host: Host | None) -> list[Found]:
    said = Q(findings__rule=alert.rule, findings__version=alert.version) & (
        Q(findings__host=host) if host else Q(findings__host__isnull=True)
    )
    joined = windows.annotate(said=FilteredRelation("findings", condition=said))
    return [
        Found(*row)
        for row in joined.values_list("start", "end", "said__answer", "said__value", "said__limit", "said__rows")
    ]


def _title(found: Around) -> str:
    of = sum(one.answer in (Answer.OK, Answer.BREACH) for one in found.during)
    return ngettext(
        "While the alert lasted, %(subject)s was beyond the limit in %(breaches)s of %(of)s judged window.",
        "While the alert lasted, %(subject)s was beyond the limit in %(breaches)s of %(of)s judged windows.",
        of,
    ) % {
        "subject": found.subject,
        "breaches": f"{sum(one.answer == Answer.BREACH for one in found.during):,}",
        "of": f"{of:,}",
    }


def _summary(found: Around) -> str:
    said = [
        gettext(
            "%(what)s of %(subject)s in each window, %(since)s to %(until)s UTC. Dashed: the limit as it stood then. "
            "Points: windows beyond the limit."
        )
        % {
            "what": _measure(found.kind),
            "subject": found.subject,
            "since": f"{found.windows[0].start:%Y-%m-%d %H:%M}",
            "until": f"{found.windows[-1].end:%Y-%m-%d %H:%M}",
        },
        *_gaps(found.windows),
    ]
    if found.cut:
        said.append(
            gettext("Of the alert its first %(most)s windows are shown; it lasted longer.")
            % {"most": f"{MOST_WINDOWS:,}"}
        )
    return " ".join(said)


def _gaps(windows: Sequence[Found]) -> list[str]:
    """Why the line has gaps, a sentence for each reason."""
    why = Counter(one.answer for one in windows if one.value is None)
    said = []
    if few := why[Answer.NOT_ENOUGH]:
        said.append(
            ngettext("%(few)s window had not enough data: a gap.", "%(few)s windows had not enough data: gaps.", few)
            % {"few": f"{few:,}"}
        )
    if none := why[None]:
        said.append(
            ngettext(
                "In %(none)s window there was nothing of it to judge: a gap.",
                "In %(none)s windows there was nothing of it to judge: gaps.",
                none,
            )
            % {"none": f"{none:,}"}
        )
    if other := why[Answer.OK] + why[Answer.BREACH]:
        said.append(
            ngettext(
                "%(other)s window was judged by something else than this value: a gap.",
                "%(other)s windows were judged by something else than this value: gaps.",
                other,
            )
            % {"other": f"{other:,}"}
        )
    return said


def _measure(kind: str) -> str:
    """What the detector's value is, as a sentence begins with it."""
    return {
        RuleKind.ACCURACY: gettext("Share of labelled answers that were right"),
        RuleKind.INPUT_DRIFT: gettext("Largest PSI of an input beyond its sampling noise"),
        RuleKind.OUTPUT_DRIFT: gettext("Largest PSI of an output beyond its sampling noise"),
        RuleKind.LATENCY: gettext("Time to answer as a multiple of the reference"),
        RuleKind.JOINT_DRIFT: gettext("AUC of a classifier that tells the inputs from the holdout set"),
        RuleKind.CONCEPT_DRIFT: gettext("Share of labelled answers that were wrong"),
    }[RuleKind(kind)]


def _axis(kind: str) -> dict[str, Any]:
    title = {
        RuleKind.ACCURACY: gettext("accuracy"),
        RuleKind.INPUT_DRIFT: "PSI",
        RuleKind.OUTPUT_DRIFT: "PSI",
        RuleKind.LATENCY: gettext("times the reference"),
        RuleKind.JOINT_DRIFT: "AUC",
        RuleKind.CONCEPT_DRIFT: gettext("share of errors"),
    }[RuleKind(kind)]
    return {"title": title, **({"tickformat": ".0%"} if kind in SHARES else {})}


def _figure(found: Around) -> dict[str, Any]:
    windows = found.windows
    values = np.array([np.nan if one.value is None else one.value for one in windows])
    beyond = np.array([one.answer == Answer.BREACH for one in windows])
    kept = [windows[place] for place in drawn_places(values, beyond).tolist()]
    times = [parts.stamp(one.end) for one in kept]
    breaches = [one for one in kept if one.answer == Answer.BREACH and one.value is not None]
    traces = [
        # A value between two gaps is no line.
        _marked(parts.trace(times, [one.value for one in kept], found.subject, "accent"), "lines+markers", 4),
        {**parts.trace(times, [one.limit for one in kept], gettext("limit"), "muted"), "line": {"dash": "dash"}},
    ]
    if breaches:
        x, y = [parts.stamp(one.end) for one in breaches], [one.value for one in breaches]
        traces.append(_marked(parts.trace(x, y, gettext("beyond the limit"), "bad"), "markers", 8))
    return parts.figure(traces, _axis(found.kind), {"markers": _markers(found), "bands": _bands(found)})


def _marked(trace: dict[str, Any], mode: str, size: int) -> dict[str, Any]:
    return {**trace, "mode": mode, "marker": {"size": size}}


def _markers(found: Around) -> list[dict[str, str]]:
    endpoint = found.alert.endpoint
    assert endpoint is not None
    return Span(endpoint, found.windows[0].start, found.windows[-1].end, {}).marked


def _bands(found: Around) -> list[dict[str, str]]:
    """The second of two is shaded: static/js/charts.js."""
    began = parts.stamp(found.alert.started_at)
    since, until = parts.stamp(found.windows[0].start), parts.stamp(found.windows[-1].end)
    return [
        {"x0": since, "x1": began, "label": gettext("before") if found.before else ""},
        {"x0": began, "x1": until, "label": gettext("the alert")},
    ]


def _table(found: Around) -> dict[str, list[Any]]:
    return parts.table(
        [gettext("window's end, UTC"), gettext("value"), gettext("limit"), gettext("found"), gettext("rows")],
        [
            [
                parts.clock(one.end),
                found.text(one.value),
                found.text(one.limit),
                str(Answer(one.answer).label) if one.answer else gettext("nothing to judge"),
                "" if one.rows is None else f"{one.rows:,}",
            ]
            for one in reversed(found.windows)
        ],
    )
