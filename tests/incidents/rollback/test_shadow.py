"""A release's version is asked live requests beside the one that answers, and compared, before any host is switched."""

import time
from typing import Any

import pytest

from incidents.rollback import advance
from incidents.rollback import run as runs
from incidents.rollback.consequences import consequences
from incidents.rollback.dry_run import dry_run_of
from incidents.rollback.models import HostStep, Run, RunState, StepState
from incidents.rollback.plan import PlanRefused
from incidents.rollback.queries import waves_of
from incidents.rollback.shadow import turns
from incidents.rollback.shadow.told import facts_of, lines_of
from incidents.rollback.terms import plan_terms
from registry.models import Host
from tests.incidents.rollback.fleet import Fleet, advance_until, events
from tests.waiting import until

AGES = list(range(20, 80))
COLUMNS = {"AGE": AGES, "COLOR": [1 + age % 3 for age in AGES], "SHAPE": [0] * len(AGES)}
EASY = {"seconds": 1, "rows": 400, "max_differing": "0.99", "max_moved": "0.9", "max_failures": "0.5"}


def mirrored(run: Run) -> list[str]:
    found = HostStep.objects.filter(run=run, state=StepState.SHADOWED).order_by("host__name")
    return list(found.values_list("host__name", flat=True))


def until_mirrored(run: Run, *hosts: str) -> None:
    deadline = time.monotonic() + 60
    while mirrored(run) != list(hosts):
        assert time.monotonic() < deadline, run.state_reason
        advance.advance(run.pk)


def ask(fleet: Fleet, times: int, *hosts: int) -> list[str]:
    """Live requests of 60 rows each; the digests that answered."""
    found = []
    for host in hosts:
        for number in range(times):
            answer = fleet.processes[host].infer(COLUMNS, model=fleet.slug, id=f"{host}-{number}")
            found.append(answer.json()["parameters"]["digest"])
    return found


def is_mirroring(fleet: Fleet, host: int) -> bool:
    return bool(fleet.processes[host].view(fleet.slug)["shadow"]["running"])


def acts(host: str) -> list[str]:
    return [e["data"]["step"] for e in events("rollback.step.intent") if e["data"]["host"] == host]


def test_hosts_of_the_first_wave_are_compared_together_and_then_switched(fleet: Fleet) -> None:
    third = fleet.add_version(3, bias=-2.0)
    run = fleet.started(third, kind="release", wave_sizes=[2], shadow=EASY)
    said = str(plan_terms(run.plan))
    assert "h1, h2: version 3 is asked 100 % of the requests as well for at least 1 s and 400 rows" in said

    until_mirrored(run, "h1", "h2")
    assert set(ask(fleet, 5, 0, 1)) == {fleet.bad.digest}
    advance_until(run, RunState.SWITCHED, RunState.HALTED, RunState.COMPENSATED)

    assert (run.state, run.state_reason) == (RunState.SWITCHED, "")
    assert fleet.serving() == [third.digest] * 3
    assert (acts("h1"), acts("h3")) == (["shadow", "switch"], ["switch"])
    [answered] = events("rollback.shadow.answer")
    assert (answered["data"]["answer"], answered["data"]["look"]) == ("pass", 1)
    assert run.checks.filter(stage="shadow", answer="pass").count() == 3
    stops = [stop["name"] for stop in waves_of(run)[0]["lanes"][0]["steps"]]
    assert stops[5:8] == ["ask beside", "compare", "switch"]
    found = facts_of(run.steps.all(), advance.read(run.plan))
    assert found is not None
    assert (found["hosts"], found["rows"], found["requests"], found["failures"]) == (["h1", "h2"], 600, 10, 0)
    assert sum(part["rows"] for part in found["moved"]) == 600
    assert fleet.processes[0].view(fleet.slug)["shadow"]["ended"] == "the default was switched"


def test_a_version_that_does_not_compare_is_never_switched_to_and_the_release_goes_back(fleet: Fleet) -> None:
    run = fleet.started(fleet.good, kind="release", shadow={"seconds": 1, "rows": 100})
    until_mirrored(run, "h1")
    assert set(ask(fleet, 5, 0)) == {fleet.bad.digest}
    waiting = Run.objects.select_related("plan__from_version", "plan__to_version").get(pk=run.pk)
    said = consequences(waiting)
    assert "h1 asks version 1 beside, for a minute at most" in said["pause"]
    assert said["compensate"].startswith("h1 ceases to ask version 1 beside, and was not switched")

    advance_until(run, RunState.COMPENSATED, RunState.HALTED, RunState.SWITCHED)

    assert run.state == RunState.COMPENSATED
    assert "Fail: 300 of 300 rows differ" in run.state_reason
    assert run.state_reason.endswith("Nothing was switched.")
    assert fleet.serving() == [fleet.bad.digest] * 3
    assert [acts(name) for name in ("h1", "h2", "h3")] == [["shadow", "end_shadow"], [], []]
    shadow = fleet.processes[0].view(fleet.slug)["shadow"]
    assert (shadow["running"], shadow["ended"]) == (False, "its caller ended it")
    assert HostStep.objects.get(run=run, host__name="h1").state == StepState.RESTORED
    lines = lines_of(facts_of(run.steps.all(), advance.read(run.plan)), advance.read(run.plan))
    differing = {"label": "Another output", "value": "300 rows, 100 %", "expected": "at most 5 %", "within": False}
    assert differing in lines
    apart = next(line for line in lines if line["label"] == "Scores as a whole")
    assert apart["value"].endswith(": distributed differently")
    assert [sum(one["values"]) for one in apart["scores"]] == [300, 300]


def test_without_enough_requests_a_person_is_asked_and_may_let_it_pass(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its shadow runs out between looks, and is begun anew."""
    monkeypatch.setattr(turns, "LASTS_SECONDS", 3.0)
    run = fleet.started(fleet.good, kind="release", shadow={"seconds": 1, "rows": 100})
    until_mirrored(run, "h1")
    until(lambda: not is_mirroring(fleet, 0))
    monkeypatch.setattr(turns, "LASTS_SECONDS", 60.0)
    deadline = time.monotonic() + 60
    while acts("h1").count("shadow") < 2:
        assert time.monotonic() < deadline
        advance.advance(run.pk)
    step = HostStep.objects.get(run=run, host__name="h1")
    advance.advance(run.pk)
    step.refresh_from_db()
    early = {**step.baseline, "shadow": {**step.baseline["shadow"], "since": "2020-01-01T00:00:00+00:00"}}
    HostStep.objects.filter(pk=step.pk).update(baseline=early)
    advance_until(run, RunState.HALTED, RunState.SWITCHED)
    assert (run.halt_code, fleet.serving()) == ("shadow_inconclusive", [fleet.bad.digest] * 3)
    assert "Inconclusive: 0 of 100 rows compared" in run.state_reason
    person: dict[str, Any] = {"user": fleet.commander, "actor": advance.WORKER}

    runs.resume(run_id=run.pk, reason="Wait longer.", **person)
    advance.advance(run.pk)
    run.refresh_from_db()
    assert (run.state, mirrored(run)) == (RunState.RUNNING, ["h1"])

    HostStep.objects.filter(pk=step.pk).update(baseline=early)
    advance_until(run, RunState.HALTED, RunState.SWITCHED)
    runs.pass_gate(run_id=run.pk, reason="It was tried elsewhere.", **person)
    advance_until(run, RunState.SWITCHED, RunState.HALTED, RunState.COMPENSATED)
    assert (run.state, fleet.serving()) == (RunState.SWITCHED, [fleet.good.digest] * 3)
    [passed] = events("rollback.gate.pass")
    assert passed["data"]["of"] == "shadow"


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("rollback", {}),
    ("release", {"seconds": 0}),
    ("release", {"percent": 101}),
    ("release", {"max_differing": "1"}),
    ("release", {"max_moved": "much"}),
    ("release", {"tolerance": -1}),
    ("release", {"hosts": ["h1"]}),
]


def test_a_shadow_that_makes_no_sense_is_refused(fleet: Fleet) -> None:
    for kind, wish in WRONG:
        with pytest.raises(PlanRefused) as refused:
            fleet.propose(kind=kind, shadow=wish)
        assert refused.value.code == "bad_shadow", wish


def test_the_plan_says_what_is_done_where_no_engine_can_mirror(fleet: Fleet) -> None:
    proposed = fleet.propose(kind="release", shadow={}, strategy="weighted")
    assert [step.name for step in dry_run_of(proposed).hosts[0].steps][3:6] == ["shadow", "share", "share"]

    Host.objects.update(engine="triton")
    said = {term["label"]: term["value"] for term in plan_terms(fleet.propose(kind="release", shadow={}))}
    assert said["First, as a shadow"].startswith("not possible: the engine of no host in the first wave can mirror")


def test_hosts_of_the_first_wave_that_can_not_mirror_wait_for_those_that_can(fleet: Fleet) -> None:
    Host.objects.filter(name="h2").update(engine="triton")
    proposed = fleet.propose(kind="release", wave_sizes=[3], shadow={})
    run = runs.open_run(plan=proposed, document=advance.read(proposed), fence=99, started_by=None)

    until_mirrored(run, "h1", "h3")

    assert HostStep.objects.get(run=run, host__name="h2").state == StepState.PENDING
    assert fleet.serving() == [fleet.bad.digest] * 3
