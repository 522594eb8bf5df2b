"""An incident whose targets nobody has ranked is found by the clock, as long as there is something to rank."""

from datetime import timedelta

from django.utils import timezone

from audit.models import AuditEvent
from incidents import due, intake
from incidents.diagnosing import examine
from incidents.models import Incident
from incidents.tasks import rank_candidates
from registry.actions import register_endpoint, register_model
from tests.incidents.world import TEST, World

LATER = timedelta(minutes=5)


def unranked() -> list[int]:
    return due.unranked_incidents(timezone.now() + LATER)


def rankings(incident: Incident) -> int:
    return AuditEvent.objects.filter(incident=incident.ref, action="rollback.ranking.answer").count()


def test_a_ranking_whose_worker_died_after_the_examination_is_asked_for_again_and_made_once(world: World) -> None:
    # given a worker that examined, and was killed before it ranked
    incident = world.incident()
    examine.examine(incident_id=incident.pk, actor=TEST)
    before = set(incident.evidence.values_list("pk", flat=True))
    assert unranked() == [incident.pk]

    # when another takes it up, twice
    rank_candidates(incident.pk)
    rank_candidates(incident.pk)

    # then
    assert unranked() == []
    assert rankings(incident) == 1
    assert before <= set(incident.evidence.values_list("pk", flat=True))


def test_where_no_version_is_registered_the_clock_does_not_ask_without_end(world: World) -> None:
    # given an alert from outside about an endpoint of which nothing else is known yet
    model = register_model(slug="prices", name="Prices", team="shop", actor=TEST)
    endpoint = register_endpoint(slug="prices-production", name="Prices", model=model, actor=TEST)
    alert = world.alert(endpoint=endpoint, version="", rule=None, source="alertmanager", summary="Prices are odd.")
    incident = intake.take_alert(alert_id=alert.pk)
    assert incident is not None

    # when the message that came with it is done
    rank_candidates(incident.pk)

    # then nothing is left to ask for, and each further event of the log would say the same
    assert rankings(incident) == 1
    assert unranked() == []


def test_a_ranking_that_fails_again_and_again_is_asked_for_at_growing_intervals(world: World) -> None:
    # given an incident that was detected an hour ago, and examined by a worker that could not rank then
    incident = world.incident()
    examine.examine(incident_id=incident.pk, actor=TEST)
    examined = AuditEvent.objects.get(incident=incident.ref, action="incident.examine").occurred_at
    Incident.objects.filter(pk=incident.pk).update(detected_at=examined - timedelta(hours=1))

    # then it is asked for again after a quarter of its age
    assert due.unranked_incidents(examined + timedelta(minutes=19)) == []
    assert due.unranked_incidents(examined + timedelta(minutes=20)) == [incident.pk]
