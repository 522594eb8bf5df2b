"""Drafts: what Lastgood would tell of an incident's new state, proposed to a person who sends it, changes it or not."""

from django.db import transaction
from django.utils.translation import gettext

from audit.actions import Actor, Target, record
from incidents.errors import IncidentError
from incidents.models import Incident, StatusPage
from incidents.status_words import FIELDS, unknown_fields
from incidents.telling.models import Draft, DraftState, Template


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


def overtake(*, page: StatusPage, incident: Incident) -> None:
    """The incident has gone on to where nothing is to be told of it: its draft waits no more."""
    _end(page, incident, DraftState.OVERTAKEN)


def sent(*, page: StatusPage, incident: Incident) -> None:
    """Something was told of the incident: its draft waits no more."""
    _end(page, incident, DraftState.SENT)


def _end(page: StatusPage, incident: Incident, state: str) -> None:
    Draft.objects.filter(page=page, incident=incident, state=DraftState.OPEN).update(state=state)


@transaction.atomic
def set_words(*, page: StatusPage, status: str, text: str, actor: Actor) -> None:
    """Have Lastgood say this of that status on the page; nothing brings its own sentence back. Raises IncidentError for
    braces that don't match, and for a name in them of which nothing is known."""
    try:
        unknown = unknown_fields(text)
    except ValueError:
        unknown = ["{ without its }"]
    if unknown:
        raise IncidentError(
            gettext("Nothing is known of %(unknown)s. Put in braces: %(names)s.")
            % {"unknown": unknown[0], "names": ", ".join(FIELDS)}
        )
    if text.strip():
        Template.objects.update_or_create(page=page, status=status, defaults={"text": text.strip()})
    else:
        Template.objects.filter(page=page, status=status).delete()
    record(
        action="status.set_words",
        target=Target("status_page", page.slug),
        actor=actor,
        data={"status": status, "own": bool(text.strip())},
        reason=text.strip(),
    )


@transaction.atomic
def dismiss(*, draft: Draft, actor: Actor) -> None:
    """Decide that a draft is not told."""
    if not Draft.objects.filter(pk=draft.pk, state=DraftState.OPEN).update(state=DraftState.DISMISSED):
        raise IncidentError(gettext("This draft waits no more."))
    record(
        action="status.dismiss_draft",
        target=Target("status_page", draft.page.slug),
        actor=actor,
        incident=draft.incident.ref,
        data={"draft": draft.pk, "status": draft.status},
    )
