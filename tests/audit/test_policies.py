"""What the verifier says of how policies came into force, and of what acts under approval did."""

import json
from typing import Any

import pytest

from accounts.actions import actor_for
from accounts.approvals import acts
from accounts.approvals.models import Act, ApprovalPolicy
from accounts.approvals.policies import change_policy
from accounts.approvals.policy import policy_facts
from audit.models import AuditEvent
from audit.verify import Meaning, act_hash, act_of, installed_policies, policy_hash
from tests.accounts.people import person, say
from tests.audit.tale import DAY, POLICY, Tale

NEWER = POLICY | {"version": 2, "required": 3}
CHANGING = installed_policies()["policy_change-any-any"]
WISH = {name: value for name, value in NEWER.items() if name not in ("name", "version")} | {"stop_roles": []}


def terms(policy: dict[str, Any]) -> dict[str, Any]:
    return {"policy": policy, "policy_hash": policy_hash(policy)}


@pytest.fixture
def tale() -> Tale:
    """Two administrators, a commander and an approver, on the third day; models and endpoints as registered."""
    made = Tale()
    made.people()
    made.set_up("u-bob", "commander")
    made.tell("model.register", "u-ada", target="income", risk_tier="high")
    made.tell("endpoint.register", "u-ada", target="income-production", model="income", environment="production")
    made.at = 3 * DAY
    return made


def asked(tale: Tale, document: dict[str, Any], *, policy: dict[str, Any] = CHANGING, used: bool = True) -> str:
    """An act of that document, proposed by Ada and approved by Bert; its id."""
    document = {"act": "act-1", "kind": "policy_change"} | document
    name, stated = document["act"], act_hash(document)
    about = {"request": f"request-{name}", "subject_hash": stated}
    facts = {"act": name, "kind": document["kind"], "act_hash": stated, "request": about["request"]}
    tale.opened(**about, **terms(policy), proposer="u-ada")
    tale.tell("act.propose", "u-ada", document=document, **facts)
    if used:
        tale.decided("u-bert", "administrator", **about)
        tale.consumed(("u-bert", "administrator"), **about)
    tale.tell("act.perform", "svc:approvals", **facts, policy_hash=policy_hash(policy))
    return str(name)


def replaced(tale: Tale, by: str = "svc:approvals", under: str = "act-1", **change: Any) -> None:
    tale.tell("policy.replace", by, under=under, **terms(NEWER) | {"edited_by": "u-ada"} | change)


def found(tale: Tale) -> list[str]:
    assert all(not lacking for _, lacking in tale.problems())
    return [sentence for sentence, _ in tale.problems()]


def test_a_policy_that_an_approved_act_put_into_force_holds_from_then_on(tale: Tale) -> None:
    asked(tale, {"policy": WISH})
    replaced(tale)
    tale.at += 10
    tale.approved()
    tale.started()
    [sentence] = found(tale)
    assert "under a policy that was not in force: 2026-03-04T00:00" in sentence


def test_a_policy_that_one_of_two_administrators_put_into_force_alone_is_found(tale: Tale) -> None:
    replaced(tale, "u-ada", under="")
    words = "was done by u-ada without the approvals that the policy policy_change-any-any asked for"
    assert words in found(tale)[0]


def test_the_only_administrator_puts_a_policy_into_force_and_it_is_told() -> None:
    alone = Tale()
    alone.set_up("u-ada", "administrator")
    alone.at = DAY
    replaced(alone, "u-ada", under="")
    assert alone.facts() == ["Policies put in place by one person, while there was no second administrator: 1."]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"policy": WISH | {"required": 4}}, "is not what the act act-1 said"),
        ({"policy": {}}, "is not what the act act-1 said"),
        ({}, "is not what the act act-1 said"),
        ({"kind": "promotion", "policy": WISH}, "was no part of the act act-1"),
    ],
)
def test_a_policy_that_is_not_what_was_approved_is_found(tale: Tale, document: dict[str, Any], words: str) -> None:
    policy = CHANGING | {"subject_kind": document.get("kind", "policy_change")}
    asked(tale, document, policy=policy)
    replaced(tale)
    assert any(words in sentence for sentence in found(tale))


def test_a_policy_by_an_act_that_nobody_approved_is_found(tale: Tale) -> None:
    asked(tale, {"policy": WISH}, used=False)
    replaced(tale)
    assert found(tale) == [
        "act policy_change (leaf 8) was started without consuming the approvals of request request-act-1"
    ]


def test_an_act_puts_one_policy_into_force_and_not_two(tale: Tale) -> None:
    asked(tale, {"policy": WISH})
    replaced(tale)
    replaced(tale)
    assert len(found(tale)) == 1
    assert "was no part of the act act-1" in found(tale)[0]


def test_a_policy_whose_act_is_not_on_record_is_lacking(tale: Tale) -> None:
    replaced(tale)
    ((sentence, lacking),) = tale.problems()
    assert lacking
    assert "a part of the act act-1, which is not in the record before it" in sentence


def test_a_policy_that_was_retired_asks_for_nothing_more_and_holds_for_nothing(tale: Tale) -> None:
    asked(tale, {"retires": CHANGING["name"], "kind": "policy_change"})
    tale.tell("policy.retire", "svc:approvals", under="act-1", **terms(CHANGING))
    tale.at += 1
    replaced(tale, "u-ada", under="")
    assert found(tale) == []
    tale.at += 1
    asked(tale, {"act": "act-2", "policy": WISH})
    assert "was not in force" in found(tale)[0]


@pytest.mark.parametrize("retired", ["before", "after"])
def test_what_is_done_right_after_a_policys_retirement_needs_no_approvals(tale: Tale, retired: str) -> None:
    asked(tale, {"retires": LIFTING["name"]})
    done = [("policy.retire", "svc:approvals", "", "act-1", terms(LIFTING))]
    done.insert(retired == "before", ("version.quarantine_lift", "u-bob", "income/3", "", {}))
    for action, by, target, part, data in done:
        tale.tell(action, by, target, part, **data)
        tale.at -= 0.05
    told = any("without the approvals that the policy unquarantine" in text for text in found(tale))
    assert told is (retired == "after")


def test_a_policy_that_nobody_ever_put_into_force_is_found(tale: Tale) -> None:
    invented = POLICY | {"name": "rollback-any-any", "required": 1, "factors": []}
    tale.opened(**terms(invented))
    tale.decided("u-bob", "commander")
    tale.consumed(("u-bob", ""))
    tale.started(policy_hash=policy_hash(invented))
    assert "nothing on record brought rollback-any-any" in found(tale)[0]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("drill-high-production", "of kind rollback was approved under the policy drill-high-production"),
        ("rollback-high-staging", "the environment is production, its policy is rollback-high-staging"),
        ("rollback-low-production", "the risk tier is high, its policy is rollback-low-production"),
    ],
)
def test_a_run_under_the_policy_of_something_else_is_found(tale: Tale, name: str, words: str) -> None:
    other = installed_policies()[name]
    tale.opened(**terms(other))
    tale.decided("u-bob", "commander")
    tale.consumed(("u-bob", "commander"))
    tale.started(policy_hash=policy_hash(other), endpoint="income-production")
    assert words in found(tale)[0]


@pytest.mark.parametrize("kind", ["release", "drill", "drain", "freeze", "a kind of tomorrow"])
def test_a_run_of_any_kind_needs_the_approvals_of_a_policy_of_its_kind(tale: Tale, kind: str) -> None:
    tale.approved()
    tale.started(kind=kind)
    assert f"of kind {kind} was approved under the policy rollback-high-production" in found(tale)[0]
    tale.tell("rollback.run.start", run="run-2", plan_hash="b" * 64, request="request-2", kind=kind)
    assert any("request-2 is not in the record" in sentence for sentence, _ in tale.problems())


def test_a_proof_of_identity_from_the_future_does_not_count(tale: Tale) -> None:
    tale.approved(auth_time=tale.instant(5))
    tale.started()
    assert found(tale) == ["run run-1 was started with 1 valid approvals; its policy demands 2"]


def test_who_changed_the_policy_within_a_day_does_not_count_under_it(tale: Tale) -> None:
    tale.set_up("u-ada", "commander")
    asked(tale, {"policy": WISH | {"required": 2}})
    newer = NEWER | {"required": 2}
    replaced(tale, **terms(newer))
    tale.at += 60
    tale.opened(**terms(newer))
    tale.decided("u-ada", "commander")
    tale.decided("u-carol", "approver")
    tale.consumed(("u-ada", "commander"), ("u-carol", "approver"))
    tale.started(policy_hash=policy_hash(newer))
    assert found(tale) == ["run run-1 was started with 1 valid approvals; its policy demands 2"]


def test_a_request_that_was_to_hold_for_longer_than_its_policy_is_found(tale: Tale) -> None:
    tale.at = max(tale.at, 3 * DAY)
    tale.opened(expires_at=tale.instant(DAY))
    tale.decided("u-bob", "commander")
    tale.decided("u-carol", "approver")
    tale.consumed(("u-bob", "commander"), ("u-carol", "approver"))
    tale.started()
    assert "was to hold for longer than the 1800 s of its policy" in found(tale)[0]


# What other acts do

PROMOTION = POLICY | {"name": "promotion-any-any", "subject_kind": "promotion", "version": 1}
LIFTING = installed_policies()["unquarantine-any-production"]
LIFT = {"kind": "unquarantine", "model": "income", "number": 3}


def test_a_quarantine_that_is_lifted_without_its_approvals_is_found(tale: Tale) -> None:
    tale.tell("version.quarantine_lift", "u-bob", target="income/3")
    assert "by u-bob without the approvals that the policy unquarantine-any-production asked for" in found(tale)[0]


def test_a_quarantine_is_lifted_as_the_act_says_or_it_is_found(tale: Tale) -> None:
    document = LIFT | {"act": "act-1"}
    stated = act_hash(document)
    about = {"request": "request-3", "subject_hash": stated}
    facts = {"act": "act-1", "kind": "unquarantine", "act_hash": stated, "request": "request-3"}
    tale.opened(**about, **terms(LIFTING))
    tale.tell("act.propose", "u-dora", document=document, **facts)
    for by, role in (("u-bob", "commander"), ("u-carol", "approver")):
        tale.decided(by, role, **about)
    tale.consumed(("u-bob", "commander"), ("u-carol", "approver"), **about)
    tale.tell("act.perform", "svc:approvals", **facts, policy_hash=policy_hash(LIFTING))
    tale.tell("version.quarantine_lift", "svc:approvals", target="income/3", under="act-1")
    assert found(tale) == []
    tale.acts[-1] = tale.acts[-1]._replace(target="income/4")
    assert "is not what the act act-1 said" in found(tale)[0]


def test_a_champion_or_a_host_needs_approvals_where_a_policy_asks_for_them_only(tale: Tale) -> None:
    tale.tell("alias.move", "u-bob", target="income/champion", to="c" * 64)
    tale.tell("host.register", "u-bob", target="gpu-1")
    assert found(tale) == []
    asked(tale, {"policy": {name: PROMOTION[name] for name in WISH if name in PROMOTION}})
    replaced(tale, **terms(PROMOTION))
    tale.at += 1
    tale.tell("alias.move", "u-bob", target="income/champion", to="d" * 64)
    tale.tell("alias.move", "u-bob", target="income/last-good", to="d" * 64)
    [sentence] = found(tale)
    assert "alias.move of income/champion was done by u-bob without the approvals" in sentence


# The product itself


@pytest.mark.django_db
def test_the_policies_that_the_verifier_knows_are_those_of_a_new_installation() -> None:
    assert {policy.name: policy_facts(policy) for policy in ApprovalPolicy.objects.all()} == installed_policies()


@pytest.mark.django_db
def test_a_policy_that_two_administrators_changed_is_in_order_as_it_was_recorded() -> None:
    ada, bea = person("ada", "administrator"), person("bea", "administrator")
    wish = {name: WISH[name] for name in ("subject_kind", "risk_tier", "environment", "required", "factors")}
    act = change_policy(user=ada, actor=actor_for(user=ada), reason="Since May.", **wish)
    assert isinstance(act, Act)
    say(bea, act.request)
    assert acts.decided(act.request_id)
    records = [json.loads(bytes(canon)) for canon in AuditEvent.objects.order_by("id").values_list("canon", flat=True)]
    assert records[-1]["action"] == "policy.replace"
    assert records[-1]["correlation"]["act"] == str(act.id)
    meaning = Meaning(act_of(*item) for item in enumerate(records))
    assert list(meaning.problems()) == []
    assert meaning.alone == 0
    changed = [*records[:-1], records[-1] | {"correlation": {"act": "another"}}]
    assert len(list(Meaning(act_of(*item) for item in enumerate(changed)).problems())) == 1
