"""A policy is taken out of force under approval, on record, and what it covered falls to the next one."""

import datetime

import pytest
from django.test import Client
from django.utils import timezone

from accounts.actions import actor_for
from accounts.approvals import acts
from accounts.approvals.models import Act, ApprovalPolicy
from accounts.approvals.policies import PolicyError, ask_to_retire, replace_policy
from accounts.approvals.policy import policy_hash
from accounts.approvals.queries import NoPolicy, policy_for, recent_editors
from accounts.models import User
from tests.accounts.people import SETUP, a_request, bearer, person, recorded, say
from tests.accounts.test_approval_pages import browser, text_of

pytestmark = pytest.mark.django_db
PLACE = {"risk_tier": "high", "environment": "production"}


@pytest.fixture
def ada() -> User:
    return person("ada", "administrator")


@pytest.fixture
def bea() -> User:
    return person("bea", "administrator")


@pytest.fixture
def policy() -> ApprovalPolicy:
    return policy_for(subject_kind="rollback", **PLACE)


def wish(user: User, policy: ApprovalPolicy, reason: str = "Nobody fills it.") -> Act | None:
    return ask_to_retire(policy=policy, user=user, actor=actor_for(user=user), reason=reason)


def test_another_administrator_agrees_before_a_policy_is_retired(ada: User, bea: User, policy: ApprovalPolicy) -> None:
    act = wish(ada, policy)
    assert act is not None
    assert policy_for(subject_kind="rollback", **PLACE) == policy
    say(bea, act.request)
    assert acts.decided(act.request_id)
    with pytest.raises(NoPolicy):
        policy_for(subject_kind="rollback", **PLACE)
    [leaf] = recorded("policy.retire")
    assert (leaf["data"]["policy"]["name"], leaf["data"]["policy_hash"]) == (policy.name, policy_hash(policy))
    assert (leaf["data"]["edited_by"], leaf["correlation"]["act"]) == (ada.pseudonym, str(act.id))


def test_who_retired_a_policy_approves_nothing_under_its_successor_for_a_day(
    ada: User, bea: User, policy: ApprovalPolicy
) -> None:
    act = wish(ada, policy)
    assert act is not None
    say(bea, act.request)
    assert acts.decided(act.request_id)
    terms = {"required": policy.required, "factors": policy.factors}
    newer = replace_policy(subject_kind="rollback", **PLACE, **terms, edited_by=bea, actor=SETUP)
    assert newer.name == policy.name
    request = a_request(person("rita", "responder"))
    assert request.excluded == {ada.pseudonym: "editor", bea.pseudonym: "editor"}
    assert recent_editors(newer, timezone.now() + datetime.timedelta(hours=24, seconds=60)) == []


def test_what_it_covered_falls_to_the_policy_for_any(ada: User, bea: User, policy: ApprovalPolicy) -> None:
    wide = replace_policy(
        subject_kind="rollback", risk_tier="any", environment="any", required=2, factors=[], actor=SETUP
    )
    act = wish(ada, policy)
    assert act is not None
    assert f"{wide} covers it then." in acts.act_subject(act.request).sentence
    say(bea, act.request)
    acts.decided(act.request_id)
    assert policy_for(subject_kind="rollback", **PLACE) == wide


def test_a_policy_that_was_replaced_meanwhile_is_not_retired(ada: User, bea: User, policy: ApprovalPolicy) -> None:
    act = wish(ada, policy)
    assert act is not None
    newer = replace_policy(subject_kind="rollback", required=1, factors=[], actor=SETUP, **PLACE)
    say(bea, act.request)
    assert not acts.decided(act.request_id)
    assert policy_for(subject_kind="rollback", **PLACE) == newer
    assert recorded("policy.retire") == []


def test_what_can_not_be_retired_is_said(ada: User, bea: User, policy: ApprovalPolicy) -> None:
    changing = policy_for(subject_kind="policy_change", **PLACE)
    with pytest.raises(PolicyError, match="can be replaced, and not retired"):
        wish(ada, changing)
    with pytest.raises(PolicyError, match="Say in a sentence"):
        wish(ada, policy, reason=" ")
    replace_policy(subject_kind="rollback", required=1, factors=[], actor=SETUP, **PLACE)
    with pytest.raises(PolicyError, match="not in force any more"):
        wish(ada, ApprovalPolicy.objects.get(pk=policy.pk))
    assert not Act.objects.exists()


def test_the_only_administrator_retires_one_at_once_and_the_record_says_so(ada: User, policy: ApprovalPolicy) -> None:
    assert wish(ada, policy) is None
    assert recorded("policy.retire")[0]["data"]["alone"] is True
    assert not ApprovalPolicy.objects.get(pk=policy.pk).active


def test_on_the_page_an_administrator_asks_and_others_read(ada: User, bea: User, policy: ApprovalPolicy) -> None:
    viewer = browser(person("vera", "viewer"))
    assert "Rollback" in text_of(viewer.get("/approvals/policies/"))
    assert "Retire" not in text_of(viewer.get("/approvals/policies/"))
    assert viewer.post(f"/approvals/policies/{policy.pk}/retire/", {"reason": "No."}).status_code == 403
    answer = browser(ada).post(f"/approvals/policies/{policy.pk}/retire/", {"reason": "Nobody fills it."})
    assert answer.url == f"/approvals/{Act.objects.get().request_id}/"
    chosen = f"/approvals/policies/?retire={policy.pk}"
    assert "Another administrator is asked first" in text_of(browser(ada).get(chosen))
    assert "Another administrator is asked first" not in text_of(viewer.get(chosen))


def test_the_api_asks_and_then_shows_it_inactive(client: Client, ada: User, bea: User, policy: ApprovalPolicy) -> None:
    path, header = f"/api/v1/policies/{policy.pk}/", bearer(ada, "admin", "view")
    answer = client.post(f"{path}retire/", {"reason": "No use."}, content_type="application/json", headers=header)
    assert answer.status_code == 202
    act = Act.objects.get()
    say(bea, act.request)
    acts.decided(act.request_id)
    assert client.get(path, headers=header).json()["active"] is False
