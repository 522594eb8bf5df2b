"""Earlier incidents like this one, and what helped then."""

from dataclasses import dataclass

from django.db.models import Q

from audit.english import in_english
from incidents.models import OPEN_STATES, Incident
from incidents.rollback.models import ASIDE_KINDS, Run, RunState, WatchState

LOOKED_AT, SHOWN = 300, 5
LABELS = ("alertname", "rule", "column", "job", "service")


@dataclass(frozen=True)
class Likeness:
    """An earlier incident, in how many points it is like this one, which, and what ended it."""

    incident: Incident
    points: int
    because: str
    helped: str


def _traits(incident: Incident) -> dict[str, set[str]]:
    """What an incident is compared by. The alerts must have been fetched with it."""
    alerts = [link.alert for link in incident.incident_alerts.all()]
    endpoint = incident.endpoint
    return {
        "same endpoint": {endpoint.slug} if endpoint else set(),
        "same model": {endpoint.model.slug} if endpoint else set(),
        "same version": {f"{endpoint.model.slug} {incident.from_version}"}
        if endpoint and incident.from_version
        else set(),
        "same rule": {alert.rule.kind for alert in alerts if alert.rule}
        | {f"rule {alert.alert_rule_id}" for alert in alerts if alert.alert_rule_id},
        "same host": {str(alert.host_id) for alert in alerts if alert.host_id},
        "same label": {f"{name}={alert.labels[name]}" for alert in alerts for name in LABELS if alert.labels.get(name)},
    }


POINTS = {
    "same endpoint": 3,
    "same model": 2,
    "same version": 3,
    "same rule": 2,
    "same host": 2,
    "same label": 2,
}


def similar(incident: Incident) -> list[Likeness]:
    """The most alike of the newest LOOKED_AT earlier incidents of the endpoint's model, or that name no endpoint where
    this one doesn't. At most six queries."""
    endpoint = incident.endpoint
    about = Q(endpoint__model=endpoint.model_id) if endpoint else Q(endpoint=None)
    rows = Incident.objects.select_related("endpoint__model").prefetch_related("incident_alerts__alert__rule")
    mine = _traits(rows.get(pk=incident.pk))
    earlier = list(rows.filter(about, number__lt=incident.number).order_by("-number")[:LOOKED_AT])
    scored = []
    for other in earlier:
        theirs = _traits(other)
        alike = [name for name in POINTS if mine[name] & theirs[name]]
        scored.append((sum(POINTS[name] for name in alike), other, ", ".join(alike)))
    best = sorted((one for one in scored if one[0] >= 2), key=lambda one: (-one[0], -one[1].number))[:SHOWN]
    helped = what_helped([other for _, other, _ in best])
    return [Likeness(other, points, because, helped[other.ref]) for points, other, because in best]


def what_helped(incidents: list[Incident]) -> dict[str, str]:
    """By reference: how each ended, in a sentence. One query."""
    refs = [one.ref for one in incidents]
    runs = Run.objects.filter(plan__incident_ref__in=refs).exclude(plan__kind__in=ASIDE_KINDS)
    newest: dict[str, Run] = {}
    for run in runs.select_related("plan__to_version", "watch").order_by("started_at"):
        newest[run.plan.incident_ref] = run
    return {one.ref: _ended(one, newest.get(one.ref)) for one in incidents}


def _ended(incident: Incident, run: Run | None) -> str:
    if run is not None:
        to = f"{in_english(run.plan.get_kind_display).lower()} to version {run.plan.to_version.number}"
        state = run.watch.state if hasattr(run, "watch") else ""
        if state == WatchState.PASSED:
            return f"A {to} helped: it was verified."
        if state == WatchState.FAILED:
            return f"A {to} did not help: its verification failed."
        if run.state == RunState.SWITCHED:
            return f"A {to} was carried out; its verification did not decide."
        return f"A {to} was begun: {in_english(run.get_state_display).lower()}."
    if incident.state in OPEN_STATES:
        return "It is open still."
    return "It ended without a rollback."
