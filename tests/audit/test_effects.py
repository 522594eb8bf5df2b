"""What the verifier says of changes that name no act under approval: a champion, a host, a lifted quarantine."""

from typing import Any

import pytest

from audit.verify import Meaning, act_hash, installed_policies, policy_hash
from tests.audit.tale import DAY, POLICY, Tale

TO = "c" * 64
LIFTING = installed_policies()["unquarantine-any-production"]
PROMOTION = POLICY | {
    "name": "promotion-any-any",
    "subject_kind": "promotion",
    "risk_tier": "any",
    "environment": "any",
}


def terms(policy: dict[str, Any]) -> dict[str, Any]:
    return {"policy": policy, "policy_hash": policy_hash(policy)}


@pytest.fixture
def tale() -> Tale:
    """On the third day: an administrator, a commander, an approver; a model with an endpoint of each kind, another
    model; promotions and new hosts ask for approvals since the first day."""
    made = Tale()
    made.set_up("u-ada", "administrator")
    made.set_up("u-carol", "approver")
    made.set_up("u-bob", "commander")
    for model in ("income", "fraud"):
        made.tell("model.register", "u-ada", target=model, risk_tier="high")
    for model, environment in (("income", "production"), ("income", "staging"), ("fraud", "production")):
        data = {"model": model, "environment": environment}
        made.tell("endpoint.register", "u-ada", target=f"{model}-{environment}", **data)
    for kind in ("promotion", "host_registration"):
        policy = PROMOTION | {"name": f"{kind}-any-any", "subject_kind": kind}
        made.tell("policy.replace", "u-ada", **terms(policy))
    made.at = 3 * DAY
    return made


def ran(tale: Tale, endpoint: str = "income-production", kind: str = "rollback", to: str = TO) -> None:
    policy = installed_policies()[f"{kind}-high-{endpoint.partition('-')[2]}"]
    tale.opened(**terms(policy))
    tale.decided("u-bob", "commander")
    tale.decided("u-carol", "approver")
    tale.consumed(("u-bob", "commander"), ("u-carol", "approver"))
    tale.started(endpoint=endpoint, to=to, kind=kind, policy_hash=policy_hash(policy))


def moved(tale: Tale, by: str = "svc:worker", to: str = TO) -> None:
    tale.tell("alias.move", by, target="income/champion", to=to)


def watched(tale: Tale, by: str = "svc:worker", state: str = "passed") -> None:
    action = "rollback.watch.pass" if by.startswith("svc:") else "rollback.watch.sign_off"
    tale.tell(action, by, target="run-1", run="run-1", state=state)


def found(tale: Tale) -> list[str]:
    assert all(not lacking for _, lacking in tale.problems())
    return [sentence for sentence, _ in tale.problems()]


ALONE = "without the approvals that the policy promotion-any-any asked for"


@pytest.mark.parametrize("by", ["svc:worker", "u-bob"])
def test_a_run_that_was_verified_names_its_target_champion(tale: Tale, by: str) -> None:
    ran(tale)
    tale.at += 30
    moved(tale, by)
    watched(tale, by)
    assert found(tale) == []


@pytest.mark.parametrize("by", ["svc:worker", "u-bob"])
def test_a_champion_that_neither_a_run_nor_an_act_brought_is_found(tale: Tale, by: str) -> None:
    moved(tale, by)
    assert found(tale) == [f"alias.move of income/champion was done by {by} {ALONE}"]


@pytest.mark.parametrize(
    "run",
    [
        {"endpoint": "income-staging"},
        {"endpoint": "fraud-production"},
        {"kind": "drill"},
        {"to": "d" * 64},
    ],
    ids=["staging", "other-model", "drill", "other-version"],
)
def test_a_run_that_names_no_champion_excuses_none(tale: Tale, run: dict[str, str]) -> None:
    ran(tale, **run)
    moved(tale)
    watched(tale)
    assert any(ALONE in sentence for sentence in found(tale))


def test_a_champion_is_found_that_was_moved_before_its_run_or_long_after_or_without_its_watch(tale: Tale) -> None:
    moved(tale)
    ran(tale)
    watched(tale, state="failed")
    moved(tale)
    tale.at += 30
    moved(tale, "u-bob")
    watched(tale)
    assert [ALONE in sentence for sentence in found(tale)] == [True, True, True]


def test_a_quarantine_that_a_program_lifted_by_itself_is_found(tale: Tale) -> None:
    tale.tell("version.quarantine_lift", "svc:worker", target="income/3")
    assert "by svc:worker without the approvals that the policy unquarantine-any-production" in found(tale)[0]


def test_hosts_that_a_program_registered_are_counted(tale: Tale) -> None:
    tale.tell("host.register", "svc:manage", target="gpu-1")
    told = tale.facts()
    assert "Hosts registered by a program on the machine itself, without approvals: 1." in told
    tale.tell("host.register", "u-bob", target="gpu-2")
    assert "host.register of gpu-2 was done by u-bob without the approvals" in found(tale)[0]


# Records of a Lastgood that did not put an act's document on record yet


def old_act(tale: Tale, kind: str = "unquarantine", **more: Any) -> dict[str, Any]:
    """An act that was proposed, approved and performed, without its document; what its records state."""
    about = {"request": "request-9", "subject_hash": "e" * 64}
    facts = {"act": "act-9", "kind": kind, "act_hash": "e" * 64, "request": "request-9"}
    tale.opened(**about, **terms(LIFTING))
    tale.tell("act.propose", "u-dora", **facts | more)
    tale.decided("u-bob", "commander", **about)
    tale.decided("u-carol", "approver", **about)
    tale.consumed(("u-bob", "commander"), ("u-carol", "approver"), **about)
    tale.tell("act.perform", "svc:approvals", **facts, policy_hash=policy_hash(LIFTING))
    return facts


def lifted(tale: Tale, by: str = "svc:approvals", **more: Any) -> None:
    tale.tell("version.quarantine_lift", by, target="income/3", **more)


@pytest.mark.parametrize("under", ["", "act-9"], ids=["before the upgrade", "performed after it"])
def test_an_act_that_was_proposed_before_documents_were_on_record_is_in_order_and_told(tale: Tale, under: str) -> None:
    old_act(tale)
    lifted(tale, under=under)
    assert any("Acts whose document is not on record" in fact and fact.endswith(": 1.") for fact in tale.facts())


def test_one_old_act_does_one_thing_by_its_own_hand_and_of_its_kind(tale: Tale) -> None:
    old_act(tale)
    lifted(tale)
    lifted(tale)
    assert len(found(tale)) == 1
    assert "by svc:approvals without the approvals that the policy unquarantine" in found(tale)[0]


@pytest.mark.parametrize("how", ["by another", "of another kind", "long after"])
def test_what_is_beside_an_old_act_is_found(tale: Tale, how: str) -> None:
    old_act(tale, "promotion" if how == "of another kind" else "unquarantine")
    tale.at += 2 if how == "long after" else 0
    lifted(tale, "u-bob" if how == "by another" else "svc:approvals")
    assert any("without the approvals that the policy unquarantine-any-production" in text for text in found(tale))


def test_an_act_without_its_document_is_found_once_documents_are_on_record(tale: Tale) -> None:
    document = {"act": "act-1", "kind": "unquarantine"}
    tale.tell("act.propose", "u-dora", document=document, **document, act_hash=act_hash(document))
    old_act(tale)
    lifted(tale, under="act-9")
    assert any("not the one whose hash was put to the approvers" in sentence for sentence in found(tale))


# Records that nobody's Lastgood writes


@pytest.mark.parametrize(
    ("action", "data"),
    [
        ("policy.replace", {}),
        ("policy.replace", {"policy": "none"}),
        ("role.grant", {"user": "u-eve"}),
        ("role.confirm", {"user": "u-eve", "role": "approver", "counts_from": "soon"}),
        ("approval.open", {"request": "r", "policy": [], "expires_at": "2026-03-01T00:00:00.000000Z"}),
        ("approval.consume", {"request": "r", "seats": 3}),
        ("approval.break_glass", {"request": "r"}),
        ("approval.open", {"policy": POLICY | {"factors": [1]}, "expires_at": "2026-03-01T00:00:00.000000Z"}),
        ("approval.consume", {"request": "r", "seats": [{"by": []}]}),
        ("act.propose", {"document": "text"}),
        ("rollback.run.start", {"run": ["run-1"], "hosts": 7}),
        ("rollback.step.outcome", {"run": "run-1", "host": "h", "plan_hash": "a" * 64, "version": TO}),
    ],
)
def test_a_record_of_another_shape_is_named_and_the_rest_is_judged(
    tale: Tale, action: str, data: dict[str, Any]
) -> None:
    tale.tell(action, "svc:worker", **data)
    leaf = tale.acts[-1].leaf
    moved(tale, "u-bob")
    told = list(Meaning(tale.acts).problems())
    assert [at for at, _, _ in told] == [leaf, leaf + 1], told
    assert ALONE in told[1][1]
