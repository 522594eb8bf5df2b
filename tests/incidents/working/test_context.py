"""What changed lately, what an incident resembles, and whom it touches."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from audit.actions import Target, record
from audit.clock import database_now
from incidents import actions
from incidents.models import Incident
from incidents.rollback.models import RunState, WatchState
from incidents.working.reach import Estimate, estimate, touched
from incidents.working.resembling import similar
from incidents.working.suspects import suspects
from registry.actions import place, record_switch
from registry.models import Host, Placement
from tests.incidents.world import TEST, World

pytestmark = pytest.mark.usefixtures("built")
MINUTE = timedelta(minutes=1)


def began(incident: Incident, at: datetime) -> Incident:
    Incident.objects.filter(pk=incident.pk).update(impact_started_at=at)
    incident.refresh_from_db()
    return incident


def test_a_release_just_before_is_likelier_than_a_rule_changed_elsewhere(world: World) -> None:
    # given a rule of another endpoint that was changed, then version 2 that went live on three hosts
    record(action="rule.change", target=Target("rule", "999999"), actor=world.actor("ada"), data={"kind": "latency"})
    for host in Host.objects.order_by("name"):
        place(endpoint=world.endpoint, host=host, actor=TEST)
        record_switch(endpoint=world.endpoint, host=host, version=world.bad, cause="release", actor=TEST)
    incident = began(world.incident(), database_now() + 10 * MINUTE)
    # when the changes are sorted
    first, *others = suspects(incident)
    # then the release stands first, once for its three hosts, and the sentence says why
    assert first.sentence == "Version 2 began to serve on h1, h2, h3"
    assert first.why == "10 min before the impact began, on the same endpoint; a rollback takes it back."
    assert first.weight == pytest.approx(1 / (1 + 10 / 30), abs=0.01)
    rule = next(one for one in others if one.action == "rule.change")
    assert rule.why.endswith("elsewhere; the rule can be set back.")
    assert rule.weight == pytest.approx(0.4 * 0.2 / (1 + 10 / 30), abs=0.01)
    assert rule.who == "Ada Example"


def test_an_alert_rule_is_near_by_its_endpoint_not_by_the_number_of_a_rule(world: World) -> None:
    incident = began(world.incident(), database_now() + 10 * MINUTE)
    same = Target("alert_rule", str(world.endpoint.rules.values_list("pk", flat=True)[0]))
    ada = world.actor("ada")
    for endpoint in ("other", world.endpoint.slug):
        record(action="alert_rule.change", target=same, actor=ada, data={"after": {"endpoint": endpoint}})
    found = [one.why.split(", ")[1].split(";")[0] for one in suspects(incident) if one.action == "alert_rule.change"]
    assert found == ["on the same endpoint", "elsewhere"]


def test_wrong_answers_are_not_told_where_it_is_not_sure_that_there_are_more() -> None:
    since = datetime(2026, 3, 10, 14, 5, tzinfo=UTC)
    told = Estimate(since, since + timedelta(days=2), 100_000, 1000, 0, 8000, "persons", "").sentence
    assert told == (
        "About 100,000 persons were answered from 2026-03-10 14:05 to 2026-03-12 14:05 UTC. That it is wrong more "
        "often than usual is not sure by the labels of when the incident was opened; up to 8,000 of them may be wrong "
        "beyond what is usual."
    )


def test_what_was_done_after_the_impact_began_is_no_suspect(world: World) -> None:
    record(action="alias.move", target=Target("alias", "employment/champion"), actor=TEST, data={"alias": "champion"})
    incident = began(world.incident(), database_now() - 5 * MINUTE)
    assert [one.action for one in suspects(incident) if one.action == "alias.move"] == []


def test_what_helped_in_an_earlier_incident_of_the_endpoint_is_told(world: World) -> None:
    # given an incident that a verified rollback ended, and another that ended by itself
    earlier = world.incident()
    world.run(earlier, state=RunState.SWITCHED, watch=WatchState.PASSED)
    Incident.objects.filter(pk=earlier.pk).update(state="resolved")
    now = world.incident()
    # then
    (like,) = similar(now)
    assert like.incident == earlier
    assert like.helped == "A rollback to version 1 helped: it was verified."
    assert like.because == "same endpoint, same model, same version, same rule"
    assert similar(earlier) == []


def test_how_many_were_answered_wrongly_is_estimated_with_its_interval(world: World) -> None:
    incident = world.incident()
    found = estimate(incident, database_now())
    assert found is not None
    # version 2 answered 600 rows on each of three hosts, 55 % of them rightly, 80 % are usual
    assert found.answered == 1800
    assert found.low < found.wrong < found.high
    assert found.wrong == pytest.approx(450, abs=60)
    assert found.sentence.startswith("About 1,800 persons were answered from ")


def test_other_endpoints_hosts_and_groups_are_named(world: World) -> None:
    incident = world.incident()
    reach = touched(incident)
    assert reach.endpoints == [(world.endpoint.slug, "the incident is about it")]
    assert [name for name, _, _ in reach.hosts] == ["h1", "h2", "h3"]
    assert sum(rows for _, _, rows in reach.hosts) == 1800
    assert {row["feature"] for row in reach.groups} <= {"DIS", "AGEP"}
    assert reach.groups


def test_the_page_and_the_part_show_it_to_who_may_look(world: World) -> None:
    place(endpoint=world.endpoint, host=Host.objects.get(name="h1"), actor=TEST)
    Placement.objects.update(observed_version="2")
    incident = began(world.incident(), database_now() + MINUTE)
    address = f"/incidents/{incident.ref}/context/"
    page = world.client("vera").get(address).content.decode()
    part = world.client("vera").get(address, headers={"HX-Request": "true"}).content.decode()
    assert "<html" in page
    assert "<html" not in part
    for html in (page, part):
        assert "A host was added" in html
        assert "Version 2 is right in 55 % of cases" in html


def test_the_api_tells_the_same(world: World) -> None:
    incident = world.incident()
    actions.acknowledge(incident=incident, user=world.users["kofi"], actor=world.actor("kofi"))
    found = world.client("vera").get(f"/api/v1/incidents/{incident.ref}/context/").json()
    assert found["estimate"]["answered"] == 1800
    assert found["similar"] == []


def test_many_changes_cost_no_more_queries(world: World, django_assert_max_num_queries: Any) -> None:
    incident = began(world.incident(), database_now() + MINUTE)
    for number in range(40):
        record(action="host.hold", target=Target("host", f"x{number}"), actor=world.actor("ada"), data={"until": "x"})
    with django_assert_max_num_queries(6):
        assert len(suspects(incident)) == 12
