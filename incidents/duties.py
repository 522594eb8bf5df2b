"""Duties to report an incident, with their clocks: what a person says of each, and when each report is due."""

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db import transaction
from django.db.models import F
from django.utils.translation import gettext, ngettext

from audit.actions import Actor, Target, record, service_actor
from audit.canonical import instant
from audit.clock import database_now
from audit.duties import NEWEST, Clock, Duty, load
from incidents.errors import Conflict, IncidentError
from incidents.models import OPEN_STATES, DutyState, Incident, IncidentDuty

SOON = datetime.timedelta(hours=12)
CLOCK = service_actor("clock")
PRESSING = ("soon", "overdue")


@dataclass(frozen=True)
class Ticking:
    """One deadline of one incident. `due` is None while nothing has started it, or it does not apply."""

    incident: Incident
    duty: Duty
    clock: Clock
    mark: IncidentDuty | None
    aware_at: datetime.datetime
    due: datetime.datetime | None
    waits_for: str = ""

    def state_at(self, moment: datetime.datetime) -> str:
        """undecided, does not apply, sent, sent late, waits, overdue, soon or running."""
        if self.mark is None:
            return "undecided"
        if self.mark.state == DutyState.DISMISSED:
            return "does not apply"
        sent = self.mark.notified_at
        if sent is not None:
            return "sent late" if self.due is not None and sent > self.due else "sent"
        if self.due is None:
            return "waits"
        return "overdue" if self.due <= moment else "soon" if self.due - moment <= SOON else "running"

    def sentence_at(self, moment: datetime.datetime) -> str:
        """Which report is owed, until when, and how long that is from then; for one that is soon due, or overdue."""
        due = self.due or moment
        what = f"{self.incident.ref}: {self.duty.source.partition(',')[0]} {self.duty.article}, “{self.clock.label}”,"
        when = f"{due:%Y-%m-%d %H:%M} UTC"
        if due <= moment:
            return gettext("%(what)s was due at %(when)s, %(roughly)s ago. Send it, and mark it as sent.") % {
                "what": what,
                "when": when,
                "roughly": _roughly(moment - due),
            }
        return gettext("%(what)s is due in %(roughly)s, at %(when)s.") % {
            "what": what,
            "roughly": _roughly(due - moment),
            "when": when,
        }


def _roughly(span: datetime.timedelta) -> str:
    """Such as `6 h`, `45 min` or `3 days`, rounded down."""
    minutes = int(span.total_seconds() // 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else gettext("%(days)s days") % {"days": minutes // (24 * 60)}


def pressing() -> list[Ticking]:
    """The deadlines that are soon due or overdue, the earliest first; one query where no report is owed."""
    if not IncidentDuty.objects.filter(state=DutyState.APPLIES).exists():
        return []
    now = database_now()
    found = [one for one in clocks_of_open() if one.state_at(now) in PRESSING]
    return sorted(found, key=lambda one: one.due or now)


def alarms() -> list[str]:
    """A sentence for each deadline that is soon due, or overdue."""
    found = pressing()
    now = database_now() if found else None
    return [one.sentence_at(now) for one in found if now]


def overdue_and_soon() -> dict[str, int]:
    """How many reports are overdue, and how many are due within SOON."""
    found, now = pressing(), database_now()
    states = [one.state_at(now) for one in found]
    return {state: states.count(state) for state in PRESSING}


def unwarned(now: datetime.datetime) -> list[int]:
    """Marks whose deadline came near, or passed, and that is not on record yet."""
    if not IncidentDuty.objects.filter(state=DutyState.APPLIES).exclude(warned="overdue").exists():
        return []
    return [
        one.mark.pk
        for one in clocks_of_open()
        if one.mark and (state := one.state_at(now)) in PRESSING and one.mark.warned not in (state, "overdue")
    ]


@transaction.atomic
def warn(*, duty_id: int) -> bool:
    """Put on record that a deadline is near, or has passed, once each. False where there is nothing to say."""
    mark = IncidentDuty.objects.select_related("incident").get(pk=duty_id)
    now = database_now()
    one = next(one for one in clocks_of(mark.incident) if one.clock.id == mark.clock)
    state = one.state_at(now)
    if state not in PRESSING or mark.warned in (state, "overdue"):
        return False
    if not IncidentDuty.objects.filter(pk=mark.pk, version=mark.version, warned=mark.warned).update(warned=state):
        return False
    record(
        action=f"duty.{state}",
        target=Target("duty", f"{mark.incident.ref}/{mark.clock}"),
        actor=CLOCK,
        incident=mark.incident.ref,
        data={"clock": mark.clock, "edition": mark.edition, "due": instant(one.due or now)},
    )
    return True


def clocks_of(incident: Incident) -> list[Ticking]:
    """Every deadline that could apply to the incident, in the order of the duties; one query."""
    return _ticking(incident, list(incident.duties.all()))


def clocks_of_open() -> list[Ticking]:
    """The same for all incidents that are open, and for those whose report is still owed; two queries."""
    owed = IncidentDuty.objects.filter(state=DutyState.APPLIES).values("incident")
    shown = Incident.objects.filter(state__in=OPEN_STATES) | Incident.objects.filter(pk__in=owed)
    incidents = shown.select_related("endpoint").prefetch_related("duties").order_by("-number")
    return [one for incident in incidents for one in _ticking(incident, list(incident.duties.all()))]


def _ticking(incident: Incident, marks: Sequence[IncidentDuty]) -> list[Ticking]:
    by_clock = {mark.clock: mark for mark in marks}
    found = []
    for duty, clock in load().clocks:
        mark = by_clock.get(clock.id)
        aware = mark.aware_at if mark else incident.detected_at
        begun = _begun(clock, mark, by_clock, aware)
        applies = mark is not None and mark.state != DutyState.DISMISSED
        due = clock.due(begun, aware) if applies and begun else None
        waits = "" if begun else load().clock(clock.starts)[1].label if clock.starts in _ids() else ""
        found.append(Ticking(incident, duty, clock, mark, aware, due, waits))
    return found


def _ids() -> set[str]:
    return {clock.id for _, clock in load().clocks}


def _begun(
    clock: Clock, mark: IncidentDuty | None, marks: dict[str, IncidentDuty], aware: datetime.datetime
) -> datetime.datetime | None:
    """The moment from which the clock runs; None while the report before it was not sent."""
    if clock.starts == "awareness":
        return aware
    if clock.starts == "classification":
        return mark.applied_at if mark else None
    before = marks.get(clock.starts)
    return before.notified_at if before else None


def mark_duty(
    *,
    incident: Incident,
    clock: str,
    state: str,
    reason: str,
    actor: Actor,
    aware_at: datetime.datetime | None = None,
    notified_at: datetime.datetime | None = None,
    seen_version: int = 0,
) -> IncidentDuty:
    """Say of a deadline that it applies, does not, or that its report was sent. `seen_version` is the mark's version as
    it was read, 0 where there was none.

    `aware_at` is when the organisation became aware (else as it was said before, or when the incident was detected);
    `notified_at` when the report was sent (now, where nothing is given). Raises IncidentError, and Conflict when
    somebody else has marked it meanwhile.
    """
    try:
        load().clock(clock)
    except KeyError:
        raise IncidentError(gettext("There is no duty %(clock)s. Choose one of the list.") % {"clock": clock}) from None
    if state not in DutyState.values:
        raise IncidentError(gettext("A duty is one of %(names)s.") % {"names": ", ".join(DutyState.values)})
    if not reason.strip():
        raise IncidentError(gettext("Say in a sentence why, or to whom and how the report went; it goes on record."))
    now = database_now()
    if (aware_at is not None and aware_at > now) or (notified_at is not None and notified_at > now):
        raise IncidentError(gettext("That moment lies ahead. Give one that has passed, in UTC."))
    with transaction.atomic():
        return _mark(incident, clock, state, reason, actor, aware_at, notified_at or now, seen_version, now)


def _mark(
    incident: Incident,
    clock: str,
    state: str,
    reason: str,
    actor: Actor,
    aware_at: datetime.datetime | None,
    sent_at: datetime.datetime,
    seen_version: int,
    now: datetime.datetime,
) -> IncidentDuty:
    Incident.objects.select_for_update(of=("self",)).get(pk=incident.pk)
    before = IncidentDuty.objects.filter(incident=incident, clock=clock).first()
    if seen_version != (before.version if before else 0):
        raise Conflict(before.version if before else 0)
    aware = aware_at or (before.aware_at if before else incident.detected_at)
    applied = (before.applied_at if before else None) or now
    fields = {
        "state": state,
        "edition": NEWEST,
        "aware_at": aware,
        "applied_at": None if state == DutyState.DISMISSED else applied,
        "notified_at": sent_at if state == DutyState.NOTIFIED else None,
        "warned": "",
    }
    if before is None:
        mark = IncidentDuty.objects.create(incident=incident, clock=clock, **fields)
    else:
        changed = IncidentDuty.objects.filter(pk=before.pk, version=before.version)
        if changed.update(version=F("version") + 1, **fields) != 1:
            raise Conflict(before.version)
        mark = IncidentDuty.objects.get(pk=before.pk)
    verbs = {DutyState.APPLIES: "apply", DutyState.DISMISSED: "dismiss", DutyState.NOTIFIED: "notify"}
    data = {
        "clock": clock,
        "edition": NEWEST,
        "aware_at": instant(aware),
        "state_before": before.state if before else "",
    }
    if mark.notified_at is not None:
        data["notified_at"] = instant(mark.notified_at)
    record(
        action=f"duty.{verbs[DutyState(state)]}",
        target=Target("duty", f"{incident.ref}/{clock}"),
        actor=actor,
        incident=incident.ref,
        data=data | {"state": state},
        reason=reason,
    )
    return mark


def worst(found: Iterable[Ticking], moment: datetime.datetime) -> tuple[str, str]:
    """How things stand with all of them, as a sentence and its tone."""
    states = [one.state_at(moment) for one in found]
    overdue, soon, running = states.count("overdue"), states.count("soon"), states.count("running")
    if overdue:
        return ngettext("%(overdue)s report is overdue.", "%(overdue)s reports are overdue.", overdue) % {
            "overdue": overdue
        }, "bad"
    if soon:
        return ngettext(
            "%(soon)s report is due within 12 hours.", "%(soon)s reports are due within 12 hours.", soon
        ) % {"soon": soon}, "warn"
    if running:
        return ngettext(
            "%(running)s report is owed, none within 12 hours.",
            "%(running)s reports are owed, none within 12 hours.",
            running,
        ) % {"running": running}, "busy"
    if states and all(state == "undecided" for state in states):
        return gettext("Nobody has said yet which duties to report apply."), "warn"
    return gettext("No report is owed."), "ok"
