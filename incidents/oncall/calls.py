"""The words of a call, and of what is told to channels and pagers once somebody has it, or it is over."""

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core import signing
from django.urls import reverse
from django.utils.translation import gettext

from accounts.models import User
from audit.english import outside
from incidents.errors import IncidentError
from incidents.models import Incident
from incidents.oncall.fired import fired_lines
from incidents.oncall.models import Contact, Escalation

LINK = "oncall.call"


@outside()
def call_words(
    escalation: Escalation, contact: Contact, called: list[str], now: datetime, seconds: int
) -> dict[str, Any]:
    """What a call says. `called`: names of all who are called with it; `seconds`: until the next are."""
    incident = escalation.incident
    lines = [
        gettext("%(ref)s, severity %(severity)s: %(title)s")
        % {"ref": incident.ref, "severity": escalation.severity, "title": incident.title},
        gettext("Detected %(detected_at)s UTC. %(standing)s")
        % {"detected_at": f"{incident.detected_at:%Y-%m-%d %H:%M}", "standing": _standing(escalation)},
        *fired_lines(incident),
        gettext("Called now: %(called)s.") % {"called": ", ".join(called)} if called else "",
        gettext("If nobody answers until %(now)s UTC, others are called.")
        % {"now": f"{now + timedelta(seconds=seconds):%H:%M}"},
        gettext("Say that you have it, hand it over, or call the next at once:"),
    ]
    return _words(escalation, "trigger", now) | {
        "type": "oncall.call",
        "subject": gettext("Severity %(severity)s: %(ref)s %(title)s")
        % {"severity": escalation.severity, "ref": incident.ref, "title": incident.title},
        "text": "\n".join(line for line in lines if line),
        "link": f"{settings.LASTGOOD_PUBLIC_URL}{reverse('oncall-answer', args=[_token(escalation, contact)])}",
    }


def _standing(escalation: Escalation) -> str:
    if escalation.wave:
        return gettext("Somebody had it, and it needs somebody again.")
    if escalation.past:
        return gettext("Nobody has answered, and everybody is called.")
    return gettext("Nobody has it yet.")


@outside()
def settled_words(escalation: Escalation, event: str, said: str, now: datetime) -> dict[str, Any]:
    """What follows a call: `event` is acknowledge or resolve, `said` a sentence."""
    incident = escalation.incident
    return _words(escalation, event, now) | {
        "type": f"oncall.{event}",
        "subject": f"{incident.ref}: {said}",
        "text": gettext("%(ref)s, severity %(severity)s: %(title)s\n%(said)s")
        % {"ref": incident.ref, "severity": escalation.severity, "title": incident.title, "said": said},
        "link": f"{settings.LASTGOOD_PUBLIC_URL}{reverse('incident-detail', args=[incident.ref])}",
    }


def _words(escalation: Escalation, event: str, now: datetime) -> dict[str, Any]:
    incident: Incident = escalation.incident
    here = urlsplit(settings.LASTGOOD_PUBLIC_URL).hostname
    return {
        "incident": incident.ref,
        "severity": escalation.severity,
        "source": incident.endpoint.slug if incident.endpoint else "",
        "at": now.isoformat(timespec="milliseconds"),
        "event": event,
        "dedup_key": f"{here}/{incident.ref}/{escalation.pk}.{escalation.wave}",
    }


def _token(escalation: Escalation, contact: Contact) -> str:
    return signing.dumps([escalation.pk, contact.pk], salt=LINK)


def escalation_of(token: str) -> tuple[Escalation, Contact]:
    """What the link of a call is about. Raises IncidentError for one of which a part is missing."""
    try:
        escalation, contact = signing.loads(token, salt=LINK)
    except (signing.BadSignature, ValueError, TypeError):
        raise IncidentError(gettext("A part of this link is missing. Open the incident from the first page.")) from None
    found = Escalation.objects.select_related("incident__endpoint__model", "taken_by").filter(pk=escalation).first()
    way = Contact.objects.select_related("user", "receiver").filter(pk=contact).first()
    if found is None or way is None:
        raise IncidentError(gettext("This link leads to nothing. Open the incident from the first page."))
    return found, way


def names_of(ways: list[Contact]) -> list[str]:
    """People by name and channels by theirs, each once."""
    return list(dict.fromkeys(_name(way) for way in ways))


def _name(way: Contact) -> str:
    user: User | None = way.user
    return str(user) if user else way.name
