"""Times of an incident: apart, in order, and corrected on record."""

from datetime import timedelta
from typing import Any

import pytest

from incidents import actions
from incidents.errors import Conflict, GuardFailed
from incidents.models import Incident
from incidents.working.times import correct_time, corrections
from tests.incidents.world import World, events

pytestmark = pytest.mark.usefixtures("built")
MINUTE = timedelta(minutes=1)


def correct(world: World, incident: Incident, which: str, at: Any, **more: Any) -> Incident:
    fields = {"reason": "The graph says so.", "actor": world.actor("rosa")} | more
    return correct_time(incident=incident, which=which, at=at, **fields)


def test_an_incident_is_declared_when_it_is_opened_and_impact_began_before(world: World) -> None:
    incident = world.incident()
    incident.refresh_from_db()
    assert incident.impact_started_at == world.began
    assert incident.impact_started_at < incident.detected_at <= incident.declared_at


def test_a_corrected_time_counts_and_the_original_stays_on_record(world: World) -> None:
    incident = world.incident()
    earlier = world.began - 5 * MINUTE
    changed = correct(world, incident, "impact_started_at", earlier)
    assert Incident.objects.get().impact_started_at == earlier
    assert changed.version == incident.version
    (one,) = corrections(incident)
    assert (one.which, one.before, one.after) == (
        "impact_started_at", world.began.isoformat(), earlier.isoformat()
    )  # fmt: skip
    assert (one.who, one.why) == ("Rosa Example", "The graph says so.")


@pytest.mark.parametrize(
    ("which", "minutes", "guard"),
    [
        ("impact_started_at", 1, "times_in_order"),
        ("detected_at", -10, "times_in_order"),
        ("declared_at", 60, "time_not_ahead"),
        ("resolved_at", 0, "time_reached"),
    ],
)
def test_a_time_out_of_order_is_refused_by_the_guards_name(world: World, which: str, minutes: int, guard: str) -> None:
    incident = world.incident()
    Incident.objects.filter(pk=incident.pk).update(
        detected_at=world.began + MINUTE / 2, declared_at=world.began + MINUTE, acknowledged_at=world.began + MINUTE
    )
    incident.refresh_from_db()
    with pytest.raises(GuardFailed) as refused:
        correct(world, incident, which, world.began + minutes * MINUTE)
    assert refused.value.guard == guard
    assert events(incident, "incident.correct_time") == []
    incident.refresh_from_db()
    assert incident.detected_at == world.began + MINUTE / 2


def test_a_correction_without_a_reason_is_refused(world: World) -> None:
    with pytest.raises(GuardFailed, match="how you know"):
        correct(world, world.incident(), "impact_started_at", world.began - MINUTE, reason=" ")


def test_two_corrections_at_once_are_a_visible_conflict(world: World) -> None:
    incident = world.incident()
    seen = incident.version
    actions.acknowledge(incident=incident, user=world.users["kofi"], actor=world.actor("kofi"))
    with pytest.raises(Conflict):
        correct(world, incident, "impact_started_at", world.began - MINUTE, seen_version=seen)
    assert Incident.objects.get().impact_started_at == world.began


def test_the_form_shows_what_was_corrected_and_the_timeline_tells_it(world: World) -> None:
    incident = world.incident()
    rosa = world.client("rosa")
    at = world.began - 5 * MINUTE
    typed = {"which": "impact_started_at", "at": at.strftime("%Y-%m-%dT%H:%M:%S"), "reason": "Seen in the log."}
    assert rosa.post(f"/incidents/{incident.ref}/time/", typed).status_code == 302
    html = rosa.get(f"/incidents/{incident.ref}/time/").content.decode()
    assert "Seen in the log." in html
    told = rosa.get(f"/incidents/{incident.ref}/timeline/").content.decode()
    assert f"Time corrected: impact started, from {world.began:%Y-%m-%d %H:%M:%S} UTC" in told


def test_a_time_is_corrected_over_the_api(world: World) -> None:
    incident = world.incident()
    answer = world.client("rosa").post(
        f"/api/v1/incidents/{incident.ref}/correct-time/",
        {"which": "impact_started_at", "at": "2999-01-01T00:00:00Z", "reason": "x"},
        content_type="application/json",
    )
    assert answer.status_code == 409
    assert answer.json()["type"].endswith("time-not-ahead")
