"""Duties to report: marked by a person, on record, with a clock for each report."""

import datetime
from typing import Any

import pytest
from django.utils.html import escape

from audit.clock import database_now
from audit.models import AuditEvent
from audit.queries import status
from audit.readings.records import read
from config.health import InstallationCollector
from incidents import duties
from incidents.errors import Conflict, IncidentError
from incidents.models import DutyState, Incident, IncidentDuty, IncidentState
from incidents.tasks import warn_of_duty
from tests.incidents.world import World

pytestmark = pytest.mark.usefixtures("built")

HOUR = datetime.timedelta(hours=1)


def ticking(incident: Incident, clock: str) -> duties.Ticking:
    incident = Incident.objects.get(pk=incident.pk)
    return next(one for one in duties.clocks_of(incident) if one.clock.id == clock)


def mark(world: World, incident: Incident, clock: str, state: str, **more: Any) -> IncidentDuty:
    typed = {"reason": "Said by counsel.", "actor": world.actor("kofi")} | more
    return duties.mark_duty(incident=incident, clock=clock, state=state, **typed)


def test_a_duty_runs_from_awareness_once_a_person_says_that_it_applies(world: World) -> None:
    incident = world.incident()
    before = ticking(incident, "gdpr-33-authority")
    assert (before.state_at(incident.detected_at), before.due) == ("undecided", None)

    mark(world, incident, "gdpr-33-authority", DutyState.APPLIES)

    after = ticking(incident, "gdpr-33-authority")
    assert after.due == incident.detected_at + 72 * HOUR
    states = [after.state_at(incident.detected_at + hours * HOUR) for hours in (1, 61, 72)]
    assert states == ["running", "soon", "overdue"]
    event = read(AuditEvent.objects.filter(action="duty.apply"))[0]
    assert (event.target, event.incident, event.data["state_before"]) == (
        f"{incident.ref}/gdpr-33-authority", incident.ref, "",
    )  # fmt: skip


def test_a_person_may_say_that_the_organisation_knew_earlier(world: World) -> None:
    incident = world.incident()
    earlier = incident.detected_at - 10 * HOUR
    mark(world, incident, "nis2-23-warning", DutyState.APPLIES, aware_at=earlier)
    assert ticking(incident, "nis2-23-warning").due == earlier + 24 * HOUR


def test_a_later_report_waits_for_the_one_before_it(world: World) -> None:
    incident = world.incident()
    mark(world, incident, "nis2-23-final", DutyState.APPLIES)
    waiting = ticking(incident, "nis2-23-final")
    assert (waiting.due, waiting.waits_for) == (None, "Incident notification")
    assert waiting.state_at(incident.detected_at) == "waits"
    sent = mark(world, incident, "nis2-23-notification", DutyState.NOTIFIED)
    assert sent.notified_at is not None
    due = ticking(incident, "nis2-23-final").due
    assert due is not None
    assert 28 <= (due - sent.notified_at).days <= 31


def test_dora_counts_from_the_classification_but_never_beyond_a_day_of_awareness(world: World) -> None:
    incident = world.incident()
    aware = incident.detected_at - 22 * HOUR
    said = mark(world, incident, "dora-19-initial", DutyState.APPLIES, aware_at=aware)
    assert ticking(incident, "dora-19-initial").due == aware + 24 * HOUR
    assert said.applied_at is not None
    assert said.applied_at + 4 * HOUR > aware + 24 * HOUR


def test_a_report_that_was_sent_late_stays_marked_so(world: World) -> None:
    incident = world.incident()
    aware = incident.detected_at - 100 * HOUR
    mark(world, incident, "gdpr-33-authority", DutyState.NOTIFIED, aware_at=aware)
    assert ticking(incident, "gdpr-33-authority").state_at(incident.detected_at + HOUR) == "sent late"


@pytest.mark.parametrize(
    "wrong",
    [
        {"clock": "tax-return"},
        {"state": "perhaps"},
        {"reason": "  "},
        {"aware_at": datetime.datetime(2999, 1, 1, tzinfo=datetime.UTC)},
        {"notified_at": datetime.datetime(2999, 1, 1, tzinfo=datetime.UTC)},
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(world: World, wrong: dict[str, Any]) -> None:
    incident = world.incident()
    events = AuditEvent.objects.count()
    typed = {"clock": "gdpr-33-authority", "state": DutyState.APPLIES, "reason": "Why"} | wrong
    with pytest.raises(IncidentError):
        duties.mark_duty(incident=incident, actor=world.actor("kofi"), **typed)
    assert (IncidentDuty.objects.count(), AuditEvent.objects.count()) == (0, events)


def test_who_saw_an_older_mark_changes_nothing(world: World) -> None:
    incident = world.incident()
    first = mark(world, incident, "gdpr-33-authority", DutyState.APPLIES)
    mark(world, incident, "gdpr-33-authority", DutyState.NOTIFIED, seen_version=first.version)
    with pytest.raises(Conflict):
        mark(world, incident, "gdpr-33-authority", DutyState.DISMISSED, seen_version=first.version)
    assert IncidentDuty.objects.get().state == DutyState.NOTIFIED


def test_a_commander_marks_on_the_page_and_others_read(world: World) -> None:
    incident = world.incident()
    kofi, rosa = world.client("kofi"), world.client("rosa")
    address = f"/incidents/{incident.ref}/duties/"
    assert f"{address}gdpr-33-authority/" in kofi.get(address).content.decode()
    assert f"{address}gdpr-33-authority/" not in rosa.get(address).content.decode()
    typed = {"version": 0, "state": "applies", "reason": "Names were shown."}
    assert rosa.post(f"{address}gdpr-33-authority/", typed).status_code == 403
    assert IncidentDuty.objects.count() == 0
    assert kofi.get(f"{address}gdpr-33-authority/").status_code == 200
    assert kofi.post(f"{address}gdpr-33-authority/", typed).status_code == 302
    assert kofi.post(f"{address}gdpr-33-authority/", typed).status_code == 409
    assert kofi.post(f"{address}gdpr-33-authority/", typed | {"reason": ""}).status_code == 400
    assert kofi.get(f"{address}tax-return/").status_code == 404
    assert "1 report is owed" in rosa.get(address).content.decode()


def test_auditors_see_the_clocks_of_open_incidents_and_of_owed_reports(world: World) -> None:
    incident = world.incident()
    mark(world, incident, "ai-act-73-general", DutyState.APPLIES)
    Incident.objects.filter(pk=incident.pk).update(state=IncidentState.CLOSED)
    assert [one.clock.id for one in duties.clocks_of_open() if one.mark] == ["ai-act-73-general"]
    idris = world.client("idris")
    page = idris.get("/audit/clocks/").content.decode()
    assert "Serious incident: report" in page
    assert 'method="post" action="/incidents/' not in page
    taken = idris.post("/audit/clocks.csv").content.decode().splitlines()
    assert len(taken) == 1 + len(duties.clocks_of(incident))
    assert '"running"' in "".join(taken)


# --- when a deadline is near, or has passed --------------------------------------------------------------------------


def test_a_report_that_is_soon_due_or_overdue_is_an_alarm_until_it_was_sent(world: World) -> None:
    incident = world.incident()
    assert (duties.alarms(), duties.overdue_and_soon()) == ([], {"soon": 0, "overdue": 0})
    late = incident.detected_at - 75 * HOUR
    owed = mark(world, incident, "gdpr-33-authority", DutyState.APPLIES, aware_at=late)
    mark(world, incident, "nis2-23-warning", DutyState.APPLIES, aware_at=incident.detected_at - 17 * HOUR)
    mark(world, incident, "ai-act-73-general", DutyState.APPLIES)
    first, second = duties.alarms()
    due = late + 72 * HOUR
    what = f"{incident.ref}: GDPR Article 33(1), “Supervisory authority notified”,"
    assert f"{what} was due at {due:%Y-%m-%d %H:%M} UTC, " in first
    assert "3 h ago. Send it, and mark it as sent." in first
    assert "“Early warning”, is due in 6 h, at " in second
    assert status().alarms[-2:] == [first, second]
    page = world.client("idris").get("/audit/").content.decode()
    assert escape(first) in page
    figures = {metric.name: metric.samples for metric in InstallationCollector().collect()}
    told = {sample.labels["deadline"]: sample.value for sample in figures["lastgood_duty_reports"]}
    assert told == {"soon": 1.0, "overdue": 1.0}
    mark(world, incident, "gdpr-33-authority", DutyState.NOTIFIED, seen_version=owed.version)
    assert duties.alarms() == [second]


def test_the_clock_puts_a_deadline_on_record_when_it_is_near_and_when_it_has_passed(world: World) -> None:
    incident = world.incident()
    now = database_now()
    said = mark(world, incident, "gdpr-33-authority", DutyState.APPLIES, aware_at=now - 66 * HOUR)
    later = mark(world, incident, "ai-act-73-general", DutyState.APPLIES)
    assert duties.unwarned(now) == [said.pk]
    warn_of_duty(said.pk)
    warn_of_duty(said.pk)
    warn_of_duty(later.pk)
    assert duties.unwarned(now) == []
    IncidentDuty.objects.filter(pk=said.pk).update(aware_at=now - 73 * HOUR)
    assert duties.unwarned(now) == [said.pk]
    warn_of_duty(said.pk)
    warn_of_duty(said.pk)
    told = AuditEvent.objects.filter(target_id=f"{incident.ref}/gdpr-33-authority").order_by("id")
    assert list(told.values_list("action", "actor")) == [
        ("duty.apply", world.actor("kofi").id),
        ("duty.soon", "svc:clock"),
        ("duty.overdue", "svc:clock"),
    ]
    mark(world, incident, "gdpr-33-authority", DutyState.APPLIES, aware_at=now - 66 * HOUR, seen_version=said.version)
    assert duties.unwarned(now) == [said.pk], "it was said anew when they became aware"
