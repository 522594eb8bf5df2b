"""Using an approval up: once, for the same hash, with everything checked again at that moment."""

from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from accounts.actions import end_role, grant_role
from accounts.approvals.actions import Refused, consume, expire, withdraw
from accounts.approvals.models import ApprovalPolicy, ApprovalRequest
from accounts.approvals.queries import objections
from accounts.models import User
from audit.models import AuditEvent
from tests.accounts.people import SETUP, a_request, person, recorded, say

pytestmark = pytest.mark.django_db


@pytest.fixture
def people() -> dict[str, User]:
    return {
        "rita": person("rita", "responder"),
        "carla": person("carla", "commander"),
        "amir": person("amir", "approver"),
    }


@pytest.fixture
def approved(people: dict[str, User]) -> ApprovalRequest:
    request = a_request(people["rita"])
    say(people["amir"], request)
    say(people["carla"], request)
    return request


def use(request: ApprovalRequest, **changes: Any) -> Any:
    return consume(**({"request_id": request.pk, "subject_hash": request.subject_hash, "actor": SETUP} | changes))


def refused(request: ApprovalRequest, code: str, act: Callable[[], Any]) -> None:
    before, events = ApprovalRequest.objects.values().get(pk=request.pk), AuditEvent.objects.count()
    with pytest.raises(Refused) as caught:
        act()
    assert caught.value.code == code
    assert ApprovalRequest.objects.values().get(pk=request.pk) == before
    assert AuditEvent.objects.count() == events


def test_a_complete_approval_is_used_once(approved: ApprovalRequest, people: dict[str, User]) -> None:
    used = use(approved)
    assert {(row.by, row.role) for row in used} == {(people["carla"], "commander"), (people["amir"], "approver")}
    approved.refresh_from_db()
    assert approved.state == "consumed"
    assert approved.consumed_at is not None
    [leaf] = recorded("approval.consume")
    assert leaf["data"]["subject_hash"] == approved.subject_hash
    assert {seat["by"]: seat["role"] for seat in leaf["data"]["seats"]} == {
        people["carla"].pseudonym: "commander",
        people["amir"].pseudonym: "approver",
    }
    refused(approved, "not_open", lambda: use(approved))


def test_approvals_of_another_hash_start_nothing(approved: ApprovalRequest) -> None:
    refused(approved, "hash_mismatch", lambda: use(approved, subject_hash="f" * 64))


def test_too_few_approvals_start_nothing(people: dict[str, User]) -> None:
    request = a_request(people["rita"])
    say(people["amir"], request)
    refused(request, "not_enough", lambda: use(request))


def test_an_approver_whose_role_has_ended_no_longer_counts(approved: ApprovalRequest, people: dict[str, User]) -> None:
    end_role(user=people["amir"], role="approver", actor=SETUP)
    refused(approved, "not_enough", lambda: use(approved))


def test_an_approver_who_was_deactivated_no_longer_counts(approved: ApprovalRequest, people: dict[str, User]) -> None:
    User.objects.filter(pk=people["carla"].pk).update(is_active=False)
    refused(approved, "not_enough", lambda: use(approved))


def test_a_role_that_came_after_the_approval_fills_no_seat(approved: ApprovalRequest, people: dict[str, User]) -> None:
    end_role(user=people["amir"], role="approver", actor=SETUP)
    grant_role(user=people["amir"], role="approver", granted_by=None, actor=SETUP)
    refused(approved, "not_enough", lambda: use(approved))


def test_an_expired_approval_starts_nothing(approved: ApprovalRequest) -> None:
    ApprovalRequest.objects.filter(pk=approved.pk).update(expires_at=timezone.now())
    refused(approved, "expired", lambda: use(approved))


def test_a_denied_or_withdrawn_approval_starts_nothing(approved: ApprovalRequest, people: dict[str, User]) -> None:
    assert withdraw(request_id=approved.pk, reason="Replaced.", actor=SETUP)
    refused(approved, "not_open", lambda: use(approved))
    denied = a_request(people["rita"])
    say(people["amir"], denied, "deny", reason="No.")
    refused(denied, "not_open", lambda: use(denied))


def test_a_policy_that_was_changed_behind_its_hash_starts_nothing(approved: ApprovalRequest) -> None:
    ApprovalPolicy.objects.filter(pk=approved.policy_id).update(required=1, factors=[])
    refused(approved, "hash_mismatch", lambda: use(approved))


def test_only_what_is_said_after_the_use_is_an_objection(approved: ApprovalRequest, people: dict[str, User]) -> None:
    use(approved)
    approved.refresh_from_db()
    assert list(objections(approved)) == []
    denial = say(people["amir"], approved, "deny", reason="Host 2 errors.")
    assert list(objections(approved)) == [denial]


def test_a_request_expires_when_its_time_is_over_and_not_before(approved: ApprovalRequest) -> None:
    assert not expire(request_id=approved.pk, actor=SETUP)
    ApprovalRequest.objects.filter(pk=approved.pk).update(expires_at=timezone.now())
    assert expire(request_id=approved.pk, actor=SETUP)
    assert not expire(request_id=approved.pk, actor=SETUP)
    approved.refresh_from_db()
    assert approved.state == "expired"
    assert len(recorded("approval.expire")) == 1


def test_the_clock_finds_requests_whose_time_is_over(approved: ApprovalRequest) -> None:
    from accounts.due import SOURCES
    from accounts.tasks import expire_request

    source = next(source for source in SOURCES if source.task == "accounts.expire_request")
    assert list(source.ids(timezone.now())) == []
    ApprovalRequest.objects.filter(pk=approved.pk).update(expires_at=timezone.now())
    [due] = source.ids(timezone.now())
    expire_request(due)
    approved.refresh_from_db()
    assert approved.state == "expired"
