"""Registered gates decide over a run's waves: suites, HTTP checks, figures, named people, series."""

import datetime
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from accounts.actions import actor_for
from audit.models import AuditEvent
from incidents.rollback import advance
from incidents.rollback import run as verbs
from incidents.rollback.gating import asking, due, suites
from incidents.rollback.gating.actions import accept, retire_gate
from incidents.rollback.gating.bodies import GateRefused
from incidents.rollback.gating.models import Asking, AskingState
from incidents.rollback.gating.series import looks
from incidents.rollback.models import Check, HostStep, Run, RunState
from incidents.rollback.plan import read
from tests.incidents.rollback.fleet import Fleet, events
from tests.incidents.rollback.gating.answering import Answering, gate
from tests.waiting import until

PASSED = "<testsuite><testcase name='a'/></testsuite>"
FAILED = "<testsuite><testcase name='a'/><testcase name='b'><failure message='9 is not 3'/></testcase></testsuite>"


def suite(tmp_path: Path, report: str = PASSED, then: str = "") -> dict[str, Any]:
    """A suite whose program asks the first host that it was told of for the version, and writes that report."""
    program = tmp_path / "suite.py"
    program.write_text(
        "import json, os, sys, urllib.request as http\n"
        "host = sorted(json.loads(os.environ['LASTGOOD_HOSTS']).items())[0][1]\n"
        "state = json.load(http.urlopen(host + '/v2/models/' + os.environ['LASTGOOD_MODEL']))\n"
        f"open(sys.argv[1], 'w').write({report!r})\n{then}\n"
    )
    return {"argv": [sys.executable, "-I", str(program), "$report"], "seconds": 20, "memory_mib": 1024}


def answer_of(run: Run, name: str) -> tuple[str, str]:
    check = Check.objects.filter(run=run, stage="gate", name=name).latest("pk")
    return check.answer, check.observed


def moved(run: Run) -> Run:
    """The run after its suites were run and it was moved as far as it goes."""
    for _ in range(10):
        advance.advance(run.pk)
        for row in Asking.objects.filter(run=run, definition__kind="suite").exclude(state=AskingState.ENDED):
            suites.run_suite(row.pk)
        run.refresh_from_db()
        waits = Asking.objects.filter(run=run).exclude(state=AskingState.ENDED).exists()
        if run.state != RunState.RUNNING or (waits and not Asking.objects.filter(run=run, definition__kind="suite")):
            break
    return run


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked again soon, by a run that gives its lease back meanwhile, as it does for longer waits."""
    monkeypatch.setattr(asking, "AGAIN_SECONDS", dict.fromkeys(asking.AGAIN_SECONDS, 0.3))


def test_a_suite_and_an_http_check_that_pass_let_a_run_through(fleet: Fleet, server: Answering, tmp_path: Path) -> None:
    server.answer = lambda *asked: (200, {"model": [{"version": 1}]})
    body = {"url": f"{server.url}/of/$endpoint", "pointer": "/model/0/version", "equals": "$version"}
    gate(fleet.model, "smoke", "suite", suite(tmp_path))
    gate(fleet.model, "shop", "http", body)
    gate(fleet.model, "memory", "hardware", {"figure": "lastgood_host_memory_free_bytes", "at_least": "1"})

    run = moved(fleet.started())

    assert run.state == RunState.SWITCHED, run.state_reason
    assert answer_of(run, "smoke") == ("pass", "1 passed, 0 skipped")
    assert answer_of(run, "shop") == ("pass", "/model/0/version is 1")
    assert answer_of(run, "memory")[0] == "pass"
    assert {path for _, path, _ in server.asked} == {f"/of/{fleet.endpoint.slug}"}
    told = [event["data"] for event in events("gate.suite")]
    assert [(one["wave"], one["answer"], one["passed"]) for one in told] == [(1, "pass", 1), (2, "pass", 1)]
    asked = Asking.objects.filter(run=run, definition__name="smoke").order_by("wave__index")
    assert [[host["name"] for host in row.hosts] for row in asked] == [["h1"], ["h1", "h2", "h3"]]
    assert bytes(asked[0].report).decode() == PASSED
    assert told[0]["report"] == asked[0].report_sha256 != ""
    gates = {entry["name"]: entry for entry in read(run.plan).body["gates"]}
    assert gates["smoke"]["body"]["argv"][0] == sys.executable
    assert read(run.plan).gate_patience_seconds >= 100


def test_a_suite_that_fails_stops_the_run_after_its_canary(fleet: Fleet, tmp_path: Path) -> None:
    gate(fleet.model, "smoke", "suite", suite(tmp_path, FAILED, "sys.exit(1)"))

    run = moved(fleet.started())

    assert (run.state, run.halt_code) == (RunState.HALTED, "gate_failed")
    assert answer_of(run, "smoke") == ("fail", "1 failed, 0 with errors, 1 passed, 0 skipped")
    assert fleet.serving() == [fleet.good.digest, fleet.bad.digest, fleet.bad.digest]
    row = Asking.objects.get(run=run)
    assert row.counts["failures"] == [{"name": "b", "message": "9 is not 3"}]
    assert "9 is not 3" not in str([bytes(event.canon) for event in AuditEvent.objects.filter(action="gate.suite")])


def test_a_suite_is_run_again_when_its_run_is_taken_up_again(fleet: Fleet, tmp_path: Path) -> None:
    gate(fleet.model, "smoke", "suite", suite(tmp_path, FAILED))
    run = moved(fleet.started())
    assert run.halt_code == "gate_failed"
    suite(tmp_path, PASSED)

    verbs.resume(run_id=run.pk, user=fleet.commander, reason="Mended.", actor=actor_for(user=fleet.commander))
    run = moved(run)

    assert run.state == RunState.SWITCHED


def test_a_suite_whose_worker_dies_is_run_once_more_and_then_says_nothing(fleet: Fleet, tmp_path: Path) -> None:
    gate(fleet.model, "smoke", "suite", suite(tmp_path))
    run = fleet.started()
    advance.advance(run.pk)
    row = Asking.objects.get(run=run)
    past = timezone.now() - datetime.timedelta(seconds=1)

    first, second = suites.Lease(row.pk), suites.Lease(row.pk)
    assert (first.taken(), second.taken()) == (True, False)
    assert suites.run_suite(row.pk) is False
    Asking.objects.filter(pk=row.pk).update(lease_until=past)
    assert list(due.suites(timezone.now())) == [row.pk]
    assert second.taken()
    assert not first.mine().exists()
    Asking.objects.filter(pk=row.pk).update(lease_until=past)
    assert suites.run_suite(row.pk) is True

    row.refresh_from_db()
    assert (row.state, row.answer, row.attempts) == ("ended", "inconclusive", 2)
    advance.advance(run.pk)
    run.refresh_from_db()
    assert (run.state, run.halt_code) == (RunState.HALTED, "gate_inconclusive")
    assert "its worker was lost in each of 2 attempts" in run.state_reason


def test_a_retired_suite_is_not_run(fleet: Fleet, tmp_path: Path) -> None:
    definition = gate(fleet.model, "smoke", "suite", suite(tmp_path))
    run = fleet.started()
    administrator = person(fleet, "administrator")
    who: dict[str, Any] = {"user": administrator, "actor": actor_for(user=administrator)}
    retire_gate(definition=definition, reason="It tests the wrong shop.", **who)

    run = moved(run)

    assert (run.state, run.halt_code) == (RunState.HALTED, "gate_inconclusive")
    assert not Asking.objects.exists()
    assert "smoke" not in {entry["name"] for entry in read(fleet.propose(fleet.bad)).body["gates"]}
    with pytest.raises(GateRefused, match="was retired before"):
        retire_gate(definition=definition, reason="Again.", **who)


def test_a_gate_that_was_retired_and_registered_again_as_it_was_is_asked(fleet: Fleet, server: Answering) -> None:
    definition = gate(fleet.model, "shop", "http", {"url": server.url})
    type(definition).objects.filter(pk=definition.pk).update(retired_at=timezone.now(), retired_reason="By mistake.")
    again = gate(fleet.model, "shop", "http", {"url": server.url})
    assert again.digest == definition.digest

    run = fleet.started()
    until(lambda: Asking.objects.filter(run=moved(run)).exists())

    assert {row.definition_id for row in Asking.objects.all()} == {again.pk}


def test_one_wrong_answer_of_an_http_check_is_not_enough_and_three_are(fleet: Fleet, server: Answering) -> None:
    answers = iter([500, 200])
    server.answer = lambda *asked: (next(answers, 500), {})
    gate(fleet.model, "shop", "http", {"url": server.url})

    run = fleet.started()
    until(lambda: moved(run).state != RunState.RUNNING)

    assert (run.state, run.halt_code) == (RunState.HALTED, "gate_failed")
    checks = Check.objects.filter(run=run, name="shop").order_by("wave__index").values_list("answer", "observed")
    assert list(checks) == [("pass", "status 200"), ("fail", "status 500")]


def test_named_people_accept_and_the_run_goes_on(fleet: Fleet) -> None:
    gate(fleet.model, "acceptance", "acceptance", {"people": ["vera", "rita"], "needed": 1})
    run = moved(fleet.started())
    assert run.state == RunState.RUNNING
    assert answer_of(run, "acceptance") == ("inconclusive", "0 of 1 accepted")
    first = Asking.objects.get(run=run)

    def says(row: Asking, user: Any, accepted: bool, reason: str = "") -> None:
        accept(asking=row, user=user, accepted=accepted, reason=reason, actor=actor_for(user=user))

    with pytest.raises(GateRefused, match="names other people"):
        says(first, fleet.commander, True)
    with pytest.raises(GateRefused, match="Say in a sentence"):
        says(first, fleet.viewer, False)
    assert not AuditEvent.objects.filter(action__startswith="gate.acc").exists()
    says(first, fleet.viewer, True)
    with pytest.raises(GateRefused, match="it stands"):
        says(first, fleet.viewer, False, "No.")
    run = moved(run)
    second = Asking.objects.get(run=run, wave__index=2)
    says(second, fleet.responder, False, "The prices are wrong.")
    run = moved(run)

    assert (run.state, run.halt_code) == (RunState.HALTED, "gate_failed")
    assert answer_of(run, "acceptance") == ("fail", "refused: The prices are wrong.")
    [accepted], [refused] = events("gate.accept"), events("gate.refuse")
    assert (accepted["actor"]["id"], refused["actor"]["id"]) == (fleet.viewer.pseudonym, fleet.responder.pseudonym)


def test_a_figure_that_a_host_does_not_have_says_nothing(fleet: Fleet) -> None:
    gate(fleet.model, "gpu", "hardware", {"figure": "lastgood_host_gpu_memory_free_bytes", "at_least": "1"})

    run = moved(fleet.started())

    assert answer_of(run, "gpu") == ("inconclusive", "h1 has no figure lastgood_host_gpu_memory_free_bytes")
    assert run.state == RunState.RUNNING


def test_a_figure_beyond_its_limit_stops_the_run_after_its_canary(fleet: Fleet) -> None:
    gate(fleet.model, "memory", "hardware", {"figure": "lastgood_host_memory_free_bytes", "at_most": "1"})

    run = fleet.started()
    until(lambda: moved(run).state != RunState.RUNNING)

    assert (run.state, run.halt_code) == (RunState.HALTED, "gate_failed")
    answer, observed = answer_of(run, "memory")
    assert answer == "fail"
    assert observed.startswith("h1 ")
    assert fleet.serving() == [fleet.good.digest, fleet.bad.digest, fleet.bad.digest]


@pytest.fixture
def prometheus(server: Answering) -> Answering:
    """The server, registered as a metric source."""
    from monitoring.pull.models import Source

    Source.objects.create(name="prometheus", address=server.url)
    return server


def test_orders_that_fall_on_the_switched_hosts_fail_the_gate(fleet: Fleet, prometheus: Answering) -> None:
    def values(method: str, path: str, body: dict[str, list[str]]) -> tuple[int, Any]:
        since, until, step = (float(body[name][0]) for name in ("start", "end", "step"))
        level = 20.0 if 'host=~"h1"' in body["query"][0] else 100.0
        points = []
        while since <= until + 0.001:
            points.append([since, str(level + (round(since * 7) % 5))])
            since += step
        return 200, {
            "status": "success",
            "data": {"resultType": "matrix", "result": [{"metric": {}, "values": points}]},
        }

    prometheus.answer = values
    body = {
        "source": "prometheus",
        "query": 'sum(rate(orders_total{host=~"$hosts"}[1m]))',
        "baseline_query": 'sum(rate(orders_total{host=~"$others"}[1m]))',
        "compare": "canary_baseline",
        "worse": "down",
        "step_seconds": 1,
        "window_seconds": 60,
    }
    gate(fleet.model, "orders", "series", body)
    run = moved(fleet.started())
    assert answer_of(run, "orders") == ("inconclusive", "0 of 8 intervals have passed")
    step = HostStep.objects.get(run=run, host__name="h1")
    earlier = {**step.marks, "done": (timezone.now() - datetime.timedelta(seconds=30)).isoformat()}
    HostStep.objects.filter(pk=step.pk).update(marks=earlier)

    until(lambda: moved(run).state != RunState.RUNNING)

    assert (run.state, run.halt_code) == (RunState.HALTED, "gate_failed"), answer_of(run, "orders")
    assert 'host=~"h2|h3"' in json.dumps([body["query"] for *_, body in prometheus.asked]).replace("\\", "")
    assert answer_of(run, "orders")[0] == "fail"


def test_looks_at_a_series_double_their_intervals_until_patience_is_over() -> None:
    assert [looks(seconds, 15) for seconds in (60, 120, 239, 240, 900, 960)] == [1, 1, 1, 2, 3, 4]


def person(fleet: Fleet, role: str) -> Any:
    from accounts.actions import create_user
    from tests.incidents.rollback.fleet import PASSWORD, SETUP

    return create_user(
        username="adam", email="adam@example.org", full_name="Adam", password=PASSWORD, roles=[role], actor=SETUP
    )
