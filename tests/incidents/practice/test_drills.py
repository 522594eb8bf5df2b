"""A drill on real hosts: the same way as a rollback, measured, taken back, and never where production is answered."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.utils import timezone

from accounts.actions import actor_for
from incidents.practice import drills
from incidents.practice.models import Drill, DrillSchedule, DrillState
from incidents.practice.readiness import readiness_of
from incidents.rollback import advance, decided, plan, preflight, watch
from incidents.rollback.models import Plan, PlanKind, PlanState, Run, RunState
from incidents.rollback.plan import PlanRefused
from registry import reconcile
from registry.models import Alias, Endpoint, Host, Placement
from tests.incidents.rollback.fleet import SETUP, Fleet, events


@pytest.fixture
def staging(make_fleet: Callable[..., Fleet]) -> Fleet:
    """The three hosts serve version 2 in staging; version 1 is good."""
    made = make_fleet(environment="staging")
    made.approvers = (made.commander,)
    made.serve(made.bad)
    return made


def ask(fleet: Fleet, **wish: Any) -> Drill:
    wish = {"endpoint": fleet.endpoint, "version": fleet.good, "user": fleet.responder} | wish
    return drills.ask_drill(**wish, actor=actor_for(user=wish["user"]))


def carry_out(fleet: Fleet, drill: Drill) -> Drill:
    """Preflight, approval, run and watch, as the clock and the workers do them."""
    assert preflight.run(drill.plan_id)
    waiting = Plan.objects.get(pk=drill.plan_id)
    assert waiting.state == PlanState.AWAITING, list(waiting.preflights.filter(answer="fail").values_list("observed"))
    fleet.approve(waiting)
    decided.request_decided(waiting.request_id)
    run = Run.objects.get(plan=waiting)
    assert drills.unfollowed(timezone.now()) == [str(drill.pk)]
    assert drills.follow(drill.pk) == DrillState.RUNNING
    advance.advance(run.pk)
    run.refresh_from_db()
    assert run.state == RunState.SWITCHED
    assert watch.tick(run.pk)
    assert drills.unfollowed(timezone.now()) == [str(drill.pk)]
    drills.follow(drill.pk)
    drill.refresh_from_db()
    return drill


def test_a_drill_is_measured_taken_back_and_foretells_the_next(staging: Fleet) -> None:
    drill = carry_out(staging, ask(staging))

    assert staging.serving() == [staging.good.digest] * 3
    assert drill.state == DrillState.PASSED, drill.reason
    assert drill.predicted_seconds is None
    assert drill.warm is False
    size = sum(file.artifact.size for file in staging.good.files.select_related("artifact"))
    assert drill.bytes_loaded == 3 * size
    assert drill.load_seconds is not None
    assert drill.load_seconds > 0
    assert 0 < drill.switched_seconds <= drill.checked_seconds <= drill.verified_seconds
    told = events("practice.drill.pass")
    assert [event["data"]["digest"] for event in told] == [staging.good.digest]
    assert told[0]["data"]["checked_ms"] == round(drill.checked_seconds * 1000)

    back = Drill.objects.get(back_of=drill)
    assert (back.version, back.plan.kind, back.state) == (staging.bad, PlanKind.DRILL, DrillState.WAITING)
    assert back.predicted_seconds is not None
    back = carry_out(staging, back)
    assert staging.serving() == [staging.bad.digest] * 3
    assert (back.state, back.warm, back.bytes_loaded) == (DrillState.PASSED, True, 0)
    assert not Drill.objects.filter(back_of=back).exists()
    assert drills.unfollowed(timezone.now()) == []

    for placement in staging.endpoint.placements.all():
        Placement.objects.filter(pk=placement.pk).update(observe_due_at=timezone.now())
        reconcile.observe_placement(placement.pk)
    found = readiness_of(staging.good, staging.endpoint)
    assert found.fresh
    assert found.sentence.startswith("Ready, about ")


def test_a_drill_is_refused_where_production_is_answered_or_one_goes_on(staging: Fleet) -> None:
    ask(staging)
    with pytest.raises(PlanRefused) as again:
        ask(staging)
    assert again.value.code == "drill_open"
    with pytest.raises(PermissionDenied):
        ask(staging, user=staging.viewer)
    Endpoint.objects.filter(pk=staging.endpoint.pk).update(environment="production")
    staging.endpoint.refresh_from_db()
    with pytest.raises(PlanRefused) as refused:
        ask(staging)
    assert refused.value.code == "drill_in_production"
    assert Drill.objects.count() == 1
    assert Plan.objects.count() == 1


def test_a_machine_that_production_needs_takes_no_drill(staging: Fleet) -> None:
    from registry.actions import place, register_endpoint, register_model

    other = register_model(slug="other", name="Other", team="tests", actor=SETUP)
    beside = register_endpoint(slug="other", name="Other", model=other, actor=SETUP)
    place(endpoint=beside, host=staging.hosts[0], actor=SETUP)

    with pytest.raises(PlanRefused, match="h1 serves other in production too"):
        ask(staging)

    assert not Plan.objects.exists()


def test_a_drill_whose_plan_is_given_up_is_over(staging: Fleet) -> None:
    drill = ask(staging)
    plan.void(plan_id=drill.plan_id, reason="Not today.", actor=SETUP)

    assert drills.follow(drill.pk) == DrillState.GIVEN_UP

    drill.refresh_from_db()
    assert drill.reason == "Not today."
    assert [event["outcome"] for event in events("practice.drill.give_up")] == ["failed"]
    assert ask(staging).state == DrillState.WAITING


def test_a_schedule_drills_within_its_hours_and_says_why_when_it_can_not(staging: Fleet) -> None:
    now = timezone.now()
    schedule = drills.set_schedule(
        endpoint=staging.endpoint,
        every_days=7,
        from_hour=0,
        to_hour=24,
        user=staging.responder,
        actor=actor_for(user=staging.responder),
    )
    assert drills.due_schedules(timezone.now()) == [schedule.pk]

    assert drills.fire(schedule.pk) is None
    schedule.refresh_from_db()
    assert schedule.said.startswith("No version is known")
    assert drills.due_schedules(timezone.now()) == []
    assert [event["outcome"] for event in events("practice.drill.skip")] == ["denied"]

    from registry.actions import register_endpoint

    production = register_endpoint(slug="live", name="Live", model=staging.model, actor=SETUP)
    Alias.objects.create(model=staging.model, name=Alias.LAST_GOOD, version=staging.good)
    production.deployments.create(host=staging.hosts[0], version=staging.bad, since=now, cause="release")
    DrillSchedule.objects.update(due_at=now)
    drill = drills.fire(schedule.pk)
    assert drill is not None
    assert (drill.version, drill.schedule) == (staging.good, schedule)
    assert drills.fire(schedule.pk) is None
    schedule.refresh_from_db()
    assert (schedule.due_at - now).days in (6, 7)
    midnight = timezone.now().replace(hour=3)
    DrillSchedule.objects.update(due_at=now, from_hour=8, to_hour=16)
    assert drills.due_schedules(midnight) == []


def test_a_spare_host_becomes_a_place_for_drills_and_one_that_serves_does_not(staging: Fleet) -> None:
    from accounts.actions import create_user
    from registry.actions import register_endpoint, register_host

    ada = create_user(
        username="ada", email="ada@example.org", full_name="Ada", password="correct horse", roles=["administrator"],
        actor=SETUP,
    )  # fmt: skip
    production = register_endpoint(slug="live", name="Live", model=staging.model, actor=SETUP, watch_seconds=900)
    spare = register_host(
        name="spare", engine="bundled", address="http://127.0.0.1:1", control_token="x" * 20, labels={}, actor=SETUP
    )
    act = {"endpoint": production, "user": ada, "actor": actor_for(user=ada)}

    made = drills.set_up_spare(host=spare, **act)

    assert (made.slug, made.environment, made.watch_seconds) == ("live-drills", "staging", 60)
    assert list(Host.objects.filter(placements__endpoint=made)) == [spare]
    with pytest.raises(PlanRefused, match=f"h1 serves {staging.endpoint.slug}"):
        drills.set_up_spare(host=staging.hosts[0], **act)
