"""Registered gates that are asked after the run, while it is watched."""

import datetime
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from accounts.actions import actor_for
from incidents.rollback import advance, watch
from incidents.rollback.gating import asking, due, suites
from incidents.rollback.gating.actions import accept
from incidents.rollback.gating.bodies import GateRefused
from incidents.rollback.gating.models import Asking
from incidents.rollback.models import Run, RunState, Watch, WatchState
from incidents.rollback.plan import read
from incidents.rollback.terms import plan_terms
from tests.incidents.rollback.fleet import Fleet, events
from tests.incidents.rollback.gating.answering import Answering, gate
from tests.incidents.rollback.gating.test_asking import FAILED, suite
from tests.incidents.rollback.test_watch import without_traffic_questions


def switched(fleet: Fleet, **wish: Any) -> Run:
    without_traffic_questions(fleet)
    run = fleet.started(wave_sizes=[3], **wish)
    advance.advance(run.pk)
    run.refresh_from_db()
    assert (run.state, run.state_reason) == (RunState.SWITCHED, "")
    return run


def ticked(run: Run, *, over: bool = False) -> Watch:
    """The watch after one look, whose time is over where that is asked."""
    ends = {"until": timezone.now()} if over else {}
    Watch.objects.filter(run=run).update(due_at=timezone.now() - datetime.timedelta(seconds=1), **ends)
    Asking.objects.filter(run=run, wave=None).update(answered_at=None)
    assert watch.tick(run.pk)
    return Watch.objects.get(run=run)


def test_a_gate_of_the_watch_is_not_asked_in_waves_and_fails_the_verification(
    fleet: Fleet, server: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate(fleet.model, "smoke", "http", {"url": server.url + "/$version"}, when="watch")
    run = switched(fleet, watch_seconds=3600)
    assert server.asked == []
    [entry] = [entry for entry in read(run.plan).body["gates"] if "body" in entry]
    assert entry["when"] == "watch"
    terms = {term["label"]: term["value"] for term in plan_terms(run.plan)}
    assert terms["Does smoke hold?"].startswith("Gate smoke, asked in the watch:")
    assert "smoke" in terms["Afterwards watched"]
    assert "smoke" not in terms["Between waves"]

    server.answer = lambda method, path, body: (500, {})
    for _ in range(2):
        assert ticked(run).state == WatchState.WATCHING
    ended = ticked(run)

    assert (ended.state, ended.state_reason) == (WatchState.FAILED, "Does smoke hold? No: status 500.")
    assert [path for _, path, _ in server.asked] == ["/1"] * asking.FAILURES_IN_A_ROW
    assert run.checks.get(stage="watch", name="smoke").answer == "fail"
    [told] = events("rollback.watch.fail")
    assert "smoke" in [check["name"] for check in told["data"]["checks"]]


def test_a_gate_of_both_is_asked_again_and_its_pass_lets_the_run_be_verified(fleet: Fleet, server: Answering) -> None:
    gate(fleet.model, "smoke", "http", {"url": server.url}, when="both")
    run = switched(fleet, watch_seconds=3600)
    assert len(server.asked) == 1

    assert ticked(run, over=True).state == WatchState.PASSED

    assert len(server.asked) == 2
    assert sorted(row.moment for row in Asking.objects.filter(run=run)) == ["in the watch", "wave all"]


def test_a_suite_of_the_watch_is_run_by_its_worker_and_a_failed_test_ends_it(fleet: Fleet, tmp_path: Path) -> None:
    gate(fleet.model, "suite", "suite", suite(tmp_path, FAILED), when="watch")
    run = switched(fleet, watch_seconds=3600)
    assert ticked(run).state == WatchState.WATCHING
    row = Asking.objects.get(run=run, wave=None)
    assert due.suites(timezone.now() + datetime.timedelta(seconds=5)) == [row.pk]

    assert suites.run_suite(row.pk)

    assert Watch.objects.get(run=run).due_at <= timezone.now()
    assert ticked(run).state == WatchState.FAILED
    [told] = events("gate.suite")
    assert (told["data"]["wave"], told["data"]["stage"], told["data"]["answer"]) == (0, "watch", "fail")
    assert due.suites(timezone.now() + datetime.timedelta(seconds=60)) == []


def test_named_people_are_waited_for_and_speak_while_it_is_watched_only(fleet: Fleet) -> None:
    gate(fleet.model, "users", "acceptance", {"people": ["vera"]}, when="watch")
    run = switched(fleet, watch_seconds=0)
    assert ticked(run, over=True).state == WatchState.WATCHING
    row = Asking.objects.get(run=run, wave=None)
    said: dict[str, Any] = {"asking": row, "user": fleet.viewer, "actor": actor_for(user=fleet.viewer)}

    accept(accepted=True, reason="", **said)

    assert ticked(run, over=True).state == WatchState.PASSED
    with pytest.raises(GateRefused, match="Nothing waits for it"):
        accept(accepted=True, reason="", **said)
