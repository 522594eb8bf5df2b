"""What stakeholders are told: posts on status pages, the state of each component, and the static copy.

Posts follow the incident by themselves, in words without host names or internal terms; a person with the right may
post others. A static copy of the page, its JSON and its feed is written at every publish, so that it can be served
with the database down.
"""

import json
import os
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from accounts.models import User
from audit.actions import Actor, Target, record, service_actor
from audit.clock import database_now
from audit.dispatch import send_on_commit
from incidents.errors import IncidentError
from incidents.follow import rollbacks_of
from incidents.models import (
    ComponentState,
    Incident,
    IncidentState,
    PostStatus,
    StatusComponent,
    StatusPage,
    StatusPost,
)
from incidents.rollback.models import StepState

STYLESHEET = Path(settings.BASE_DIR) / "static" / "status.css"
NEXT_UPDATE = timedelta(minutes=30)
NARRATOR = service_actor("status")
NARRATION: dict[str, tuple[str, str]] = {
    IncidentState.TRIAGED: (PostStatus.INVESTIGATING, ComponentState.DEGRADED),
    IncidentState.MITIGATING: (PostStatus.IDENTIFIED, ComponentState.DEGRADED),
    IncidentState.MONITORING: (PostStatus.MONITORING, ComponentState.DEGRADED),
    IncidentState.RESOLVED: (PostStatus.RESOLVED, ComponentState.OPERATIONAL),
}


@transaction.atomic
def create_page(*, slug: str, name: str, description: str, public: bool, actor: Actor) -> StatusPage:
    page = StatusPage.objects.create(slug=slug, name=name, description=description, public=public, publish_due_at=Now())
    record(action="status.create_page", target=Target("status_page", slug), actor=actor, data={"public": public})
    send_on_commit("incidents.publish_page", [page.pk], queue="intake")
    return page


@transaction.atomic
def add_component(*, page: StatusPage, name: str, endpoint: Any, actor: Actor) -> StatusComponent:
    """Show an endpoint on the page under a name that its readers know."""
    component = StatusComponent.objects.create(
        page=page, name=name, endpoint=endpoint, position=page.components.count()
    )
    record(
        action="status.add_component",
        target=Target("status_page", page.slug),
        actor=actor,
        data={"component": name, "endpoint": endpoint.slug if endpoint else ""},
    )
    StatusPage.objects.filter(pk=page.pk).update(version=F("version") + 1, publish_due_at=Now())
    send_on_commit("incidents.publish_page", [page.pk], queue="intake")
    return component


@transaction.atomic
def post(
    *,
    page: StatusPage,
    incident: Incident,
    status: str,
    component_state: str,
    text: str,
    by: User | None,
    actor: Actor,
    next_update_at: Any = None,
) -> StatusPost:
    """Tell the readers of a page how things stand, and set the incident's components to the state told."""
    if status not in PostStatus.values or component_state not in ComponentState.values:
        raise IncidentError("Choose one of the listed states.")
    if not text.strip():
        raise IncidentError("Write a sentence that a stakeholder understands.")
    row = StatusPost.objects.create(
        page=page,
        incident=incident,
        status=status,
        component_state=component_state,
        text=text.strip(),
        next_update_at=next_update_at,
        by=by,
    )
    page.components.filter(endpoint=incident.endpoint).exclude(state=component_state).update(
        state=component_state, since=Now()
    )
    StatusPage.objects.filter(pk=page.pk).update(version=F("version") + 1, publish_due_at=Now())
    record(
        action="status.post",
        target=Target("status_page", page.slug),
        actor=actor,
        incident=incident.ref,
        data={"post": row.pk, "status": status, "component_state": component_state},
        reason=text.strip(),
    )
    send_on_commit("incidents.publish_page", [page.pk], queue="intake")
    return row


def narrate(*, incident_id: int) -> list[StatusPost]:
    """Post what the incident's state asks for on each page that shows its endpoint, once per state."""
    made = []
    with transaction.atomic():
        incident = (
            Incident.objects.select_for_update(of=("self",)).select_related("endpoint__model").get(pk=incident_id)
        )
        wanted = NARRATION.get(incident.state)
        if wanted is None or incident.endpoint is None or incident.told_state == incident.state:
            return []
        Incident.objects.filter(pk=incident.pk).update(told_state=incident.state)
        status, component_state = wanted
        for component in StatusComponent.objects.filter(endpoint=incident.endpoint).select_related("page"):
            newest = StatusPost.objects.filter(page=component.page, incident=incident).first()
            if newest is not None and newest.status == status:
                continue
            if newest is None and status == PostStatus.RESOLVED:
                continue
            due = None if status == PostStatus.RESOLVED else database_now() + NEXT_UPDATE
            made.append(
                post(
                    page=component.page,
                    incident=incident,
                    status=status,
                    component_state=component_state,
                    text=sentence_for(incident, component.name, status),
                    by=None,
                    actor=NARRATOR,
                    next_update_at=due,
                )
            )
    return made


def sentence_for(incident: Incident, name: str, status: str) -> str:
    """What a stakeholder reads: is it working for me, since when, what is being done."""
    start = incident.impact_started_at or incident.detected_at
    since = f"{start:%H:%M} UTC"
    slow = incident.incident_alerts.filter(alert__rule__kind="latency").exists() and not (
        incident.incident_alerts.exclude(alert__rule__kind="latency").exists()
    )
    answers = f"the answers of “{name}”"
    trouble = f"{answers} take longer than they should" if slow else f"{answers} are less reliable than they should be"
    if status == PostStatus.INVESTIGATING:
        return f"Since {since}, {trouble}. People are working on it."
    undone = rollbacks_of(incident.ref).exists()
    if status == PostStatus.IDENTIFIED:
        remedy = "A recent change is being undone now." if undone else "A remedy is under way."
        return f"Since {since}, {trouble}. {remedy}"
    if status == PostStatus.MONITORING:
        done = incident.mitigated_at or timezone.now()
        remedy = "The change was undone at" if undone else "A remedy is in place since"
        if undone and (left := left_out(incident)):
            return f"{remedy} {done:%H:%M} UTC for most of “{name}”. {left} We are watching the rest."
        return f"{remedy} {done:%H:%M} UTC. We are watching that “{name}” works as it should again."
    minutes = max(1, round(((incident.resolved_at or timezone.now()) - start).total_seconds() / 60))
    span = "1 minute" if minutes == 1 else f"{minutes} minutes"
    return f"“{name}” works as it should again. It did not from {since} on, for {span}."


def left_out(incident: Incident) -> str:
    """A sentence where the newest rollback left a part of the machines as they were; "" where it reached all."""
    newest = rollbacks_of(incident.ref).order_by("-started_at").first()
    if newest is None:
        return ""
    total, done = newest.steps.count(), newest.steps.filter(state=StepState.DONE).count()
    return f"It reached {done} of {total} machines so far." if done < total else ""


def overall(page: StatusPage) -> str:
    """The worst state of the page's components, by Statuspage's order."""
    order = [
        ComponentState.MAJOR_OUTAGE,
        ComponentState.PARTIAL_OUTAGE,
        ComponentState.DEGRADED,
        ComponentState.MAINTENANCE,
        ComponentState.OPERATIONAL,
    ]
    states = {component.state for component in page.components.all()}
    return next((state for state in order if state in states), ComponentState.OPERATIONAL)


def directory(slug: str) -> Path:
    """Where the static copy of a page lies; any web server can serve it."""
    return Path(settings.LASTGOOD_VAR) / "status" / slug


def publish_page(*, page_id: int) -> bool:
    """Write the static copy of what a public page says now, each file whole or not at all. A page for signed-in people
    has no copy: nobody could ask who reads it. False when the page was changed meanwhile."""
    from incidents.status_render import feed, page_html, summary

    page = StatusPage.objects.get(pk=page_id)
    if page.public:
        target = directory(page.slug)
        target.mkdir(parents=True, exist_ok=True)
        _write(target / STYLESHEET.name, STYLESHEET.read_bytes())
        _write(target / "summary.json", json.dumps(summary(page), indent=1).encode())
        _write(target / "feed.atom", feed(page).encode())
        _write(target / "index.html", page_html(page).encode())
    return bool(
        StatusPage.objects.filter(pk=page.pk, version=page.version).update(published_at=Now(), publish_due_at=None)
    )


def _write(path: Path, body: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(handle, "wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    Path(name).chmod(0o644)
    Path(name).replace(path)
