"""Acts under approval: asked for, approved as a plan is, and performed once, in the transaction that uses it up."""

import datetime
import json
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.actions import actor_for, end_role
from accounts.approvals import acts
from accounts.approvals.actions import Refused
from accounts.approvals.due import approved_acts
from accounts.approvals.models import Act, ApprovalPolicy, ApprovalRequest
from accounts.approvals.policies import PolicyError, change_policy, replace_policy
from accounts.approvals.queries import NoPolicy, policy_for, who_may
from accounts.models import User
from tests.accounts.people import SETUP, a_request, bearer, person, recorded, say

pytestmark = pytest.mark.django_db

THREE: dict[str, Any] = {
    "subject_kind": "rollback",
    "risk_tier": "high",
    "environment": "production",
    "required": 3,
    "factors": [{"role": "commander", "count": 1}, {"role": "approver", "count": 2}],
}


@pytest.fixture
def ada() -> User:
    return person("ada", "administrator")


@pytest.fixture
def bea() -> User:
    return person("bea", "administrator")


def change(user: User, **wish: Any) -> ApprovalPolicy | Act:
    return change_policy(user=user, actor=actor_for(user=user), reason="Since May.", **(THREE | wish))


def asked(user: User, **wish: Any) -> Act:
    act = change(user, **wish)
    assert isinstance(act, Act)
    return act


def in_force() -> ApprovalPolicy:
    return policy_for(subject_kind="rollback", risk_tier="high", environment="production")


def test_the_only_administrator_changes_a_policy_at_once_and_the_record_says_so(ada: User) -> None:
    policy = change(ada)
    assert isinstance(policy, ApprovalPolicy)
    assert (in_force(), policy.edited_by) == (policy, ada)
    [leaf] = recorded("policy.replace")
    assert (leaf["data"]["alone"], leaf["data"]["edited_by"]) == (True, ada.pseudonym)
    assert not Act.objects.exists()


def test_with_two_administrators_the_second_is_asked(ada: User, bea: User) -> None:
    before = in_force()
    act = asked(ada)
    assert in_force() == before
    assert not acts.decided(act.request_id)
    say(bea, act.request)
    assert approved_acts(timezone.now()) == [str(act.request_id)]
    assert acts.decided(act.request_id)
    policy = in_force()
    assert (policy.required, policy.version, policy.edited_by) == (3, 2, ada)
    assert "alone" not in recorded("policy.replace")[0]["data"]
    assert approved_acts(timezone.now()) == []


def test_the_log_tells_the_asking_the_use_and_the_doing_in_that_order(ada: User, bea: User) -> None:
    act = asked(ada)
    say(bea, act.request)
    acts.decided(act.request_id)
    opened, [proposed], [used], [done] = (
        recorded(action) for action in ("approval.open", "act.propose", "approval.consume", "act.perform")
    )
    facts = {"act": str(act.id), "kind": "policy_change", "act_hash": act.act_hash, "request": str(act.request_id)}
    assert proposed["data"] == facts | {"document": json.loads(bytes(act.document))}
    assert done["data"] == facts | {"policy_hash": act.request.policy_hash}
    assert opened[0]["data"]["act_kind"] == "policy_change"
    assert used["data"]["subject_hash"] == act.act_hash == acts.act_hash(bytes(act.document))
    assert used["data"]["seats"][0]["by"] == bea.pseudonym


def test_the_hash_is_of_the_canonical_document(ada: User, bea: User) -> None:
    body = json.loads(bytes(asked(ada).document))
    assert (body["format"], body["kind"], body["proposer"]) == ("lastgood-act/1", "policy_change", ada.pseudonym)
    assert body["policy"] == THREE | {
        "step_up_seconds": 300,
        "expires_seconds": 1800,
        "sign_off_required": False,
        "automatic_allowed": False,
        "stop_roles": [],
    }


def test_who_asks_for_a_change_does_not_agree_to_it(ada: User, bea: User) -> None:
    act = asked(ada)
    with pytest.raises(Refused) as refused:
        say(ada, act.request)
    assert refused.value.code == "own_proposal"
    assert [candidate.person for candidate in who_may(act.request, "administrator")] == [bea]


def test_a_commander_does_not_change_policies(ada: User, bea: User) -> None:
    act = asked(ada)
    with pytest.raises(Refused) as refused:
        say(person("carla", "commander"), act.request)
    assert refused.value.code == "not_a_role"


def test_an_administrator_fills_no_seat_of_a_rollback() -> None:
    change_one = THREE | {"required": 2, "factors": [{"role": "commander", "count": 1}]}
    replace_policy(**change_one, actor=SETUP)
    request = a_request(person("rita", "responder"))
    with pytest.raises(Refused) as refused:
        say(person("ada", "administrator"), request)
    assert refused.value.code == "not_a_role"


def test_ending_the_second_administrators_role_is_no_way_around_being_asked(ada: User, bea: User) -> None:
    end_role(user=bea, role="administrator", actor=SETUP)
    act = asked(ada)
    assert who_may(act.request, "administrator") == []


def test_an_act_is_performed_once(ada: User, bea: User) -> None:
    act = asked(ada)
    say(bea, act.request)
    assert [acts.decided(act.request_id) for _ in range(3)] == [True, False, False]
    with pytest.raises(acts.ActRefused) as refused:
        acts.perform(act_id=act.id, actor=SETUP)
    assert refused.value.code == "already_performed"
    assert len(recorded("act.perform")) == 1


def test_without_its_approvals_an_act_is_not_performed(ada: User, bea: User) -> None:
    act, before = asked(ada), in_force()
    with pytest.raises(acts.ActRefused) as refused:
        acts.perform(act_id=act.id, actor=SETUP)
    assert (refused.value.code, in_force()) == ("not_enough", before)
    [leaf] = recorded("act.perform")
    assert (leaf["outcome"], leaf["data"]["refused"]) == ("denied", "not_enough")


def test_an_act_that_was_altered_behind_its_hash_is_not_performed(ada: User, bea: User) -> None:
    act, before = asked(ada), in_force()
    say(bea, act.request)
    forged = bytes(act.document).replace(b'"required":3', b'"required":1')
    Act.objects.filter(pk=act.pk).update(document=forged)
    assert not acts.decided(act.request_id)
    assert (in_force(), ApprovalRequest.objects.get().state) == (before, "withdrawn")


def test_an_act_that_is_of_another_kind_than_its_document_is_not_performed(ada: User, bea: User) -> None:
    act, before = asked(ada), in_force()
    say(bea, act.request)
    Act.objects.filter(pk=act.pk).update(kind="unquarantine")
    assert not acts.decided(act.request_id)
    assert in_force() == before
    assert recorded("act.perform")[-1]["data"]["refused"] == "hash_mismatch"


def test_a_policy_that_changed_in_between_voids_the_change(ada: User, bea: User) -> None:
    act = asked(ada)
    say(bea, act.request)
    other = replace_policy(**(THREE | {"required": 4}), actor=SETUP)
    assert not acts.decided(act.request_id)
    assert in_force() == other
    assert recorded("act.perform")[0]["data"]["refused"] == "moved"


def test_an_approver_who_lost_the_role_is_asked_for_again(ada: User, bea: User) -> None:
    act = asked(ada)
    say(bea, act.request)
    end_role(user=bea, role="administrator", actor=SETUP)
    assert not acts.decided(act.request_id)
    assert ApprovalRequest.objects.get().state == "open"
    assert Act.objects.get().performed_at is None


def test_the_same_act_is_not_asked_for_twice_at_a_time(ada: User, bea: User) -> None:
    asked(ada)
    with pytest.raises(acts.ActRefused) as refused:
        change(ada)
    assert refused.value.code == "already_asked"
    assert Act.objects.count() == 1


@pytest.mark.parametrize(
    "wish",
    [
        {"required": 0},
        {"required": -1},
        {"required": 2**40},
        {"required": 2},
        {"stop_roles": ["viewer"]},
        {"subject_kind": "break_glass", "required": 2, "factors": [], "expires_seconds": 900},
        {"subject_kind": "break_glass", "required": 1, "factors": [], "expires_seconds": 901},
    ],
)
def test_abuse_43_a_policy_that_can_not_be_is_refused_before_anybody_is_asked(
    ada: User, bea: User, wish: dict[str, Any]
) -> None:
    with pytest.raises(PolicyError):
        change(ada, **wish)
    assert not Act.objects.exists()
    assert ApprovalPolicy.objects.filter(version__gt=1).count() == 0


def test_who_changed_a_policy_approves_nothing_under_it_for_a_day(ada: User) -> None:
    carla = person("carla", "commander", "administrator")
    replace_policy(**THREE, edited_by=carla, actor=SETUP)
    request = a_request(person("rita", "responder"))
    assert request.excluded == {carla.pseudonym: "editor"}
    with pytest.raises(Refused) as refused:
        say(carla, request)
    assert refused.value.code == "excluded"
    assert carla not in who_may(request, "commander")
    assert recorded("approval.open")[0]["data"]["excluded"] == {carla.pseudonym: "editor"}
    ApprovalPolicy.objects.update(created_at=timezone.now() - datetime.timedelta(hours=24, seconds=1))
    assert say(carla, a_request(person("rolf", "responder"))).role == "commander"


def test_a_policy_for_all_tiers_counts_where_no_other_does() -> None:
    anywhere = {"risk_tier": "any", "environment": "any", "required": 1, "factors": []}
    wide = replace_policy(**(THREE | {"subject_kind": "promotion"} | anywhere), actor=SETUP)
    exact = replace_policy(**(THREE | {"subject_kind": "promotion"}), actor=SETUP)
    assert policy_for(subject_kind="promotion", risk_tier="low", environment="staging") == wide
    assert policy_for(subject_kind="promotion", risk_tier="high", environment="production") == exact
    with pytest.raises(NoPolicy):
        policy_for(subject_kind="unquarantine", risk_tier="high", environment="staging")


def test_the_api_says_that_a_change_waits_and_shows_it(client: Client, ada: User, bea: User) -> None:
    answer = client.post(
        "/api/v1/policies/", THREE, content_type="application/json", headers=bearer(ada, "admin", "view")
    )
    assert answer.status_code == 202
    act = Act.objects.get()
    assert answer.json() == {
        "act": str(act.id),
        "kind": "policy_change",
        "title": "Ask for 3 people in rollback-high-production",
        "act_hash": act.act_hash,
        "request": str(act.request_id),
    }
    shown = client.get(f"/api/v1/approvals/{act.request_id}/evidence/", headers=bearer(bea, "view")).json()
    rows = {row["label"]: (row["before"], row["after"]) for row in shown["body"]["sections"][0]["rows"]}
    assert rows["distinct people"] == ("2", "3")
    assert rows["seats"] == ("1 commander, 1 approver", "1 commander, 2 approver")


def test_a_second_administrator_approves_through_the_api(client: Client, ada: User, bea: User) -> None:
    act = asked(ada)
    header = bearer(bea, "approve", "view")
    shown = client.get(f"/api/v1/approvals/{act.request_id}/evidence/", headers=header).json()
    body = {"decision": "approve", "subject_hash": act.act_hash, "evidence": shown["digest"]}
    path = f"/api/v1/approvals/{act.request_id}/decide/"
    assert client.post(path, body, content_type="application/json", headers=header).json()["state"] == "approved"
