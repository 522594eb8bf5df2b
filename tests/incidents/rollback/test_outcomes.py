"""Plans that change no version: hosts out of service and back, a freeze; and the names of those that do."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.test import Client
from django.utils import timezone

from accounts.actions import actor_for
from audit.erasure import erase_subject
from audit.models import AuditEvent, AuditPrivate
from audit.verify import Meaning, act_of
from incidents.rollback import advance, decided, preflight
from incidents.rollback import run as runs
from incidents.rollback.document import PlanDocument
from incidents.rollback.fallback import let_go
from incidents.rollback.models import Plan, PlanState, Run, RunState, Watch
from incidents.rollback.moved import moved, not_as_left
from incidents.rollback.outcomes import Wish, propose_outcome
from incidents.rollback.plan import PlanRefused, void
from incidents.rollback.preflight import title
from incidents.rollback.prepare import keep_fallback_warm
from registry.actions import RegistryError, name_fallback, quarantine
from registry.models import Endpoint, Health, Host, Placement
from tests.incidents.rollback.fleet import SETUP, Fleet, events


def proposed(fleet: Fleet, outcome: str, *hosts: str, user: Any = None, **more: Any) -> Plan:
    wish = Wish(outcome, fleet.endpoint, hosts, **more)
    person = user or fleet.responder
    return propose_outcome(wish, reason="It is hot.", user=person, actor=actor_for(user=person))


def carried_out(fleet: Fleet, plan: Plan) -> Run:
    assert preflight.run(plan.pk)
    plan.refresh_from_db()
    assert plan.state == PlanState.AWAITING, list(plan.preflights.filter(answer="fail").values())
    fleet.approve(plan, fleet.commander)
    decided.request_decided(plan.request_id)
    run = Run.objects.get(plan=plan)
    for _ in range(10):
        advance.advance(run.pk)
        run.refresh_from_db()
        if run.state not in (RunState.RUNNING, RunState.COMPENSATING):
            return run
    raise AssertionError(run.state)


@pytest.fixture
def seen(fleet: Fleet) -> Fleet:
    """As last observed, every host serves."""
    Placement.objects.update(health=Health.SERVING)
    return fleet


def test_a_host_is_drained_under_its_own_approval_and_brought_back_by_another(seen: Fleet) -> None:
    run = carried_out(seen, proposed(seen, "drain", "h2"))

    assert (run.state, run.state_reason) == (RunState.SWITCHED, "")
    assert seen.processes[1].view(seen.slug)["in_service"] is False
    assert Host.objects.get(name="h2").drained_at is not None
    assert seen.serving() == [seen.bad.digest] * 3
    assert not Watch.objects.exists()
    [start] = events("rollback.run.start")
    assert (start["data"]["kind"], start["data"]["hosts"], len(start["data"]["approvals"])) == ("drain", ["h2"], 1)
    assert [e["data"]["step"] for e in events("rollback.step.intent")] == ["drain"]

    back = carried_out(seen, proposed(seen, "bring_back", "h2"))

    assert (back.state, back.state_reason) == (RunState.SWITCHED, "")
    assert seen.processes[1].view(seen.slug)["in_service"] is True
    assert Host.objects.get(name="h2").drained_at is None


def test_a_host_that_does_not_serve_is_drained_though_none_that_serves_can_be_spared(seen: Fleet) -> None:
    fence = seen.endpoint.fence + 1
    Endpoint.objects.filter(pk=seen.endpoint.pk).update(min_hosts_serving=2, fence=fence)
    seen.endpoint.refresh_from_db()
    out = {"serving": False, "fence": fence}
    answer = seen.processes[1].http.post(f"/lastgood/v1/models/{seen.slug}/service", json=out)
    assert answer.status_code == 200, answer.text

    run = carried_out(seen, proposed(seen, "drain", "h2"))

    assert (run.state, run.state_reason) == (RunState.SWITCHED, "")
    assert Host.objects.get(name="h2").drained_at is not None


def test_a_drained_host_that_was_started_again_is_loaded_and_tested_before_it_comes_back(seen: Fleet) -> None:
    carried_out(seen, proposed(seen, "drain", "h2"))
    assert seen.processes[1].unload("2", seen.slug).status_code == 200

    back = carried_out(seen, proposed(seen, "bring_back", "h2"))

    assert (back.state, back.state_reason) == (RunState.SWITCHED, "")
    steps = [e["data"]["step"] for e in events("rollback.step.intent") if e["data"]["run"] == str(back.pk)]
    assert steps == ["load", "bring_back"]
    assert seen.processes[1].view(seen.slug)["in_service"] is True
    assert seen.serving() == [seen.bad.digest] * 3


def test_a_drained_host_that_missed_a_change_of_version_comes_back_with_the_one_that_is_served(seen: Fleet) -> None:
    carried_out(seen, proposed(seen, "drain", "h2"))
    Placement.objects.filter(host__name="h2").update(observed_digest=seen.bad.digest)
    seen.serve(seen.good, [seen.hosts[0], seen.hosts[2]])

    back = carried_out(seen, proposed(seen, "bring_back", "h2"))

    assert (back.state, back.state_reason) == (RunState.SWITCHED, "")
    steps = [e["data"]["step"] for e in events("rollback.step.intent") if e["data"]["run"] == str(back.pk)]
    assert steps[-1] == "switch"
    assert seen.processes[1].view(seen.slug)["in_service"] is True
    assert seen.serving() == [seen.good.digest] * 3
    row = Placement.objects.get(host__name="h2")
    assert (row.desired, row.host.drained_at) == (seen.good, None)
    leaves = [json.loads(bytes(event.canon)) for event in AuditEvent.objects.order_by("pk")]
    assert list(Meaning(act_of(index, leaf) for index, leaf in enumerate(leaves)).problems()) == []


def test_a_host_with_other_weights_than_the_plan_knows_is_drained(seen: Fleet) -> None:
    stray = seen.add_version(3, bias=1.0)
    seen.serve(stray, [seen.hosts[1]])
    unknown = {"observed_digest": stray.digest, "health": Health.WRONG_VERSION}
    Placement.objects.filter(host__name="h2").update(**unknown, observed_at=timezone.now() + timedelta(seconds=1))

    run = carried_out(seen, proposed(seen, "drain", "h2"))

    assert (run.state, run.state_reason) == (RunState.SWITCHED, "")
    assert seen.processes[1].view(seen.slug)["in_service"] is False
    assert seen.serving() == [seen.bad.digest, stray.digest, seen.bad.digest]


def test_a_plan_that_drains_a_host_outlasts_that_the_host_turns_out_worse(seen: Fleet) -> None:
    plan = proposed(seen, "drain", "h2")
    assert preflight.run(plan.pk)
    plan.refresh_from_db()
    worse = {"observed_digest": "0" * 64, "health": Health.WRONG_VERSION}
    Placement.objects.filter(host__name="h2").update(**worse, observed_at=timezone.now() + timedelta(seconds=1))

    assert moved(plan) == []
    assert not_as_left(plan.endpoint, PlanDocument.read(bytes(plan.document)), done=()) == []
    Host.objects.filter(name="h2").update(address="http://127.0.0.1:9")
    assert len(moved(plan)) == 1


def test_hosts_leave_service_only_while_enough_of_the_others_serve(seen: Fleet) -> None:
    Endpoint.objects.filter(pk=seen.endpoint.pk).update(min_hosts_serving=2)
    seen.endpoint.refresh_from_db()
    plan = proposed(seen, "drain", "h1", "h2")

    preflight.run(plan.pk)

    [found] = plan.preflights.filter(answer="fail")
    assert (found.name, found.observed, found.expected) == ("rest", "1: h3", "at least 2")
    assert all(process.view(seen.slug)["in_service"] for process in seen.processes)


def test_a_drain_that_was_carried_out_halfway_is_taken_back(seen: Fleet) -> None:
    plan = proposed(seen, "drain", "h2", "h3")
    assert preflight.run(plan.pk)
    seen.approve(Plan.objects.get(pk=plan.pk), seen.commander)
    decided.request_decided(Plan.objects.get(pk=plan.pk).request_id)
    run = Run.objects.get(plan=plan)
    Endpoint.objects.filter(pk=seen.endpoint.pk).update(min_hosts_serving=1)
    Run.objects.filter(pk=run.pk).update(state=RunState.RUNNING)
    seen.processes[2].switch("2", seen.bad.digest, 99, seen.slug)
    advance.advance(run.pk)
    run.refresh_from_db()
    assert (run.state, run.halt_code) == (RunState.HALTED, "fence")

    runs.compensate(run_id=run.pk, user=seen.commander, reason="No need.", actor=actor_for(user=seen.commander))
    advance.advance(run.pk)

    run.refresh_from_db()
    assert run.state == RunState.COMPENSATED
    assert seen.processes[1].view(seen.slug)["in_service"] is True
    assert Host.objects.get(name="h2").drained_at is None


def test_a_freeze_is_a_plan_too(seen: Fleet) -> None:
    until = timezone.now() + timedelta(hours=2)

    run = carried_out(seen, proposed(seen, "freeze", until=until))

    window = seen.endpoint.freezes.get()
    assert (run.state, window.starts, window.until, window.reason) == ("switched", None, until, "It is hot.")
    [start] = events("rollback.run.start")
    assert (start["data"]["kind"], start["data"]["hosts"]) == ("freeze", [])
    assert len(events("endpoint.freeze")) == 1


def test_why_a_freeze_was_proposed_goes_with_the_person_who_said_it(seen: Fleet) -> None:
    run = carried_out(seen, proposed(seen, "freeze", until=timezone.now() + timedelta(hours=2)))
    texts = AuditPrivate.objects.filter(event__action__in=["rollback.plan.propose", "endpoint.freeze"])
    assert [row.text for row in texts] == ["It is hot.", "It is hot."]

    erased = erase_subject(subject=seen.responder.pseudonym, actor=SETUP, reason="asked for it")

    assert (erased.rows["rollback_plan"], erased.rows["registry_freezewindow"]) == (1, 1)
    assert Plan.objects.get(pk=run.plan_id).reason == "[erased]"
    assert seen.endpoint.freezes.get().reason == "[erased]"
    assert not any(row.text for row in texts.all())


def approved_freeze(fleet: Fleet) -> tuple[Plan, datetime]:
    """One that is approved and not started, and a moment after its end."""
    until = timezone.now() + timedelta(minutes=10)
    plan = proposed(fleet, "freeze", until=until)
    assert preflight.run(plan.pk)
    plan.refresh_from_db()
    fleet.approve(plan, fleet.commander)
    return plan, until + timedelta(seconds=1)


def test_a_freeze_is_not_started_after_its_own_end(seen: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, late = approved_freeze(seen)
    monkeypatch.setattr(runs, "database_now", lambda: late)

    with pytest.raises(runs.StartRefused, match="The freeze would be over") as refused:
        runs.start(plan_id=plan.pk, user=None, actor=SETUP)

    assert refused.value.code == "expired"
    assert not Run.objects.exists()


def test_a_freeze_that_is_carried_out_after_its_own_end_is_over_and_holds_nothing_up(
    seen: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, late = approved_freeze(seen)
    run = runs.start(plan_id=plan.pk, user=None, actor=SETUP)
    monkeypatch.setattr(advance, "database_now", lambda: late)

    advance.advance(run.pk)

    run.refresh_from_db()
    assert (run.state, "was over before" in run.state_reason) == (RunState.SWITCHED, True)
    assert not seen.endpoint.freezes.exists()


@pytest.mark.parametrize(
    ("outcome", "hosts", "more", "words"),
    [
        ("drain", ["h9"], {}, "h9 is no host of"),
        ("drain", [], {}, "Name the hosts"),
        ("bring_back", ["h1"], {}, "that is drained"),
        ("freeze", [], {}, "Say until when"),
        ("wait", [], {}, "no outcome 'wait'"),
    ],
)
def test_outcomes_that_make_no_sense_are_refused(
    fleet: Fleet, outcome: str, hosts: list[str], more: dict[str, Any], words: str
) -> None:
    with pytest.raises(PlanRefused, match=words):
        proposed(fleet, outcome, *hosts, **more)
    assert not Plan.objects.exists()


def test_a_viewer_proposes_no_drain(fleet: Fleet) -> None:
    with pytest.raises(PermissionDenied):
        proposed(fleet, "drain", "h1", user=fleet.viewer)


def test_a_plan_to_a_later_version_says_that_it_rolls_forward(fleet: Fleet) -> None:
    fixed = fleet.add_version(3, bias=1.0)

    forward = fleet.propose(fixed)
    back = fleet.propose()

    assert json.loads(bytes(forward.document))["outcome"] == "roll_forward"
    assert json.loads(bytes(back.document))["outcome"] == "roll_back"
    assert title(forward) == f"Roll forward {fleet.endpoint.slug} from version 2 to version 3"


def test_a_fallback_is_named_kept_warm_and_gone_to_by_a_plan(fleet: Fleet) -> None:
    client = Client()
    client.force_login(fleet.commander, backend="django.contrib.auth.backends.ModelBackend")
    address = f"/api/v1/endpoints/{fleet.endpoint.slug}/fallback/"
    body = json.dumps({"version": 1, "reason": "It is simple, and never wrong by much."})

    answer = client.post(address, body, content_type="application/json")

    assert (answer.status_code, answer.json()["fallback"]) == (200, 1)
    [event] = events("endpoint.fallback")
    assert event["data"] == {"fallback": fleet.good.digest, "before": ""}
    assert keep_fallback_warm(fleet.endpoint.pk) == ["h1", "h2", "h3"]
    assert [p.view(fleet.slug)["versions"]["1"]["state"] for p in fleet.processes] == ["ready"] * 3
    assert fleet.serving() == [fleet.bad.digest] * 3
    fleet.endpoint.refresh_from_db()
    plan = fleet.propose()
    assert json.loads(bytes(plan.document))["outcome"] == "fallback"
    assert title(plan) == f"Fall back on {fleet.endpoint.slug} from version 2 to version 1"


def test_what_is_no_longer_named_leaves_the_memory_of_hosts_unless_something_else_needs_it(fleet: Fleet) -> None:
    named: dict[str, Any] = {"endpoint": fleet.endpoint, "reason": "It is simple.", "actor": SETUP}
    name_fallback(version=fleet.good, **named)
    assert keep_fallback_warm(fleet.endpoint.pk) == ["h1", "h2", "h3"]
    assert let_go(fleet.endpoint.pk, fleet.good.pk) == []
    name_fallback(version=None, **named)
    plan = fleet.propose()
    assert let_go(fleet.endpoint.pk, fleet.good.pk) == []
    void(plan_id=plan.pk, reason="No.", actor=SETUP)

    assert let_go(fleet.endpoint.pk, fleet.good.pk) == ["h1", "h2", "h3"]
    assert let_go(fleet.endpoint.pk, fleet.good.pk) == []
    assert let_go(fleet.endpoint.pk, fleet.bad.pk) == []

    states = [process.view(fleet.slug)["versions"]["1"]["state"] for process in fleet.processes]
    assert (states, fleet.serving()) == (["staged"] * 3, [fleet.bad.digest] * 3)
    assert [event["data"]["cause"] for event in events("rollback.prepare.outcome")][-3:] == ["fallback over"] * 3


def test_a_quarantined_version_is_nothing_to_fall_back_on(fleet: Fleet) -> None:
    quarantine(version=fleet.good, reason="Wrong.", actor=SETUP)
    fleet.good.refresh_from_db()

    with pytest.raises(RegistryError, match="is quarantined"):
        name_fallback(endpoint=fleet.endpoint, version=fleet.good, reason="Simple.", actor=SETUP)
    assert Endpoint.objects.get(pk=fleet.endpoint.pk).fallback_id is None
