from datetime import timedelta

import pytest
from django.utils import timezone

from audit.actions import service_actor
from incidents.diagnosing.again import look_again
from incidents.diagnosing.due import waiting
from incidents.diagnosing.examine import examine
from incidents.diagnosing.models import LabelWait
from incidents.intake import take_alert
from incidents.models import Incident, IncidentState
from incidents.rollback.models import Candidate
from monitoring.models import Label
from tests.incidents.world import World

pytestmark = pytest.mark.usefixtures("built")

WORKER = service_actor("incidents")
LATER = timedelta(minutes=5)


def examined_without_labels(world: World) -> tuple[Incident, list[Label]]:
    """An incident that was examined while its answers had no labels, and the labels that come afterwards."""
    incident = take_alert(alert_id=world.alert().pk)
    assert incident is not None
    labels = list(Label.objects.filter(endpoint=world.endpoint))
    Label.objects.all().delete()
    examine(incident_id=incident.pk, actor=WORKER)
    return incident, labels


def test_labels_that_come_later_have_the_incident_examined_and_ranked_again_once(world: World) -> None:
    incident, labels = examined_without_labels(world)
    assert waiting(timezone.now() + LATER) == [incident.pk]
    Label.objects.bulk_create(labels)

    first = look_again(incident_id=incident.pk, actor=WORKER)
    second = look_again(incident_id=incident.pk, actor=WORKER)

    assert (first, second) == (True, False)
    told = list(incident.evidence.filter(kind="quality").values_list("data__n", flat=True))
    assert told == [0, 1800], "evidence is added, not replaced"
    assert LabelWait.objects.get().labelled == 1800
    assert Candidate.objects.filter(incident_ref=incident.ref).exists()
    assert waiting(timezone.now()) == []


def test_no_further_label_changes_nothing_and_is_asked_more_and_more_rarely(world: World) -> None:
    incident, _ = examined_without_labels(world)

    assert look_again(incident_id=incident.pk, actor=WORKER) is False

    assert incident.evidence.filter(kind="quality").count() == 1
    assert not Candidate.objects.filter(incident_ref=incident.ref).exists()
    assert LabelWait.objects.get().look_at > timezone.now()


def test_an_incident_that_is_being_mitigated_is_left_alone(world: World) -> None:
    incident, labels = examined_without_labels(world)
    Label.objects.bulk_create(labels)
    Incident.objects.filter(pk=incident.pk).update(state=IncidentState.MITIGATING)

    assert waiting(timezone.now() + LATER) == []
    assert look_again(incident_id=incident.pk, actor=WORKER) is False
    assert not LabelWait.objects.exists()
