"""Maintenance is announced, begins and ends by itself, and is over when its time is, whatever happened meanwhile."""

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone

from audit.clock import database_now
from audit.models import AuditEvent
from incidents import status
from incidents.errors import IncidentError
from incidents.models import StatusPost
from incidents.telling import maintenance
from incidents.telling.models import Kind, Maintenance, Message
from tests.incidents.telling.made import TEST, Told, build

HOUR = timedelta(hours=1)


@pytest.fixture
def told(db: None) -> Told:
    return build()


def planned(told: Told, begins: timedelta = 3 * HOUR, **fields: Any) -> Maintenance:
    start = database_now() + begins
    values = {"title": "New driver", "text": "Letters come later.", "components": [told.letters],
              "starts_at": start, "ends_at": start + HOUR}  # fmt: skip
    return maintenance.plan(page=told.page, by=None, actor=TEST, **(values | fields))


def time_goes_by(hours: float) -> None:
    """The clock is the database's: what lies ahead comes nearer."""
    by = timedelta(hours=hours)
    Maintenance.objects.update(
        starts_at=F("starts_at") - by, ends_at=F("ends_at") - by, remind_at=F("remind_at") - by
    )  # fmt: skip


def wake() -> list[str]:
    return [maintenance.wake(maintenance_id=pk) for pk in maintenance.due_maintenances(database_now())]


def test_it_is_announced_reminded_of_begun_and_ended_by_the_clock(told: Told) -> None:
    told.subscriber("reader@example.org", Kind.EMAIL, told.letters)
    told.subscriber("other@example.org", Kind.EMAIL, told.offers)
    planned(told)
    seen = []
    for hours in (1, 1.5, 1, 1):
        time_goes_by(hours)
        seen.append((wake(), told.page.components.get(pk=told.letters.pk).state))
        assert wake() == []
    assert seen == [
        ([], "operational"), (["reminded"], "operational"), (["in_progress"], "under_maintenance"),
        (["completed"], "operational"),
    ]  # fmt: skip
    statuses = list(StatusPost.objects.order_by("id").values_list("status", flat=True))
    assert statuses == ["scheduled", "scheduled", "in_progress", "completed"]
    assert set(Message.objects.values_list("subscriber__address", flat=True)) == {"reader@example.org"}
    assert Message.objects.count() == 4
    assert AuditEvent.objects.filter(action="status.turn_maintenance").count() == 2


def test_what_nobody_began_in_its_time_is_called_off_and_not_begun(told: Told) -> None:
    planned(told)
    time_goes_by(9)
    assert wake() == ["cancelled"]
    assert told.page.components.get(pk=told.letters.pk).state == "operational"


def test_an_outage_during_maintenance_is_the_worse_of_the_two_and_each_ends_alone(told: Told) -> None:
    planned(told, timedelta(minutes=1))
    time_goes_by(0.02)
    assert wake() == ["in_progress"]
    states = []
    for act in (told.post, lambda: told.post(status_="resolved"), lambda: time_goes_by(2) or wake()):
        act()
        states.append(told.page.components.get(pk=told.letters.pk).state)
    assert states == ["partial_outage", "under_maintenance", "operational"]


def test_it_can_be_called_off_with_a_reason_and_ended_early(told: Told) -> None:
    window = planned(told)
    with pytest.raises(IncidentError, match="why"):
        maintenance.cancel(maintenance=window, by=None, actor=TEST, reason=" ")
    maintenance.cancel(maintenance=window, by=None, actor=TEST, reason="No driver came.")
    with pytest.raises(IncidentError, match="over"):
        maintenance.cancel(maintenance=Maintenance.objects.get(), by=None, actor=TEST, reason="Again.")
    assert Maintenance.objects.get().state == "cancelled"
    assert StatusPost.objects.first().text == "New driver is called off. No driver came."


@pytest.mark.parametrize("wrong", ["past", "no length", "too long", "no component", "of another page"])
def test_what_can_not_be_is_refused_and_nobody_is_told(told: Told, wrong: str) -> None:
    now = timezone.now()
    other = status.create_page(slug="other", name="Other", description="", public=True, actor=TEST)
    fields: dict[str, Any] = {
        "past": {"starts_at": now - 2 * HOUR, "ends_at": now - HOUR},
        "no length": {"starts_at": now + HOUR, "ends_at": now + HOUR},
        "too long": {"ends_at": now + timedelta(days=30)},
        "no component": {"components": []},
        "of another page": {"components": [status.add_component(page=other, name="X", actor=TEST)]},
    }[wrong]
    with pytest.raises(IncidentError):
        planned(told, **fields)
    assert not StatusPost.objects.exists()
    assert not Maintenance.objects.exists()
