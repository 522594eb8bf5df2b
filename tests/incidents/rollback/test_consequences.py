"""Before a verb is pressed it is said what it would do now; and a run can be paused and taken up again."""

from collections.abc import Callable

import pytest
from django.core.exceptions import PermissionDenied

from accounts.actions import actor_for
from incidents.rollback import advance
from incidents.rollback import run as runs
from incidents.rollback.consequences import consequences
from incidents.rollback.models import HostStep, Run, RunState, StepState
from incidents.rollback.run import RunRefused
from tests.incidents.rollback.fleet import Fleet, events
from tests.incidents.rollback.test_pages import signed_in


@pytest.fixture
def canary(make_fleet: Callable[..., Fleet]) -> tuple[Fleet, Run]:
    """A run whose canary has switched and soaks."""
    fleet = make_fleet(wave_soak_seconds=3600)
    fleet.serve(fleet.bad)
    return fleet, fleet.finished()


def said(fleet: Fleet, run: Run) -> dict[str, str]:
    return consequences(Run.objects.select_related("plan__from_version", "plan__to_version").get(pk=run.pk))


def test_a_run_is_paused_told_of_and_resumed(canary: tuple[Fleet, Run]) -> None:
    fleet, run = canary
    who = {"run_id": run.pk, "user": fleet.commander, "actor": actor_for(user=fleet.commander)}
    assert said(fleet, run) == {
        "stop": "The run ends for good, and nobody goes on with it or back. It leaves them so: h1 serves version 1; "
        "h2, h3 go on with version 2. Only another plan changes that.",
        "pause": "What is under way on a host is finished; then nothing more is done until somebody resumes it. "
        "Until then: h1 serves version 1; h2, h3 go on with version 2.",
        "compensate": "h1 switches back to version 2, which is still warm there. The latest wave goes first.",
    }

    runs.pause(reason="Lunch.", **who)
    run.waves.update(soak_until=run.started_at)
    advance.advance(run.pk)

    run.refresh_from_db()
    assert (run.state, run.halt_code, run.state_reason) == (RunState.HALTED, "paused", "Paused: Lunch.")
    assert fleet.serving() == [fleet.good.digest, fleet.bad.digest, fleet.bad.digest]
    assert (
        said(fleet, run)["resume"] == "Wave 1 (canary) goes on: its gate is asked again. 2 hosts of later waves follow."
    )
    assert len(events("rollback.run.pause")) == 1
    runs.resume(reason="Back.", **who)
    advance.advance(run.pk)
    run.refresh_from_db()
    assert run.state == RunState.RUNNING
    with pytest.raises(RunRefused):
        runs.pause(run_id=run.pk, user=fleet.commander, reason=" ", actor=who["actor"])
    with pytest.raises(PermissionDenied):
        runs.pause(run_id=run.pk, user=fleet.viewer, reason="No.", actor=actor_for(user=fleet.viewer))


def test_a_run_paused_on_its_way_back_goes_on_that_way(canary: tuple[Fleet, Run]) -> None:
    fleet, run = canary
    who = {"run_id": run.pk, "user": fleet.commander, "actor": actor_for(user=fleet.commander)}
    runs.compensate(reason="It does not help.", **who)
    runs.pause(reason="Wait.", **who)
    advance.advance(run.pk)
    assert fleet.serving()[0] == fleet.good.digest

    runs.resume(reason="Go on.", **who)
    advance.advance(run.pk)

    run.refresh_from_db()
    assert run.state == RunState.COMPENSATED
    assert fleet.serving() == [fleet.bad.digest] * 3


def test_it_is_said_who_stays_out_of_service_and_who_shares(fleet: Fleet) -> None:
    run = fleet.started(strategy="recreate")
    HostStep.objects.filter(run=run, host__name="h1").update(state=StepState.FAILED, marks={"drained": "2026-01-01"})
    Run.objects.filter(pk=run.pk).update(state=RunState.HALTED, halt_code="step_failed")

    words = said(fleet, run)

    assert "h1 stays out of service" in words["stop"]
    assert words["resume"].startswith("Wave 1 (canary) goes on: the steps of h1 begin anew")


def test_a_host_that_failed_after_its_switch_is_said_to_serve_what_it_switched_to(fleet: Fleet) -> None:
    """The post-check of h1 has failed; of h2 the switch was called, and nothing is known of it."""
    run = fleet.started()
    marks = {"switched": "2026-01-01T00:00:00+00:00"}
    steps = HostStep.objects.filter(run=run)
    steps.filter(host__name="h1").update(state=StepState.FAILED, marks=marks, switch_calls=1)
    steps.filter(host__name="h2").update(state=StepState.UNREACHABLE, intent="switch", switch_calls=1)
    Run.objects.filter(pk=run.pk).update(state=RunState.HALTED, halt_code="step_failed")

    words = said(fleet, run)["stop"]

    assert (
        "h1 serves version 1; h3 goes on with version 2; whether h2 switched to version 1 is not known until it is "
        "observed again." in words
    )


def test_the_page_and_the_api_say_it(canary: tuple[Fleet, Run]) -> None:
    fleet, run = canary

    page = signed_in(fleet.commander).get(f"/rollback/runs/{run.pk}/lanes/").content.decode()
    api = signed_in(fleet.viewer).get(f"/api/v1/runs/{run.pk}/verbs/").json()

    assert api["pause"] in page
    assert 'formaction="/rollback/runs/' in page
    assert (
        signed_in(fleet.viewer).get(f"/rollback/runs/{run.pk}/lanes/").content.decode().count("run-consequences") == 0
    )
