"""Earlier incidents like this one, and what helped then."""

from dataclasses import dataclass

from django.db.models import Q
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

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
        "endpoint": {endpoint.slug} if endpoint else set(),
        "model": {endpoint.model.slug} if endpoint else set(),
        "version": {f"{endpoint.model.slug} {incident.from_version}"} if endpoint and incident.from_version else set(),
        "rule": {alert.rule.kind for alert in alerts if alert.rule}
        | {f"rule {alert.alert_rule_id}" for alert in alerts if alert.alert_rule_id},
        "host": {str(alert.host_id) for alert in alerts if alert.host_id},
        "label": {f"{name}={alert.labels[name]}" for alert in alerts for name in LABELS if alert.labels.get(name)},
    }


POINTS = {"endpoint": 3, "model": 2, "version": 3, "rule": 2, "host": 2, "label": 2}
SAME = {
    "endpoint": _("same endpoint"),
    "model": _("same model"),
    "version": _("same version"),
    "rule": _("same rule"),
    "host": _("same host"),
    "label": _("same label"),
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
        scored.append((sum(POINTS[name] for name in alike), other, ", ".join(str(SAME[name]) for name in alike)))
    best = sorted((one for one in scored if one[0] >= 2), key=lambda one: (-one[0], -one[1].number))[:SHOWN]
    helped = what_helped([other for _points, other, _because in best])
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
        to = {"kind": run.plan.get_kind_display().lower(), "version": run.plan.to_version.number}
        state = run.watch.state if hasattr(run, "watch") else ""
        if state == WatchState.PASSED:
            return gettext("A %(kind)s to version %(version)s helped: it was verified.") % to
        if state == WatchState.FAILED:
            return gettext("A %(kind)s to version %(version)s did not help: its verification failed.") % to
        if run.state == RunState.SWITCHED:
            said = gettext("A %(kind)s to version %(version)s was carried out; its verification did not decide.")
            return said % to
        said = gettext("A %(kind)s to version %(version)s was begun: %(state)s.")
        return said % {**to, "state": run.get_state_display().lower()}
    if incident.state in OPEN_STATES:
        return gettext("It is open still.")
    return gettext("It ended without a rollback.")
