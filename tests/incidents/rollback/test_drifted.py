"""A host that is seen to be other than it was left raises an alert, once, until it is as it should be again."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from audit.clock import database_now
from incidents.intake import take_alert
from incidents.rollback.drifted import settle, unsettled
from monitoring.models import Alert
from monitoring.objection import alert_on_record
from registry import actions
from registry.models import Health, Placement
from tests.registry.world import ALICE, make_endpoint, make_placement, make_registered_model, make_version, switched

pytestmark = pytest.mark.django_db


@pytest.fixture
def placement(tmp_path: Path) -> Placement:
    """Version 1 was left there, and version 7 is seen."""
    model = make_registered_model()
    version, _ = make_version(model, tmp_path)
    made = make_placement(make_endpoint(model))
    switched(made, version)
    seen(made, Health.WRONG_VERSION, "It serves version 7 instead of version 1.")
    return made


def seen(placement: Placement, health: str, reason: str = "") -> None:
    Placement.objects.filter(pk=placement.pk).update(health=health, health_reason=reason, observed_at=timezone.now())


def due() -> list[object]:
    return unsettled(database_now())


@pytest.mark.parametrize("health", [Health.WRONG_VERSION, Health.WRONG_OUTPUT])
def test_a_host_that_has_drifted_raises_one_alert_and_an_incident(placement: Placement, health: str) -> None:
    seen(placement, health, "It serves version 7 instead of version 1.")
    assert due() == [placement.pk]

    alert = settle(placement.pk)

    assert alert is not None
    assert alert.summary == "gpu-a1 is not as it was left: It serves version 7 instead of version 1."
    assert (alert.source, alert.severity, alert.version, alert.labels["hosts"]) == ("observed", 3, "", ["gpu-a1"])
    assert due() == []
    assert settle(placement.pk) is None
    incident = take_alert(alert_id=alert.pk)
    assert incident is not None
    assert incident.endpoint == placement.endpoint


def test_the_alert_ends_when_the_host_is_as_it_should_be(placement: Placement) -> None:
    settle(placement.pk)
    seen(placement, Health.SERVING)
    assert due() == [placement.pk]

    ended = settle(placement.pk)

    assert ended is not None
    assert ended.state == "resolved"
    assert due() == []


def test_a_host_that_has_gone_away_since_is_not_taken_for_well(placement: Placement) -> None:
    settle(placement.pk)
    seen(placement, Health.UNREACHABLE)

    assert settle(placement.pk) is None

    assert Alert.objects.get().state == "firing"


@pytest.mark.parametrize("case", ["held", "drained"])
def test_what_a_person_holds_or_drained_raises_nothing(placement: Placement, case: str) -> None:
    if case == "held":
        actions.hold(host=placement.host, until=timezone.now() + timedelta(hours=1), reason="Repair.", actor=ALICE)
    else:
        actions.drain(host=placement.host, reason="Repair.", actor=ALICE)

    assert due() == []
    assert settle(placement.pk) is None
    assert not Alert.objects.exists()


def test_it_speaks_against_a_host_and_against_no_version(placement: Placement) -> None:
    settle(placement.pk)
    version = placement.desired
    assert version is not None

    assert alert_on_record(placement.endpoint, version, timezone.now() - timedelta(hours=1)) == ""
