"""Two commanders at the same run: what the one decides on is not what the other has just changed."""

import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections
from django.test import Client
from django.urls import reverse

from accounts.actions import actor_for
from incidents.rollback import run as runs
from incidents.rollback.models import Run, RunState
from incidents.rollback.run import RunRefused
from tests.incidents.rollback.fleet import Fleet, events, until_ended
from tests.incidents.rollback.test_pages import signed_in


@pytest.fixture
def soaking(make_fleet: Callable[..., Fleet]) -> tuple[Fleet, Run]:
    """The canary has switched, and soaks for an hour."""
    fleet = make_fleet(wave_soak_seconds=3600)
    fleet.serve(fleet.bad)
    return fleet, fleet.finished()


class Window:
    """A person's page with a run on it, as it was when it was opened."""

    def __init__(self, person: Any, run: Run) -> None:
        self.client, self.run = signed_in(person), run
        page = self.client.get(reverse("run-lanes", args=[run.pk])).content.decode()
        [self.seen] = re.findall(r'name="seen" value="([^"]*)"', page)

    def press(self, verb: str) -> str:
        """Press a button of that page; the sentence that comes."""
        given = {"reason": "It can't wait.", "seen": self.seen, "next": "/"}
        answer = self.client.post(reverse("run-act", args=[self.run.pk, verb]), given)
        assert answer.status_code == 302
        return _told(self.client)


def _told(client: Client) -> str:
    page = client.get("/approvals/")
    return " ".join(str(message) for message in page.context["messages"])


@pytest.mark.parametrize("verb", ["stop", "pause"])
def test_a_stop_meant_for_the_way_forth_does_not_leave_the_hosts_half_way_back(
    soaking: tuple[Fleet, Run], verb: str
) -> None:
    fleet, run = soaking
    first, second = Window(fleet.commander, run), Window(fleet.approver, run)

    assert first.press("compensate") == "The hosts go back to what they served before."
    said = second.press(verb)

    assert said.startswith("Nothing was done: since you looked, somebody has had the hosts brought back")
    assert events(f"rollback.run.{verb}") == []
    until_ended(run)
    assert run.state == RunState.COMPENSATED
    assert fleet.serving() == [fleet.bad.digest] * 3


def test_who_has_seen_that_it_goes_back_can_stop_that(soaking: tuple[Fleet, Run]) -> None:
    fleet, run = soaking
    Window(fleet.commander, run).press("compensate")

    assert Window(fleet.approver, run).press("stop") == "The run was stopped. Hosts stay as they are."

    run.refresh_from_db()
    assert run.state == RunState.STOPPED


def test_a_retry_after_one_failure_is_not_spent_on_the_next_one(soaking: tuple[Fleet, Run]) -> None:
    # given both look at a run that is paused
    fleet, run = soaking
    Window(fleet.commander, run).press("pause")
    first, second = Window(fleet.commander, run), Window(fleet.commander, run)

    # when the one takes it up, and it fails at something else before the other presses the same button
    assert first.press("resume") == "The run goes on."
    run.refresh_from_db()
    runs.halt(run=run, code="gate_failed", sentence="2 of 40 requests failed.", actor=runs.WORKER)
    said = second.press("resume")

    # then
    assert said == (
        "Nothing was done: since you looked, the run went on and was halted anew: 2 of 40 requests failed. Look again."
    )
    run.refresh_from_db()
    assert (run.state, run.halt_code) == (RunState.HALTED, "gate_failed")
    assert len(events("rollback.run.resume")) == 1


def test_of_a_stop_and_a_way_back_pressed_at_one_moment_one_is_done_and_the_other_is_told(
    soaking: tuple[Fleet, Run],
) -> None:
    fleet, run = soaking
    start = threading.Barrier(8)
    outcomes: list[str] = []

    def press(verb: str, person: Any) -> None:
        act = getattr(runs, verb)
        seen = {"seen": runs.seen_of(run)} if verb == "stop" else {}
        try:
            start.wait(timeout=30)
            act(run_id=run.pk, user=person, reason="Now.", actor=actor_for(user=person), **seen)
            outcomes.append(verb)
        except RunRefused as refused:
            outcomes.append(refused.code)
        finally:
            connections.close_all()

    pairs = [("stop", fleet.approver), ("compensate", fleet.commander)] * 4
    presses = [threading.Thread(target=press, args=pair) for pair in pairs]
    for one in presses:
        one.start()
    for one in presses:
        one.join()

    done = [outcome for outcome in outcomes if outcome in ("stop", "compensate")]
    assert len(outcomes) == 8
    assert len(done) == 1, outcomes
    assert set(outcomes) - set(done) <= {"moved", "not_active"}
    run.refresh_from_db()
    assert run.state == {"stop": RunState.STOPPED, "compensate": RunState.COMPENSATING}[done[0]]
    assert len(events("rollback.run.stop")) + len(events("rollback.run.compensate")) == 1
