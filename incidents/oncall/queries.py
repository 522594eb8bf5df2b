"""The reads behind the panels: who was called to an incident, and what nobody has taken."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Prefetch
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from accounts.permissions import may_on
from audit.clock import database_now
from incidents.due import untaken_alerts
from incidents.models import OPEN_STATES, Incident
from incidents.oncall.models import OPEN, Call, Escalation, State
from incidents.oncall.policies import in_use, policy_for
from incidents.oncall.targets import everybody
from incidents.telling.maintenance import maintenance_of
from incidents.telling.models import MessageState
from monitoring.models import Alert

TAKEN_BY_NOW = timedelta(seconds=10)
"""An alert that no incident has for longer than this stands on the first page itself."""
SHOWN = 30
ANSWERS = {
    MessageState.WAITING: _("on its way"),
    MessageState.SENT: "delivered",
    MessageState.GIVEN_UP: _("could not be delivered"),
    MessageState.CANCELLED: _("not sent any more"),
}


@dataclass(frozen=True)
class Told:
    """A call for people. `tone` is a state's word of `parts`."""

    at: datetime
    who: str
    how: str
    step: int
    answer: str
    tone: str
    detail: str


def _told(call: Call) -> Told:
    who = str(call.user) if call.user else call.contact.name
    tries = list(call.message.tries.all())
    detail = "" if not tries or tries[-1].taken else tries[-1].answer
    how = call.contact.receiver.get_kind_display()
    if call.answered_at:
        return Told(call.at, who, how, call.step, gettext("has it"), "ok", "")
    tone = {MessageState.SENT: "busy", MessageState.GIVEN_UP: "bad"}.get(MessageState(call.message.state), "quiet")
    return Told(call.at, who, how, call.step, ANSWERS[MessageState(call.message.state)], tone, detail)


def _calls() -> Prefetch:
    rows = Call.objects.select_related("user", "contact__receiver", "message").prefetch_related("message__tries")
    return Prefetch("calls", queryset=rows.order_by("-pk"), to_attr="newest")


def newest(incident: Incident) -> Escalation | None:
    """The newest escalation of an incident with its calls, the newest first."""
    rows = Escalation.objects.filter(incident=incident).select_related("policy", "taken_by", "incident")
    return rows.prefetch_related(_calls()).first()


def panel(incident: Incident, user: User) -> dict[str, Any]:
    """What the escalation's panel on an incident's page shows to this reader."""
    one = newest(incident)
    is_open = incident.state in OPEN_STATES
    answers = is_open and one is not None and one.state in OPEN and may_on(user, "incident.respond", incident)
    return {
        "escalation": one,
        "said": _sentence(one, incident) if one or is_open else "",
        "calls": [_told(call) for call in one.newest[:SHOWN]] if one else [],
        "may_take": answers and one is not None and one.state == State.WAKING,
        "may_pass": answers,
        "others": [person for person in everybody(incident) if person.pk != user.pk] if answers else [],
    }


def _sentence(one: Escalation | None, incident: Incident) -> str:
    if one is None:
        return _why_nobody(incident)
    if one.state == State.ENDED:
        return gettext("It is over; nobody is called any more.")
    if one.state == State.TAKEN:
        return gettext("%(taken_by)s has it.") % {"taken_by": one.taken_by or "Somebody"}
    if not one.newest:
        return gettext("Nobody has it. The policy %(policy)s calls the first now.") % {"policy": one.policy}
    reached = list(dict.fromkeys(_told(call).who for call in one.newest if call.wave == one.wave))
    more = gettext(" and %(count)s more") % {"count": len(reached) - 3} if len(reached) > 3 else ""
    who = (
        gettext("Called: %(reached)s%(more)s; nobody has answered.") % {"reached": ", ".join(reached[:3]), "more": more}
        if reached
        else gettext("Nobody could be reached.")
    )
    return gettext("%(who)s The next are called at %(due_at)s UTC.") % {"who": who, "due_at": f"{one.due_at:%H:%M:%S}"}


def _why_nobody(incident: Incident) -> str:
    policy = policy_for(incident)
    if policy is None:
        return gettext("Nobody is woken: no escalation policy is for severity %(severity)s here.") % {
            "severity": incident.severity
        }
    window = maintenance_of(incident.endpoint) if incident.endpoint else None
    if window is not None:
        return gettext("Nobody is woken while “%(title)s” is under way.") % {"title": window.title}
    return gettext("The policy %(policy)s begins to call now.") % {"policy": policy}


def untaken(going_on: list[Incident], user: User) -> list[dict[str, Any]]:
    """Of the open incidents those that nobody has, the worst and oldest first, with what was done to wake somebody, and
    whether this reader may take them. At most a page of them; a few queries however many there are."""
    rows = Escalation.objects.filter(incident__in=going_on, state__in=OPEN).select_related("policy", "taken_by")
    woken = {row.incident_id: row for row in rows.prefetch_related(_calls())} if going_on else {}
    policies = in_use() if going_on else []
    found = []
    for incident in going_on:
        one = woken.get(incident.pk)
        if one.state == State.TAKEN if one else incident.acknowledged_at is not None:
            continue
        if one is not None:
            said = _sentence(one, incident)
        elif policy_for(incident, policies) is None:
            said = gettext("Nobody is woken: no escalation policy is for severity %(severity)s here.") % {
                "severity": incident.severity
            }
        else:
            said = _why_nobody(incident)
        since = one.woken_at if one and one.wave else incident.detected_at
        may_take = one is not None and may_on(user, "incident.respond", incident)
        found.append({"incident": incident, "since": since, "said": said, "escalation": one, "may_take": may_take})
    return sorted(found, key=lambda one: (one["incident"].severity, one["since"]))[:SHOWN]


def lost_alerts() -> list[Alert]:
    """Firing alerts that no incident has although it should have by now: whoever takes them is behind, or dead."""
    lost = untaken_alerts(database_now() - TAKEN_BY_NOW)
    return list(Alert.objects.filter(pk__in=lost).order_by("fired_at")[:10]) if lost else []
