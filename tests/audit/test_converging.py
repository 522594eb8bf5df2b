"""What the verifier says of a host that the reconciler brings to what its run had left it with."""

import pytest

from audit.verify import installed_policies, policy_hash
from tests.audit.tale import PLAN, Tale

NEW, OLD = "2" * 64, "1" * 64
SITE = "income-production"


def ran(kind: str) -> Tale:
    """A run of two hosts, of which one was switched, and which somebody then stopped; a minute later."""
    tale = Tale()
    tale.people()
    tale.set_up("u-bob", "commander")
    policy = installed_policies()[f"{kind}-high-production"]
    terms = {"policy": policy, "policy_hash": policy_hash(policy)}
    tale.opened(**terms)
    tale.decided("u-bob", "commander")
    tale.decided("u-carol", "approver")
    tale.consumed(("u-bob", "commander"), ("u-carol", "approver"))
    place = {"endpoint": SITE, "from": OLD, "to": NEW, "hosts": ["h1", "h2"]}
    tale.started(kind=kind, policy_hash=terms["policy_hash"], **place)
    stepped(tale, "h1", "switched")
    tale.tell("rollback.run.stop", "u-bob", run="run-1", state="stopped")
    tale.at += 1
    return tale


def stepped(tale: Tale, host: str, state: str, version: str = NEW) -> None:
    about = {"run": "run-1", "plan_hash": PLAN, "version": version}
    tale.tell("rollback.step.outcome", host=host, step="switch", state=state, **about)


def converged(tale: Tale, host: str, to: str, endpoint: str = SITE) -> list[tuple[str, bool]]:
    plan = {"run": "run-2", "kind": "converge", "plan_hash": "d" * 64, "request": "request-1"}
    tale.tell("rollback.run.start", **plan, endpoint=endpoint, hosts=[host], to=to, **{"from": ""})
    return tale.problems()


WRONG = [("run run-2 converges to something else than request request-1 approved", False)]


@pytest.mark.parametrize(("host", "to"), [("h2", OLD), ("h1", NEW)])
def test_hosts_of_a_release_that_was_stopped_keep_what_they_had_by_then(host: str, to: str) -> None:
    assert converged(ran("release"), host, to) == []


def test_a_host_that_was_brought_back_before_the_stop_keeps_what_it_was_brought_back_to() -> None:
    tale = ran("release")
    stepped(tale, "h1", "restored", OLD)
    tale.at += 1
    assert converged(tale, "h1", OLD) == []


def test_a_host_that_was_switched_before_the_stop_does_not_go_back() -> None:
    assert converged(ran("release"), "h1", OLD) == WRONG


def test_what_a_stopped_release_left_is_no_reason_for_a_third_version_or_another_endpoint() -> None:
    assert converged(ran("release"), "h2", "3" * 64) == WRONG
    assert converged(ran("release"), "h2", OLD, "income-staging") == WRONG


def test_nothing_brings_back_the_version_that_a_stopped_rollback_leaves() -> None:
    assert converged(ran("rollback"), "h2", OLD) == WRONG


def test_a_run_that_was_not_stopped_has_left_what_it_went_to() -> None:
    tale = ran("release")
    tale.acts = [act for act in tale.acts if act.action != "rollback.run.stop"]
    assert converged(tale, "h2", OLD) == WRONG
