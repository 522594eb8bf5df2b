"""The rule of a model held against an incident: what it proposes, what it lets start, and why it does not."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.utils import timezone

from accounts.approvals import automatic as leaves
from accounts.approvals.actions import Refused
from accounts.approvals.models import AutomaticLeave, RequestState
from accounts.approvals.policies import replace_policy
from accounts.models import ApprovalRequest
from audit.actions import service_actor
from incidents.models import Incident
from incidents.practice import automatic, rules
from incidents.practice.models import Attempt, AttemptState, AutomaticRule, RuleState
from incidents.practice.rules import RuleRefused, Terms
from incidents.rollback import preflight
from incidents.rollback.models import Candidate, CheckAnswer, Plan, PlanState, Preflight, Run, RunState
from registry.actions.known import stored_artifact
from registry.models import Deployment, Host, Placement, Version
from tests.incidents.rollback.fleet import events
from tests.incidents.world import World

pytestmark = pytest.mark.usefixtures("built")
SETUP = service_actor("test")
TERMS = Terms(severity=2, error_budget=0.05)


@pytest.fixture
def ready(world: World) -> World:
    """Version 2 is served; version 1 has soaked and has a golden test; rollbacks may start by themselves."""
    for host in Host.objects.filter(name__in=["h1", "h2", "h3"]):
        Placement.objects.update_or_create(endpoint=world.endpoint, host=host, defaults={"desired": world.bad})
        Deployment.objects.get_or_create(
            endpoint=world.endpoint, host=host, until=None,
            defaults={"version": world.bad, "since": timezone.now() - timedelta(hours=1), "cause": "release"},
        )  # fmt: skip
    golden = stored_artifact(b"{}", "application/json")
    Version.objects.filter(pk=world.good.pk).update(golden=golden, soaked_at=timezone.now())
    policy(world, automatic_allowed=True)
    return world


def policy(world: World, **terms: Any) -> None:
    replace_policy(
        subject_kind="rollback", risk_tier=world.endpoint.model.risk_tier, environment="production", required=1,
        factors=[{"role": "commander", "count": 1}], actor=SETUP, **terms,
    )  # fmt: skip


def set_rule(world: World, **terms: Any) -> AutomaticRule:
    return rules.set_rule(
        model=world.endpoint.model,
        terms=Terms(**{"severity": 2, "error_budget": 0.05} | terms),
        reason="Nights are thinly staffed.",
        user=world.users["kofi"],
        actor=world.actor("kofi"),
    )


def ranked(world: World, **figures: Any) -> Incident:
    incident = world.incident()
    world.candidate(incident, **figures)
    return incident


def considered(incident: Incident) -> Attempt:
    found = automatic.consider(incident.pk)
    assert found is not None
    found.refresh_from_db()
    return found


def submitted(plan: Plan) -> Plan:
    """The plan as a preflight without findings leaves it."""
    Preflight.objects.create(plan=plan, name="serving", question="Does it?", answer=CheckAnswer.PASS)
    Plan.objects.filter(pk=plan.pk).update(preflight_due_at=None)
    return preflight.submit(plan_id=plan.pk, actor=SETUP)


def test_a_plan_is_proposed_once_and_let_start_once_its_preflight_has_passed(ready: World) -> None:
    rule = set_rule(ready)
    incident = ranked(ready)
    assert automatic.due_incidents(timezone.now()) == [incident.pk]

    attempt = considered(incident)

    assert attempt.state == AttemptState.PROPOSED
    plan = Plan.objects.get(incident_ref=incident.ref)
    assert (attempt.plan, plan.to_version, plan.proposer) == (plan, ready.good, ready.users["kofi"])
    assert considered(incident).state == AttemptState.PROPOSED
    assert Plan.objects.filter(incident_ref=incident.ref).count() == 1
    assert automatic.due_incidents(timezone.now()) == []

    submitted(plan)
    assert automatic.due_incidents(timezone.now()) == [incident.pk]
    attempt = considered(incident)
    assert considered(incident).state == AttemptState.STARTED
    leave = AutomaticLeave.objects.get()
    replayed = {"accuracy": "0.800000", "low": "0.780000", "high": "0.820000", "difference_low": "0.230000"}
    replayed |= {"live_accuracy": "0.550000", "live_low": "0.530000", "live_high": "0.570000"}
    assert leave.rule == rules.facts(rule) | {
        "incident_severity": 2,
        "armed_by": ready.users["kofi"].pseudonym,
        "target": {
            "from": ready.bad.digest, "to": ready.good.digest, "replayed": replayed, "validated": {"by": "soak"},
        },
    }  # fmt: skip
    assert len(events("approval.automatic")) == 1
    assert [event["action"] for event in events("practice.automatic.start", incident=incident.ref)] == [
        "practice.automatic.start"
    ]


@pytest.mark.parametrize(
    ("code", "happens"),
    [
        ("not_better", lambda w: Candidate.objects.update(replay=alike())),
        ("budget", lambda w: AutomaticRule.objects.update(error_budget=0.9)),
        ("unvalidated", lambda w: Version.objects.filter(pk=w.good.pk).update(soaked_at=None)),
        ("no_target", lambda w: Candidate.objects.update(eligible=False)),
    ],
)
def test_what_no_longer_holds_when_the_plan_could_start_is_left_to_people(
    ready: World, code: str, happens: Any
) -> None:
    set_rule(ready)
    incident = ranked(ready)
    plan = considered(incident).plan
    assert plan is not None
    submitted(plan)
    happens(ready)

    attempt = considered(incident)

    assert (attempt.state, attempt.codes) == (AttemptState.ASKED, [code])
    assert not AutomaticLeave.objects.exists()


@pytest.mark.parametrize(
    ("code", "prepare"),
    [
        ("severity", lambda w, i: Incident.objects.filter(pk=i.pk).update(severity=3)),
        ("not_ranked", lambda w, i: Candidate.objects.all().delete()),
        ("no_labels", lambda w, i: Candidate.objects.update(replay={})),
        ("not_better", lambda w, i: Candidate.objects.update(replay=alike())),
        ("budget", lambda w, i: AutomaticRule.objects.update(error_budget=0.9)),
        ("unvalidated", lambda w, i: Version.objects.filter(pk=w.good.pk).update(soaked_at=None)),
        ("no_target", lambda w, i: Candidate.objects.update(eligible=False)),
    ],
)
def test_nothing_is_proposed_yet_and_the_incident_says_why_once(ready: World, code: str, prepare: Any) -> None:
    set_rule(ready)
    incident = ranked(ready)
    prepare(ready, incident)

    for _ in range(2):
        attempt = considered(Incident.objects.get(pk=incident.pk))

    assert (attempt.state, attempt.codes) == (AttemptState.CONSIDERING, [code])
    told = events("practice.automatic.decline", incident=incident.ref)
    assert [event["data"]["codes"] for event in told] == [[code]]
    assert not Plan.objects.exists()


def alike() -> dict[str, Any]:
    same = {"n": 100, "accuracy": 0.6, "low": 0.5, "high": 0.7}
    return {"labelled": 100, "candidate": same, "live": same}


@pytest.mark.parametrize(
    ("code", "prepare"),
    [
        ("policy", lambda w: policy(w)),
        ("hours", lambda w: AutomaticRule.objects.update(**closed_now())),
        ("tripped", lambda w: rules.trip(rule=AutomaticRule.objects.get(), why="Tried.", incident_ref="", actor=SETUP)),
        ("armed_by", lambda w: AutomaticRule.objects.update(armed_by=w.users["rosa"])),
        ("dwell", lambda w: rolled_back(w)),
    ],
)
def test_what_may_not_start_by_itself_is_prepared_and_people_are_asked(ready: World, code: str, prepare: Any) -> None:
    set_rule(ready)
    prepare(ready)
    incident = ranked(ready)

    attempt = considered(incident)

    assert (attempt.state, attempt.codes) == (AttemptState.ASKED, [code])
    plan = submitted(attempt.plan)
    assert considered(incident).state == AttemptState.ASKED
    assert not AutomaticLeave.objects.exists()
    assert ApprovalRequest.objects.get(pk=plan.request_id).state == RequestState.OPEN
    assert [event["data"]["codes"] for event in events("practice.automatic.ask", incident=incident.ref)] == [[code]]


def closed_now() -> dict[str, int]:
    hour = timezone.now().hour
    return {"from_hour": 0, "to_hour": hour} if hour else {"from_hour": 12, "to_hour": 13}


def rolled_back(world: World) -> None:
    """Another version was rolled back from ten minutes ago."""
    run = world.verified(world.incident(version="7", fingerprint="e" * 64))
    Plan.objects.filter(pk=run.plan_id).update(from_version=None)
    Run.objects.filter(pk=run.pk).update(started_at=timezone.now() - timedelta(minutes=10))


def test_too_many_within_the_window_trip_the_breaker_until_a_person_arms_it(ready: World) -> None:
    rule = set_rule(ready, most=1)
    request = submitted(considered(ranked(ready)).plan).request
    AutomaticLeave.objects.create(request=request, used_at=timezone.now() - timedelta(hours=2))
    Incident.objects.update(state="closed")
    Plan.objects.update(state=PlanState.VOID)
    again = ranked(ready)

    assert considered(again).codes == ["most"]

    rule.refresh_from_db()
    assert rule.state == RuleState.TRIPPED
    assert [event["incident"] for event in events("practice.rule.trip")] == [again.ref]
    kofi = {"user": ready.users["kofi"], "actor": ready.actor("kofi")}
    with pytest.raises(PermissionDenied):
        rules.arm(rule_id=rule.pk, reason="Seen.", user=ready.users["rosa"], actor=ready.actor("rosa"))
    assert rules.arm(rule_id=rule.pk, reason="Seen.", **kofi).state == RuleState.ARMED
    with pytest.raises(RuleRefused):
        rules.arm(rule_id=rule.pk, reason="Seen.", **kofi)


def test_a_version_that_was_itself_rolled_back_from_lately_is_no_target(ready: World) -> None:
    set_rule(ready)
    run = ready.verified(ready.incident(version="7", fingerprint="e" * 64))
    Plan.objects.filter(pk=run.plan_id).update(from_version=ready.good)

    assert considered(ranked(ready)).codes == ["flapping"]


def test_people_who_were_quicker_are_left_alone(ready: World) -> None:
    set_rule(ready)
    incident = ranked(ready)
    ready.plan(incident, state=PlanState.DRAFT)

    assert (considered(incident).state, considered(incident).codes) == (AttemptState.ENDED, ["proposed"])


def test_a_denial_wins_over_the_rule(ready: World) -> None:
    set_rule(ready)
    incident = ranked(ready)
    plan = submitted(considered(incident).plan)
    ApprovalRequest.objects.filter(pk=plan.request_id).update(state=RequestState.DENIED)

    attempt = considered(incident)

    assert (attempt.state, attempt.codes) == (AttemptState.ASKED, ["not_open"])
    assert not AutomaticLeave.objects.exists()


def let_start(world: World) -> tuple[Incident, Plan]:
    incident = ranked(world)
    plan = submitted(considered(incident).plan)
    assert considered(incident).state == AttemptState.STARTED
    return incident, plan


def test_a_leave_is_taken_back_when_the_rule_is_disarmed_replaced_or_trips(ready: World) -> None:
    rule = set_rule(ready)
    kofi = {"reason": "People take it.", "user": ready.users["kofi"], "actor": ready.actor("kofi")}
    turns: list[Any] = [
        lambda: rules.disarm(rule_id=rule.pk, **kofi),
        lambda: rules.trip(rule=rule, why="Tried.", incident_ref="", actor=SETUP),
        lambda: set_rule(ready, most=3),
    ]
    incident, plan = let_start(ready)
    for turn in turns:
        AutomaticLeave.objects.get_or_create(request=plan.request)
        Attempt.objects.update(state=AttemptState.STARTED)
        AutomaticRule.objects.filter(replaced_at=None).update(state=RuleState.ARMED)
        turn()
        assert not AutomaticLeave.objects.exists()
        assert not leaves.is_needed(plan.request)
        assert Attempt.objects.get().state == AttemptState.ASKED
    assert len(events("approval.automatic.withdraw", incident=incident.ref)) == 3


def test_a_leave_counts_no_more_once_its_policy_is_replaced(ready: World) -> None:
    set_rule(ready)
    _, plan = let_start(ready)
    assert leaves.is_needed(plan.request)

    policy(ready)

    assert not leaves.is_needed(plan.request)
    with pytest.raises(Refused, match="not in force any more"):
        leaves.use(request_id=plan.request_id, subject_hash=plan.plan_hash)
    assert AutomaticLeave.objects.get().used_at is None


@pytest.mark.parametrize("code", ["unjudged", "busy", "frozen"])
def test_what_passes_by_itself_is_waited_for_without_a_leave(ready: World, code: str) -> None:
    set_rule(ready)
    incident = ranked(ready)
    plan = submitted(considered(incident).plan)
    if code == "frozen":
        freeze = ready.endpoint.freezes.create(until=timezone.now() + timedelta(hours=1), reason="Quiet.")
    else:
        run = ready.verified(ready.incident(version="7", fingerprint="e" * 64))
        Run.objects.filter(pk=run.pk).update(started_at=timezone.now() - timedelta(days=2))
        Plan.objects.filter(pk=run.plan_id).update(from_version=None)
        if code == "busy":
            Run.objects.filter(pk=run.pk).update(state=RunState.RUNNING)
        else:
            Attempt.objects.create(
                incident=Incident.objects.get(ref=run.plan.incident_ref), rule=AutomaticRule.objects.get(),
                endpoint=ready.endpoint, plan=run.plan, state=AttemptState.STARTED,
            )  # fmt: skip

    for _ in range(2):
        attempt = considered(incident)
        assert (attempt.state, attempt.codes) == (AttemptState.PROPOSED, [code])
    assert not AutomaticLeave.objects.exists()
    assert len(events("practice.automatic.wait", incident=incident.ref)) == 1

    if code == "frozen":
        freeze.delete()
    else:
        Run.objects.update(state=RunState.SWITCHED)
        Attempt.objects.exclude(incident=incident).update(judged_at=timezone.now())
    assert considered(incident).state == AttemptState.STARTED
    assert AutomaticLeave.objects.get().request_id == plan.request_id


def test_a_convergence_is_waited_for_and_a_persons_run_is_not(ready: World) -> None:
    set_rule(ready)
    incident = ranked(ready)
    run = ready.verified(ready.incident(version="7", fingerprint="e" * 64))
    Run.objects.filter(pk=run.pk).update(state=RunState.RUNNING)
    Plan.objects.filter(pk=run.plan_id).update(kind="converge")

    assert (considered(incident).state, considered(incident).codes) == (AttemptState.CONSIDERING, ["converging"])

    Plan.objects.filter(pk=run.plan_id).update(kind="release")
    assert (considered(incident).state, considered(incident).codes) == (AttemptState.ENDED, ["busy"])


def test_an_incident_from_before_the_rule_was_armed_is_left_to_people(ready: World) -> None:
    ranked(ready)
    set_rule(ready)
    Incident.objects.update(detected_at=timezone.now() - timedelta(minutes=5))

    assert automatic.due_incidents(timezone.now()) == []


def test_a_run_that_did_not_come_through_trips_the_rule(ready: World) -> None:
    rule = set_rule(ready)
    incident = ranked(ready)
    attempt = considered(incident)
    Plan.objects.filter(pk=attempt.plan_id).update(state=PlanState.STARTED)
    Attempt.objects.update(state=AttemptState.STARTED)
    Run.objects.create(plan=attempt.plan, endpoint=ready.endpoint, fence=1, state=RunState.HALTED, state_reason="Gate.")
    assert automatic.unjudged(timezone.now()) == [attempt.pk]

    assert automatic.judge(attempt.pk)
    assert not automatic.judge(attempt.pk)

    rule.refresh_from_db()
    assert (rule.state, rule.state_reason) == (
        RuleState.TRIPPED,
        "The rollback that started by itself did not come through: Gate.",
    )
    assert automatic.unjudged(timezone.now()) == []


def test_terms_that_can_not_be_are_refused(ready: World) -> None:
    for wrong in ({"severity": 5}, {"error_budget": 1.5}, {"from_hour": 9, "to_hour": 9}, {"dwell_seconds": 5}):
        with pytest.raises(RuleRefused):
            set_rule(ready, **wrong)
    with pytest.raises(PermissionDenied):
        rules.set_rule(
            model=ready.endpoint.model, terms=TERMS, reason="I like it.", user=ready.users["rosa"],
            actor=ready.actor("rosa"),
        )  # fmt: skip
    assert not AutomaticRule.objects.exists()


def test_a_commander_sets_and_turns_the_rule_by_page_and_by_api(ready: World) -> None:
    client, slug, model = ready.client("kofi"), ready.endpoint.slug, ready.endpoint.model.slug
    form = {
        "severity": 2, "error_percent": "5", "from_hour": 0, "to_hour": 24, "dwell_minutes": 60, "most": 2,
        "window_hours": 24, "drill_days": 14, "reason": "Nights.",
    }  # fmt: skip
    assert ready.client("rosa").post(f"/readiness/{slug}/rule/", form).status_code == 403
    bad = client.post(f"/readiness/{slug}/rule/", form | {"from_hour": 9, "to_hour": 3})
    assert (bad.status_code, AutomaticRule.objects.count()) == (400, 0)
    assert client.post(f"/readiness/{slug}/rule/", form).status_code == 302
    rule = AutomaticRule.objects.get()
    assert (rule.error_budget, rule.dwell_seconds, rule.window_seconds, rule.drill_days) == (0.05, 3600, 86_400, 14)
    assert client.post(f"/readiness/{slug}/rule/disarm/", {"reason": "Audit."}).status_code == 302
    answer = client.post(
        f"/api/v1/automatic-rules/{rule.pk}/arm/", {"reason": "Done."}, content_type="application/json"
    )
    assert (answer.status_code, answer.json()["state"]) == (200, "armed")
    considered(ranked(ready))
    page = client.get(f"/readiness/{slug}/").content.decode()
    assert "severity 2 or worse" in page
    assert "passed a drill within 14 days" in page
    assert "Plan proposed" in page
    wish = {"model": model, "severity": 1, "error_budget": 0.1, "reason": "Only the worst."}
    made = client.post("/api/v1/automatic-rules/", wish, content_type="application/json")
    assert (made.status_code, made.json()["number"]) == (201, 2)
    listed = client.get("/api/v1/automatic-rules/").json()["results"]
    assert [(row["number"], row["replaced_at"] is None) for row in listed] == [(2, True), (1, False)]
