"""What incidents of a span add up to: how long each stage took, how often changes failed, what rollbacks did.

Medians and the 90th percentile are those of the incidents that reached the stage (linear between neighbours); an
incident that did not reach it is counted beside them, never as zero.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from statistics import median, quantiles
from typing import Any

from django.db.models import Count, F, OuterRef, Q, Subquery
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from audit.clock import database_now
from incidents.learning.models import Cause
from incidents.models import OPEN_STATES, ActionItem, Incident, IncidentAlert, Review, ReviewState
from incidents.rollback.models import PlanKind, Run, RunState, WatchState
from monitoring.models import Alert

STAGES = ("detect", "acknowledge", "decide", "mitigate", "verify", "resolve")
EDGES = (60, 300, 900, 3600, 4 * 3600, 86_400)
BINS = (
    _("under 1 min"),
    _("1 to 5 min"),
    _("5 to 15 min"),
    _("15 to 60 min"),
    _("1 to 4 h"),
    _("4 to 24 h"),
    _("over a day"),
)
BLAMED = timedelta(hours=24)
"""A release is counted as failed where an incident about its version was detected within this time of its start."""
MOST = 20_000
MOST_ITEMS = 50


@dataclass(frozen=True)
class Chosen:
    """Which incidents: detected from `since` to before `until` (UTC), of a model, a severity, a cause; empty: any."""

    since: datetime
    until: datetime
    model: str = ""
    severity: int | None = None
    cause: str = ""

    def rows(self) -> list[Incident]:
        found = Incident.objects.filter(detected_at__gte=self.since, detected_at__lt=self.until)
        if self.model:
            found = found.filter(endpoint__model__slug=self.model)
        if self.severity:
            found = found.filter(severity=self.severity)
        if self.cause:
            found = found.filter(review__contributing__kind=self.cause)
        return list(found.select_related("endpoint__model").order_by("-number")[:MOST])


@dataclass(frozen=True)
class Stage:
    """The times of one stage in seconds. `missing`: incidents that have not reached it."""

    name: str
    seconds: list[int]
    missing: int

    @property
    def n(self) -> int:
        return len(self.seconds)

    @property
    def median(self) -> float | None:
        return median(self.seconds) if self.seconds else None

    @property
    def p90(self) -> float | None:
        if not self.seconds:
            return None
        return quantiles(self.seconds, n=10, method="inclusive")[8] if self.n > 1 else float(self.seconds[0])

    @property
    def bins(self) -> list[int]:
        """How many fall into each of BINS; a bin holds its lower edge."""
        counts = [0] * len(BINS)
        for value in self.seconds:
            counts[sum(value >= edge for edge in EDGES)] += 1
        return counts


def _between(start: datetime | None, end: datetime | None) -> int | None:
    return None if start is None or end is None else max(0, int((end - start).total_seconds()))


def times_of(incident: Incident, verified: tuple[datetime | None, datetime | None]) -> dict[str, int | None]:
    """Seconds of each stage: from the impact's start to detection, mitigation and resolution; from detection to
    acknowledgement; from there to the decision; from the switch of the last host to its verification."""
    began = incident.impact_started_at
    return {
        "detect": _between(began, incident.detected_at),
        "acknowledge": _between(incident.detected_at, incident.acknowledged_at),
        "decide": _between(incident.acknowledged_at, incident.decided_at),
        "mitigate": _between(began, incident.mitigated_at),
        "verify": _between(*verified),
        "resolve": _between(began, incident.resolved_at),
    }


@dataclass(frozen=True)
class Rollbacks:
    """What became of the incidents: `helped` by a rollback that was verified, `did_not` by one that was judged not to
    help, `undecided` neither, `avoided` ended without one."""

    helped: int
    did_not: int
    undecided: int
    avoided: int


@dataclass(frozen=True)
class Changes:
    """Releases of the span that began longer than BLAMED ago, and those of them that failed: went back, failed, or were
    blamed within BLAMED. `young` began later: what becomes of them is not known yet."""

    releases: int
    failed: int
    young: int = 0

    @property
    def rate(self) -> float | None:
        return self.failed / self.releases if self.releases else None


@dataclass(frozen=True)
class Noise:
    """Alerts of the span, of whatever severity and cause: that were the first of an incident, joined one, were held
    back from any, or were of none at all; and incidents that ended without anybody acting on them (no acknowledgement
    before they were over)."""

    alerts: int
    opened: int
    joined: int
    held_back: int
    untaken: int
    unattended: int


@dataclass(frozen=True)
class Figures:
    """All of it, for one page and one file."""

    count: int
    stages: list[Stage]
    months: list[tuple[str, int, dict[str, float | None]]]
    by: list[tuple[str, list[tuple[str, int, float | None]]]]
    rollbacks: Rollbacks
    changes: Changes
    noise: Noise
    items_open: int
    items_overdue: int
    overdue: list[ActionItem]
    """The MOST_ITEMS that are overdue longest."""


def figures(chosen: Chosen, today: date) -> Figures:
    """At most fifteen queries, however many incidents there are (MOST at most)."""
    incidents = chosen.rows()
    runs = _runs(incidents)
    times = {one.pk: times_of(one, _verified(runs.get(one.ref))) for one in incidents}
    open_items = ActionItem.objects.filter(done_at=None)
    if chosen.model:
        open_items = open_items.filter(review__incident__endpoint__model__slug=chosen.model)
    overdue = open_items.filter(due_on__lt=today).select_related("owner", "review__incident").order_by("due_on")
    return Figures(
        count=len(incidents),
        stages=[_stage(name, times.values()) for name in STAGES],
        months=_months(incidents, times),
        by=_by(incidents, times),
        rollbacks=_rollbacks(incidents, runs),
        changes=_changes(chosen),
        noise=_noise(chosen, incidents),
        items_open=open_items.count(),
        items_overdue=overdue.count(),
        overdue=list(overdue[:MOST_ITEMS]),
    )


def _runs(incidents: Sequence[Incident]) -> dict[str, Run]:
    """The last rollback of each incident, by its reference."""
    refs = [one.ref for one in incidents]
    found = Run.objects.filter(plan__incident_ref__in=refs, plan__kind=PlanKind.ROLLBACK)
    return {run.plan.incident_ref: run for run in found.select_related("plan", "watch").order_by("started_at")}


def _verified(run: Run | None) -> tuple[datetime | None, datetime | None]:
    watch = getattr(run, "watch", None)
    if run is None or watch is None or watch.state != WatchState.PASSED:
        return None, None
    return run.switched_at, watch.ended_at


def _stage(name: str, times: Iterable[dict[str, int | None]]) -> Stage:
    values = [one[name] for one in times]
    return Stage(name, sorted(value for value in values if value is not None), values.count(None))


def _median(values: Iterable[int | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _months(
    incidents: Sequence[Incident], times: dict[int, dict[str, int | None]]
) -> list[tuple[str, int, dict[str, float | None]]]:
    """Of each month (UTC, by detection), oldest first: how many, and the median of each stage."""
    groups: dict[str, list[dict[str, int | None]]] = {}
    for one in incidents:
        groups.setdefault(f"{one.detected_at:%Y-%m}", []).append(times[one.pk])
    return [
        (month, len(rows), {name: _median(row[name] for row in rows) for name in STAGES})
        for month, rows in sorted(groups.items())
    ]


def _by(
    incidents: Sequence[Incident], times: dict[int, dict[str, int | None]]
) -> list[tuple[str, list[tuple[str, int, float | None]]]]:
    """How many and the median time to resolve, by model, severity and contributing cause (one incident may have
    several; a review that names none yet is told apart from none), the most frequent first."""
    causes: dict[int, list[str]] = {}
    named = Review.objects.filter(incident__in=[one.pk for one in incidents])
    for incident_id, kind in named.values_list("incident_id", "contributing__kind"):
        causes.setdefault(incident_id, []).append(str(Cause(kind).label) if kind else gettext("no cause named"))
    keys = {
        "model": lambda one: [one.endpoint.model.slug if one.endpoint else gettext("none named")],
        "severity": lambda one: [str(one.severity)],
        "cause": lambda one: causes.get(one.pk, [gettext("not reviewed")]),
    }
    tables = []
    for name, key in keys.items():
        groups: dict[str, list[int | None]] = {}
        for one in incidents:
            for value in key(one):
                groups.setdefault(value, []).append(times[one.pk]["resolve"])
        rows = [(value, len(seconds), _median(seconds)) for value, seconds in groups.items()]
        tables.append((name, sorted(rows, key=lambda row: (-row[1], row[0]))))
    return tables


def _rollbacks(incidents: Sequence[Incident], runs: dict[str, Run]) -> Rollbacks:
    states = Counter(
        getattr(getattr(runs[one.ref], "watch", None), "state", "") for one in incidents if one.ref in runs
    )
    helped, did_not = states[WatchState.PASSED], states[WatchState.FAILED]
    ended = [one for one in incidents if one.state not in OPEN_STATES]
    return Rollbacks(helped, did_not, states.total() - helped - did_not, sum(one.ref not in runs for one in ended))


def _changes(chosen: Chosen) -> Changes:
    found = Run.objects.filter(
        plan__kind=PlanKind.RELEASE, started_at__gte=chosen.since, started_at__lt=chosen.until
    ).exclude(state__in=[RunState.RUNNING, RunState.HALTED])
    if chosen.model:
        found = found.filter(endpoint__model__slug=chosen.model)
    begun = list(found.select_related("plan__to_version"))
    known = database_now() - BLAMED
    releases = [run for run in begun if run.started_at <= known]
    about = Incident.objects.filter(endpoint__in={run.endpoint_id for run in releases}, detected_at__gte=chosen.since)
    about = about.exclude(
        review__in=Review.objects.filter(state=ReviewState.PUBLISHED, contributing__kind=Cause.FALSE_ALARM)
    )
    blamed: dict[tuple[int | None, str], list[datetime]] = {}
    for endpoint, version, at in about.values_list("endpoint_id", "from_version", "detected_at"):
        blamed.setdefault((endpoint, version), []).append(at)
    return Changes(len(releases), sum(_failed(run, blamed) for run in releases), len(begun) - len(releases))


def _failed(run: Run, blamed: dict[tuple[int | None, str], list[datetime]]) -> bool:
    if run.state != RunState.SWITCHED:
        return True
    found = blamed.get((run.endpoint_id, str(run.plan.to_version.number)), [])
    return any(run.started_at <= at <= run.started_at + BLAMED for at in found)


def _noise(chosen: Chosen, incidents: Sequence[Incident]) -> Noise:
    found = Alert.objects.filter(fired_at__gte=chosen.since, fired_at__lt=chosen.until)
    if chosen.model:
        found = found.filter(endpoint__model__slug=chosen.model)
    links = IncidentAlert.objects.filter(incident=OuterRef("incident_alert__incident")).order_by("joined_at", "pk")
    counts: dict[str, Any] = found.annotate(first=Subquery(links.values("pk")[:1])).aggregate(
        alerts=Count("pk"),
        taken=Count("incident_alert"),
        held_back=Count("pk", filter=~Q(suppressed_by="") & Q(incident_alert=None)),
        opened=Count("pk", filter=Q(incident_alert=F("first"))),
    )
    unattended = sum(one.state not in OPEN_STATES and one.acknowledged_at is None for one in incidents)
    return Noise(
        alerts=counts["alerts"],
        opened=counts["opened"],
        joined=counts["taken"] - counts["opened"],
        held_back=counts["held_back"],
        untaken=counts["alerts"] - counts["taken"] - counts["held_back"],
        unattended=unattended,
    )


def in_minutes(seconds: float | None) -> float | None:
    """For charts, to a tenth; None stays a gap."""
    return None if seconds is None or math.isnan(seconds) else round(seconds / 60, 1)
