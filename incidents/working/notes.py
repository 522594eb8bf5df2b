"""What people add to an incident's timeline: notes, corrections beside events, pins. Nothing there is ever changed."""

from collections.abc import Mapping

from django.db import IntegrityError, transaction
from django.utils.translation import gettext

from audit.actions import Actor, Target, record
from audit.models import AuditEvent
from incidents.errors import IncidentError
from incidents.models import Incident
from incidents.working.models import Note, Pin

AMEND = "incident.amend"


def put_on_record(
    incident: Incident, action: str, actor: Actor, data: Mapping[str, object], reason: str = ""
) -> AuditEvent:
    """An event of the incident as it is now, in the caller's transaction."""
    target = Target("incident", incident.ref, str(incident.version))
    return record(action=action, target=target, actor=actor, incident=incident.ref, data=data, reason=reason)


def _kept(incident: Incident, event: AuditEvent, text: str) -> AuditEvent:
    """The log keeps the words sealed, where nothing finds them."""
    Note.objects.create(incident=incident, seq=event.incident_seq or 0, text=text.strip())
    return event


def _event(incident: Incident, seq: int) -> AuditEvent:
    found = AuditEvent.objects.filter(incident=incident.ref, incident_seq=seq).first()
    if found is None:
        raise IncidentError(
            gettext("%(ref)s has no event %(seq)s. Take the number from its timeline.")
            % {"ref": incident.ref, "seq": seq}
        )
    return found


@transaction.atomic
def add_note(*, incident: Incident, text: str, actor: Actor) -> AuditEvent:
    """Put a person's words on the timeline; they can be erased like any, the event stays."""
    if not text.strip():
        raise IncidentError(gettext("Write at least a word."))
    return _kept(incident, put_on_record(incident, "incident.note", actor, {}, text.strip()), text)


@transaction.atomic
def amend(*, incident: Incident, seq: int, text: str, actor: Actor) -> AuditEvent:
    """Put a correction beside an event of the incident, which goes on to say what it said."""
    event = _event(incident, seq)
    if event.action == AMEND:
        raise IncidentError(gettext("That is a correction itself. Correct the event that it is about."))
    if not text.strip():
        raise IncidentError(gettext("Write what is right instead."))
    return _kept(incident, put_on_record(incident, AMEND, actor, {"amends": seq}, text.strip()), text)


@transaction.atomic
def pin(*, incident: Incident, seq: int, actor: Actor) -> Pin:
    """Keep an event in sight, above the timeline."""
    _event(incident, seq)
    try:
        with transaction.atomic():
            made = Pin.objects.create(incident=incident, seq=seq)
    except IntegrityError:
        raise IncidentError(gettext("Event %(seq)s is pinned already. Nothing was changed.") % {"seq": seq}) from None
    put_on_record(incident, "incident.pin", actor, {"seq": seq})
    return made


@transaction.atomic
def unpin(*, incident: Incident, seq: int, actor: Actor) -> None:
    if not Pin.objects.filter(incident=incident, seq=seq).delete()[0]:
        raise IncidentError(gettext("Event %(seq)s is not pinned. Nothing was changed.") % {"seq": seq})
    put_on_record(incident, "incident.unpin", actor, {"seq": seq})
