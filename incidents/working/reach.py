"""Whom and what an incident touches: endpoints, hosts, groups of people, and how much so far."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q
from django.utils.translation import gettext

from incidents.diagnosing.options import outlook_of
from incidents.models import Evidence, Incident
from monitoring.models import PredictionBatch
from registry.models import Placement


@dataclass(frozen=True)
class Estimate:
    """`answered` requests since the impact began; `wrong` of them beyond what is usual, with the 95 % interval of the
    accuracy behind it. None where no labels tell."""

    since: datetime
    until: datetime
    answered: int
    wrong: int | None
    low: int | None
    high: int | None
    noun: str
    meaning: str
    priced: str = ""
    """What that has cost so far by the model's cost formula; "" without one, or where it was not examined."""

    @property
    def sentence(self) -> str:
        last = f"{self.until:%H:%M}" if self.since.date() == self.until.date() else f"{self.until:%Y-%m-%d %H:%M}"
        said = gettext("About %(answered)s %(noun)s were answered from %(since)s to %(last)s UTC") % {
            "answered": f"{self.answered:,}",
            "noun": self.noun,
            "since": f"{self.since:%Y-%m-%d %H:%M}",
            "last": last,
        }
        if self.wrong is None:
            return gettext("%(said)s. Without labels nobody can say how many of them wrongly.") % {"said": said}
        if not self.low:
            return gettext(
                "%(said)s. That it is wrong more often than usual is not sure by the labels of when the incident "
                "was opened; up to %(high)s of them may be wrong beyond what is usual."
            ) % {"said": said, "high": f"{self.high:,}"}
        values = {
            "said": said,
            "wrong": f"{self.wrong:,}",
            "low": f"{self.low:,}",
            "high": f"{self.high:,}",
            "priced": self.priced,
        }
        if self.priced:
            return (
                gettext(
                    "%(said)s; about %(wrong)s of them wrongly beyond what is usual (%(low)s to %(high)s); that has "
                    "cost %(priced)s so far."
                )
                % values
            )
        return gettext("%(said)s; about %(wrong)s of them wrongly beyond what is usual (%(low)s to %(high)s).") % values


def estimate(incident: Incident, now: datetime) -> Estimate | None:
    """How many were answered by the version since the impact began, from the index of prediction batches, and how many
    wrongly: answered times the usual share right less the share right now, both as frozen when it was opened. The
    interval is that of the share right now (Wilson's, 95 %). None without an endpoint and its version, or where the
    span is empty. Two queries.
    """
    endpoint = incident.endpoint
    if endpoint is None or not incident.from_version:
        return None
    since, until = incident.impact_started_at or incident.detected_at, incident.mitigated_at or now
    if until <= since:
        return None
    within = Q(last_at__gt=since, first_at__lt=until)
    batches = PredictionBatch.objects.filter(within, endpoint=endpoint, version=incident.from_version)
    # No batch spans more than an hour: the store cuts by the hour, and the index is by the first row.
    batches = batches.filter(first_at__gte=since - timedelta(hours=1))
    answered = round(sum(_share(*row, since, until) for row in batches.values_list("rows", "first_at", "last_at")))
    newest = {piece.kind: piece for piece in incident.evidence.filter(kind__in=("accuracy", "outlook")).order_by("pk")}
    quality = newest.get("accuracy")
    usual = _number(quality, "before", "share")
    model = endpoint.model
    found: list[int | None] = [None, None, None]
    if quality is not None and usual is not None:
        rights = [_number(quality, "now", name) for name in ("share", "high", "low")]
        found = [None if right is None else round(max(0.0, usual - right) * answered) for right in rights]
    priced = _priced(newest.get("outlook"), answered, (until - since).total_seconds())
    return Estimate(since, until, answered, *found, model.subject_noun_plural, model.error_meaning, priced)


def _priced(outlook: Evidence | None, answered: int, seconds: float) -> str:
    known = outlook_of(outlook.data if outlook else {})
    return known.priced(answered, seconds)


def _share(rows: int, first: datetime, last: datetime, since: datetime, until: datetime) -> float:
    """The rows of a batch that lie within the span, as if they were spread evenly over it."""
    length = (last - first).total_seconds()
    if length <= 0:
        return float(rows)
    inside = (min(last, until) - max(first, since)).total_seconds()
    return rows * max(0.0, min(1.0, inside / length))


def _number(piece: Evidence | None, *path: str) -> float | None:
    at: Any = piece.data if piece else None
    for name in path:
        at = at.get(name) if isinstance(at, dict) else None
    return float(at) if at else None


@dataclass(frozen=True)
class Touched:
    """`endpoints`: (slug, why) of this one and others that its alerts name or that serve the same version; `hosts`:
    (name, share right or "", rows); `groups`: rows of the evidence, the worst first."""

    endpoints: list[tuple[str, str]]
    hosts: list[tuple[str, str, int]]
    groups: list[dict[str, Any]]


def touched(incident: Incident) -> Touched:
    """Three queries."""
    named: dict[str, str] = {incident.endpoint.slug: gettext("the incident is about it")} if incident.endpoint else {}
    for link in incident.incident_alerts.select_related("alert__endpoint"):
        if link.alert.endpoint:
            named.setdefault(link.alert.endpoint.slug, gettext("an alert of the incident names it"))
    if incident.endpoint and incident.from_version:
        others = Placement.objects.filter(
            endpoint__model=incident.endpoint.model_id, observed_version=incident.from_version, host__drained_at=None
        )
        for slug in others.values_list("endpoint__slug", flat=True).distinct():
            named.setdefault(
                slug, gettext("it serves version %(from_version)s as well") % {"from_version": incident.from_version}
            )
    data = {piece.kind: piece.data for piece in incident.evidence.all()}
    hosts = [
        (name, row.get("share", ""), row.get("rows", 0)) for name, row in data.get("hosts", {}).get("hosts", {}).items()
    ]
    return Touched(list(named.items()), hosts, data.get("groups", {}).get("groups", []))
