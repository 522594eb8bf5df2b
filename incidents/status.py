"""What stakeholders are told: status pages, the components on them, and posts.

Posts follow the incident by themselves, in words without host names or internal terms, or are proposed to a person; a
person with the right may post others. A static copy of the page is written at every publish (`status_files`).
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils.translation import gettext

from accounts.models import Role, User
from audit.actions import Actor, Target, record, service_actor
from audit.clock import database_now
from audit.dispatch import send_on_commit
from incidents import status_files
from incidents.errors import IncidentError
from incidents.follow import rollbacks_of
from incidents.models import (
    ComponentState,
    Incident,
    IncidentState,
    PostStatus,
    Quality,
    StatusComponent,
    StatusPage,
    StatusPost,
)
from incidents.status_impacts import as_told, hit, next_position, operational, pages_showing, settle, shown, told_before
from incidents.status_words import words_for
from incidents.telling import outbox
from incidents.telling.drafts import overtake, propose, sent

NEXT_UPDATE = timedelta(minutes=30)
NARRATOR = service_actor("status")
NARRATION: dict[str, tuple[str, str]] = {
    IncidentState.TRIAGED: (PostStatus.INVESTIGATING, ComponentState.DEGRADED),
    IncidentState.MITIGATING: (PostStatus.IDENTIFIED, ComponentState.DEGRADED),
    IncidentState.MONITORING: (PostStatus.MONITORING, ComponentState.DEGRADED),
    IncidentState.RESOLVED: (PostStatus.RESOLVED, ComponentState.OPERATIONAL),
}


def changed(page: StatusPage) -> None:
    """Have the page written anew, at once and, where the message is lost, by the clock. Holds the page's row."""
    StatusPage.objects.filter(pk=page.pk).update(version=F("version") + 1, publish_due_at=Now())
    send_on_commit("incidents.publish_page", [page.pk], queue="intake")


def _known_readers(readers: Sequence[str]) -> list[str]:
    unknown = sorted(set(readers) - set(Role.values))
    if unknown:
        raise IncidentError(
            gettext("There is no role %(unknown)s. Choose among %(names)s.")
            % {"unknown": unknown[0], "names": ", ".join(Role.values)}
        )
    return sorted(set(readers))


@transaction.atomic
def create_page(
    *,
    slug: str,
    name: str,
    description: str,
    public: bool,
    actor: Actor,
    readers: Sequence[str] = (),
    by_itself: bool = True,
) -> StatusPage:
    """Make a page. `readers`: the roles that may read one that is not public; none means everybody who may look."""
    held = _known_readers(readers)
    page = StatusPage.objects.create(
        slug=slug,
        name=name,
        description=description,
        public=public,
        readers=held,
        by_itself=by_itself,
        publish_due_at=Now(),
    )
    record(
        action="status.create_page",
        target=Target("status_page", slug),
        actor=actor,
        data={"public": public, "readers": held, "by_itself": by_itself},
    )
    send_on_commit("incidents.publish_page", [page.pk], queue="intake")
    return page


@transaction.atomic
def edit_page(*, page: StatusPage, actor: Actor, seen_version: int, **fields: Any) -> StatusPage:
    """Change name, description, public, readers or by_itself. A page that is public no more is taken from everybody at
    once. Raises IncidentError where somebody changed it since `seen_version`."""
    if "readers" in fields:
        fields["readers"] = _known_readers(fields["readers"])
    done = StatusPage.objects.filter(pk=page.pk, version=seen_version).update(
        version=F("version") + 1, publish_due_at=Now(), **fields
    )
    if not done:
        raise IncidentError(
            gettext("Somebody changed this page since you opened it. Look at it, then send yours again.")
        )
    page.refresh_from_db()
    record(
        action="status.edit_page",
        target=Target("status_page", page.slug, str(page.version)),
        actor=actor,
        data={"public": page.public, "readers": page.readers, "by_itself": page.by_itself, "fields": sorted(fields)},
    )
    if not page.public:
        transaction.on_commit(lambda: status_files.withdraw(page.slug))
    send_on_commit("incidents.publish_page", [page.pk], queue="intake")
    return page


@transaction.atomic
def add_component(
    *,
    page: StatusPage,
    name: str,
    endpoint: Any = None,
    actor: Actor,
    model: Any = None,
    is_group: bool = False,
    group: StatusComponent | None = None,
    description: str = "",
) -> StatusComponent:
    """Show an endpoint, a model or a group on the page under a name that its readers know."""
    if sum((endpoint is not None, model is not None, is_group)) > 1:
        raise IncidentError(gettext("A component is one thing: an endpoint, a model, or a group of components."))
    if group is not None and (not group.is_group or group.page_id != page.pk or is_group):
        raise IncidentError(gettext("A component can only be in a group of its own page, and a group in none."))
    component = StatusComponent.objects.create(
        page=page,
        name=name,
        endpoint=endpoint,
        model=model,
        is_group=is_group,
        group=group,
        description=description,
        position=next_position(page),
    )
    record(
        action="status.add_component",
        target=Target("status_page", page.slug),
        actor=actor,
        data={
            "component": name,
            "endpoint": endpoint.slug if endpoint else "",
            "model": model.slug if model else "",
            "group": group.name if group else "",
            "is_group": is_group,
        },
    )
    changed(page)
    settle(page)
    return component


@transaction.atomic
def retire_component(*, component: StatusComponent, actor: Actor) -> None:
    """Take a component off its page. What was told of it is kept."""
    if component.members.filter(retired_at=None).exists():
        raise IncidentError(
            gettext("%(name)s still has members. Take them off the page first.") % {"name": component.name}
        )
    if not StatusComponent.objects.filter(pk=component.pk, retired_at=None).update(retired_at=Now()):
        raise IncidentError(gettext("%(name)s is on the page no more.") % {"name": component.name})
    record(
        action="status.retire_component",
        target=Target("status_page", component.page.slug),
        actor=actor,
        data={"component": component.name},
    )
    changed(component.page)
    settle(component.page)


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
    quality: str = "",
    components: Sequence[StatusComponent] | None = None,
) -> StatusPost:
    """Tell the readers of a page how things stand with an incident. The components that it names are in the state told
    until it is resolved, or in a worse one that another incident tells of them. Unless some are given, they are those
    behind which the incident's endpoint stands, else those that were told of with it. Raises IncidentError where there
    is none to be in that state."""
    if status not in PostStatus.values or component_state not in ComponentState.values:
        raise IncidentError(gettext("Choose one of the listed states."))
    if quality not in ("", *Quality.values):
        raise IncidentError(gettext("Choose one of the listed qualities, or none."))
    if not operational(status, component_state):
        raise IncidentError(
            gettext("What is resolved leaves its services operational. Tell that it is watched until they are.")
        )
    changed(page)
    named = _of_page(page, components) if components else hit(page, incident) or told_before(page, incident)
    if not named and component_state != ComponentState.OPERATIONAL:
        raise IncidentError(
            gettext("Choose the components that are in this state: the page shows none for the incident.")
        )
    row = tell(
        page=page, incident=incident, status=status, component_state=component_state, quality=quality, text=text,
        next_update_at=next_update_at, by=by, affected=as_told(named, component_state, quality), actor=actor,
    )  # fmt: skip
    sent(page=page, incident=incident)
    return row


def _of_page(page: StatusPage, components: Sequence[StatusComponent]) -> list[StatusComponent]:
    theirs = {one.pk for one in shown(page) if not one.is_group}
    strangers = [one.name for one in components if one.pk not in theirs]
    if strangers:
        raise IncidentError(
            gettext("%(strangers)s is no component of this page that can have a state of its own.")
            % {"strangers": strangers[0]}
        )
    return list(components)


def tell(*, page: StatusPage, text: str, actor: Actor, **fields: Any) -> StatusPost:
    """Write a post, settle the components and put a message for each subscriber into the outbox. For this floor's own
    verbs, in a transaction that has changed the page."""
    if not text.strip():
        raise IncidentError(gettext("Write a sentence that a stakeholder understands."))
    row = StatusPost.objects.create(page=page, text=text.strip(), **fields)
    settle(page)
    about = {"maintenance": str(row.maintenance_id)} if row.maintenance_id else {}
    record(
        action="status.post",
        target=Target("status_page", page.slug),
        actor=actor,
        incident=row.incident.ref if row.incident else "",
        data={
            "post": row.pk,
            "status": row.status,
            "component_state": row.component_state,
            "quality": row.quality,
            "components": [one["name"] for one in row.affected],
        }
        | about,
        reason=text.strip(),
    )
    outbox.tell(row)
    return row


def narrate(*, incident_id: int) -> list[StatusPost]:
    """Post what the incident's state asks for on each page that shows its endpoint, once per state; where the page
    leaves that to a person, propose it."""
    made = []
    with transaction.atomic():
        incident = (
            Incident.objects.select_for_update(of=("self",)).select_related("endpoint__model").get(pk=incident_id)
        )
        wanted = NARRATION.get(incident.state)
        if wanted is None or incident.endpoint is None or incident.told_state == incident.state:
            return []
        Incident.objects.filter(pk=incident.pk).update(told_state=incident.state)
        # All pages are held before the first word is recorded: who posts holds a page first, and the log's end then.
        for page in list(pages_showing(incident).order_by("pk").select_for_update(no_key=True)):
            told = _narrate_on(page, incident, *wanted)
            made += [told] if told else []
    return made


def _narrate_on(page: StatusPage, incident: Incident, status: str, component_state: str) -> StatusPost | None:
    newest = page.posts.filter(incident=incident).first()
    if newest is None and status == PostStatus.RESOLVED:
        overtake(page=page, incident=incident)
        return None
    if newest is not None and newest.status == status:
        return None
    named = hit(page, incident)
    words = words_for(page, incident, named[0].name, status)
    quality = _quality(incident, status)
    if not page.by_itself:
        propose(
            page=page, incident=incident, status=status, component_state=component_state, quality=quality, text=words,
            actor=NARRATOR,
        )  # fmt: skip
        return None
    return post(
        page=page,
        incident=incident,
        status=status,
        component_state=component_state,
        quality=quality,
        text=words,
        by=None,
        actor=NARRATOR,
        next_update_at=None if status == PostStatus.RESOLVED else database_now() + NEXT_UPDATE,
    )


def _quality(incident: Incident, status: str) -> str:
    """What is wrong while it answers: its answers, or, once a rollback is under watch, that they are an earlier
    version's. A slow service's answers are as good as ever."""

    if status == PostStatus.RESOLVED:
        return ""
    if status == PostStatus.MONITORING and rollbacks_of(incident.ref).exists():
        return str(Quality.FALLBACK)
    worse = incident.incident_alerts.exclude(alert__rule__kind="latency").exists()
    return str(Quality.DEGRADED) if worse else ""
