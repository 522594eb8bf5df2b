"""Drafts: what Lastgood would tell of an incident's new state, proposed to a person who sends it, changes it or not."""

from django.db import transaction

from audit.actions import Actor, Target, record
from incidents.errors import IncidentError
from incidents.models import Incident, StatusPage
from incidents.telling.models import Draft, DraftState


def propose(
    *, page: StatusPage, incident: Incident, status: str, component_state: str, quality: str, text: str, actor: Actor
) -> Draft:
    """Put a draft before the people who publish; it takes the place of an earlier one about the incident. Call it in a
    transaction that holds the incident's row."""
    _end(page, incident, DraftState.OVERTAKEN)
    draft = Draft.objects.create(
        page=page, incident=incident, status=status, component_state=component_state, quality=quality, text=text
    )
    record(
        action="status.draft",
        target=Target("status_page", page.slug),
        actor=actor,
        incident=incident.ref,
        data={"draft": draft.pk, "status": status},
        reason=text,
    )
    return draft


def sent(*, page: StatusPage, incident: Incident) -> None:
    """Something was told of the incident: its draft waits no more."""
    _end(page, incident, DraftState.SENT)


def _end(page: StatusPage, incident: Incident, state: str) -> None:
    Draft.objects.filter(page=page, incident=incident, state=DraftState.OPEN).update(state=state)


@transaction.atomic
def dismiss(*, draft: Draft, actor: Actor) -> None:
    """Decide that a draft is not told."""
    if not Draft.objects.filter(pk=draft.pk, state=DraftState.OPEN).update(state=DraftState.DISMISSED):
        raise IncidentError("This draft waits no more.")
    record(
        action="status.dismiss_draft",
        target=Target("status_page", draft.page.slug),
        actor=actor,
        incident=draft.incident.ref,
        data={"draft": draft.pk, "status": draft.status},
    )
