"""Alerts that nobody is woken for: expected in maintenance, or fired too often."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone

from incidents.grouping import flapping
from incidents.grouping.models import Flap
from incidents.models import Incident, IncidentState, WindowStatus
from incidents.telling.models import Maintenance
from monitoring import intake
from monitoring.inbound.models import Arrival
from monitoring.models import Alert
from monitoring.rules import suppress
from tests.incidents.grouping.made import ended, fired, refs, taken
from tests.incidents.world import World, events

pytestmark = pytest.mark.usefixtures("built")


def told(**alert: Any) -> Arrival:
    """A message in plain JSON, read at once, and its row in the ledger."""
    delivery, _ = intake.take_webhook(
        source="json", sender="ops", key="", body=json.dumps(alert).encode(), content_type="application/json"
    )
    intake.process(delivery.pk)
    return Arrival.objects.get(delivery=delivery)


def under_way(world: World) -> Maintenance:
    page = world.status_page()
    now = timezone.now()
    window = Maintenance.objects.create(
        page=page, title="Driver upgrade", text="x", starts_at=now, ends_at=now + timedelta(hours=1),
        state=WindowStatus.IN_PROGRESS,
    )  # fmt: skip
    window.components.set(page.components.all())
    return window


def test_an_alert_during_maintenance_is_entered_as_held_back_and_opens_an_incident_at_its_end(world: World) -> None:
    window = under_way(world)
    about = {"id": "slow", "summary": "It is slow.", "endpoint": world.endpoint.slug}
    arrival = told(**about)
    alert = Alert.objects.get(summary="It is slow.")
    # then nobody is told, and the ledger says why
    assert alert.suppressed_by == f"maintenance:{window.pk}"
    assert arrival.decision == "suppressed"
    assert "“Driver upgrade”" in arrival.why
    assert taken(alert) == ""
    suppress.ask_again(alert.pk)
    assert taken(Alert.objects.get(pk=alert.pk)) == ""
    # when it still fires at the end
    Maintenance.objects.update(state=WindowStatus.COMPLETED)
    suppress.ask_again(alert.pk)
    ref = taken(alert)
    arrival.refresh_from_db()
    assert (ref, arrival.decision, arrival.why) == ("INC-1", "new", "")
    assert arrival.alerts.get().incident_ref == "INC-1"


def test_an_alert_that_is_over_before_the_maintenance_ends_opens_nothing(world: World) -> None:
    under_way(world)
    about = {"id": "slow", "summary": "It is slow.", "endpoint": world.endpoint.slug}
    told(**about)
    told(**about, status="resolved")
    Maintenance.objects.update(state=WindowStatus.COMPLETED)
    alert = Alert.objects.get(summary="It is slow.")
    suppress.ask_again(alert.pk)
    assert taken(alert) == ""
    assert not Incident.objects.exists()


def test_maintenance_of_something_else_holds_nothing_back(world: World) -> None:
    under_way(world)
    assert told(id="x", summary="Elsewhere.").decision == "new"


def flaps(times: int) -> Alert:
    """An alert that fired so often, each time for a moment."""
    for _ in range(times - 1):
        alert = fired(mark="flap")
        taken(alert)
        ended(alert)
    return fired(mark="flap")


def aged(**by: float) -> None:
    Alert.objects.update(fired_at=F("fired_at") - timedelta(**by))


def test_an_alert_that_flaps_is_held_back_and_its_incident_is_told_once(world: World, settings: Any) -> None:
    settings.LASTGOOD_FLAPPING_TIMES = 3
    alert = flaps(3)
    assert (alert.suppressed_by, taken(alert)) == ("", "INC-1")
    ended(alert)
    # when it fires for the fourth time, and again
    for _ in range(2):
        alert = fired(mark="flap")
        assert (alert.suppressed_by, taken(alert)) == ("flapping", "")
        assert flapping.unnoted(timezone.now()) in ([alert.pk], [])
        flapping.begin(alert_id=alert.pk)
        ended(alert)
    # then the incident stays as it is, and says so once
    assert refs() == {"INC-1"}
    incident = Incident.objects.get()
    assert len(events(incident, "incident.alert_flaps")) == 1
    assert Flap.objects.get(ended_at=None).incident == incident


def test_what_something_else_held_back_does_not_count_as_flapping(world: World, settings: Any) -> None:
    settings.LASTGOOD_FLAPPING_TIMES = 3
    first = fired(mark="flap")
    assert taken(first) == "INC-1"
    ended(first)
    for _ in range(2):
        ended(fired(mark="flap"))
    Alert.objects.exclude(pk=first.pk).update(suppressed_by="maintenance:7")
    alert = fired(mark="flap")
    assert (alert.suppressed_by, taken(alert)) == ("", "INC-1")


def test_a_flapping_alert_opens_an_incident_where_the_one_that_had_it_is_over(world: World, settings: Any) -> None:
    settings.LASTGOOD_FLAPPING_TIMES = 2
    alert = flaps(3)
    assert alert.suppressed_by == "flapping"
    Incident.objects.update(state=IncidentState.RESOLVED)
    # what fires is held as it was; what fires anew is told of, once
    suppress.ask_again(alert.pk)
    assert taken(Alert.objects.get(pk=alert.pk)) == ""
    ended(alert)
    alert = fired(mark="flap")
    assert (alert.suppressed_by, taken(alert)) == ("", "INC-2")
    ended(alert)
    assert fired(mark="flap").suppressed_by == "flapping"


def test_a_flapping_alert_that_is_quiet_for_long_enough_counts_again(world: World, settings: Any) -> None:
    settings.LASTGOOD_FLAPPING_TIMES = 2
    alert = flaps(3)
    flapping.begin(alert_id=alert.pk)
    flap = Flap.objects.get()
    # half of the time has gone: of those counted fewer are left, and it is held back all the same
    aged(seconds=settings.LASTGOOD_FLAPPING_SECONDS / 2)
    suppress.ask_again(alert.pk)
    assert Alert.objects.get(pk=alert.pk).suppressed_by == "flapping"
    assert flapping.quiet(timezone.now()) == []
    # all of it: it is told of, because it still fires
    aged(seconds=settings.LASTGOOD_FLAPPING_SECONDS)
    Incident.objects.update(state=IncidentState.RESOLVED)
    suppress.ask_again(alert.pk)
    assert taken(Alert.objects.get(pk=alert.pk)) == "INC-2"
    assert flapping.quiet(timezone.now()) == [flap.pk]
    flapping.end(flap_id=flap.pk)
    flap.refresh_from_db()
    assert flap.ended_at is not None
    assert flapping.quiet(timezone.now()) == []
    assert len(events(flap.incident, "incident.alert_quiet")) == 1
