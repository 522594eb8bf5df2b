"""A decision of an approver: what it does, and each way in which it is refused."""

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.utils import timezone

from accounts.actions import actor_for, end_role
from accounts.approvals.actions import Refused, consume, withdraw
from accounts.approvals.models import ApprovalDecision, ApprovalRequest
from accounts.approvals.policies import replace_policy
from accounts.approvals.queries import roles_on, standing, who_may
from accounts.authority.actions import delegate
from accounts.models import Delegation, User
from audit.models import AuditEvent
from tests.accounts.people import SETUP, a_request, person, recorded, say

pytestmark = pytest.mark.django_db


@dataclass
class Room:
    rita: User
    carla: User
    amir: User
    anna: User
    vera: User
    request: ApprovalRequest


@pytest.fixture
def room() -> Room:
    rita = person("rita", "responder", "approver")
    amir, anna = person("amir", "approver"), person("anna", "approver")
    return Room(rita, person("carla", "commander"), amir, anna, person("vera", "viewer"), a_request(rita))


def refused(room: Room, code: str, act: Callable[[], Any]) -> Refused:
    """The act is refused with the code; nothing happens but one record of the refusal."""
    before = ApprovalRequest.objects.values().get(pk=room.request.pk)
    decisions, events = ApprovalDecision.objects.count(), AuditEvent.objects.count()
    with pytest.raises(Refused) as caught:
        act()
    assert caught.value.code == code
    assert ApprovalRequest.objects.values().get(pk=room.request.pk) == before
    assert ApprovalDecision.objects.count() == decisions
    assert AuditEvent.objects.count() == events + 1
    leaf = recorded("approval.decide")[-1]
    assert leaf["outcome"] == "denied"
    assert leaf["data"]["refused"] == code
    assert leaf["data"]["subject_hash"] == room.request.subject_hash
    return caught.value


def test_two_people_with_the_two_roles_approve_it(room: Room) -> None:
    assert say(room.amir, room.request).role == "approver"
    room.request.refresh_from_db()
    assert (room.request.state, room.request.version) == ("open", 2)
    assert standing(room.request).open == ["commander"]

    assert say(room.carla, room.request).role == "commander"
    room.request.refresh_from_db()
    assert (room.request.state, room.request.version) == ("approved", 3)
    assert standing(room.request).complete
    leaf = recorded("approval.decide")[-1]
    assert leaf["outcome"] == "success"
    assert leaf["actor"]["id"] == room.carla.pseudonym
    assert leaf["data"]["roles"] == ["commander"]
    assert leaf["data"]["subject_hash"] == room.request.subject_hash


def test_abuse_1_the_proposer_can_not_approve(room: Room) -> None:
    refused(room, "own_proposal", lambda: say(room.rita, room.request))


def test_the_proposer_may_deny(room: Room) -> None:
    say(room.rita, room.request, "deny", reason="I named the wrong version.")
    room.request.refresh_from_db()
    assert room.request.state == "denied"


def test_abuse_5_a_decision_about_another_hash_is_refused(room: Room) -> None:
    error = refused(room, "hash_mismatch", lambda: say(room.amir, room.request, subject_hash="0" * 64))
    assert "Read it again" in error.sentence


@pytest.mark.parametrize("decision", ["approve", "deny", "revoke"])
def test_a_person_without_a_role_that_decides_is_refused(room: Room, decision: str) -> None:
    refused(room, "not_a_role", lambda: say(room.vera, room.request, decision, reason="No."))


def test_a_role_that_was_ended_no_longer_decides(room: Room) -> None:
    end_role(user=room.amir, role="approver", actor=SETUP)
    refused(room, "not_a_role", lambda: say(room.amir, room.request))


def test_a_person_who_was_deactivated_no_longer_decides(room: Room) -> None:
    User.objects.filter(pk=room.amir.pk).update(is_active=False)
    refused(room, "not_a_role", lambda: say(room.amir, room.request))


@pytest.mark.parametrize("age", [None, 301, 86400])
def test_abuse_3_an_old_proof_of_identity_does_not_approve(room: Room, age: int | None) -> None:
    auth_time = None if age is None else timezone.now() - datetime.timedelta(seconds=age)
    refused(room, "step_up_needed", lambda: say(room.amir, room.request, auth_time=auth_time))


def test_a_denial_needs_no_fresh_proof_but_a_reason(room: Room) -> None:
    refused(room, "reason_needed", lambda: say(room.amir, room.request, "deny", reason="  ", auth_time=None))
    say(room.amir, room.request, "deny", reason="Version 1 is worse.", auth_time=None)
    room.request.refresh_from_db()
    assert room.request.state == "denied"


def test_a_denial_wins_over_all_approvals(room: Room) -> None:
    say(room.amir, room.request)
    say(room.carla, room.request)
    say(room.amir, room.request, "deny", reason="I saw the replay too late.")
    room.request.refresh_from_db()
    assert room.request.state == "denied"
    assert not standing(room.request).complete
    refused(room, "not_open", lambda: say(room.carla, room.request))


def test_approving_twice_counts_once(room: Room) -> None:
    say(room.amir, room.request)
    refused(room, "already_decided", lambda: say(room.amir, room.request))
    assert standing(room.request).approvals == 1


def test_a_second_person_for_a_seat_that_is_filled_is_told_which_seat_is_open(room: Room) -> None:
    say(room.amir, room.request)
    error = refused(room, "not_a_role", lambda: say(room.anna, room.request))
    assert error.sentence == "The seats that you could fill are taken. Still needed: commander."


def test_a_complete_request_takes_no_further_approval(room: Room) -> None:
    say(room.amir, room.request)
    say(room.carla, room.request)
    error = refused(room, "not_a_role", lambda: say(room.anna, room.request))
    assert error.sentence == "It has all the approvals that it needs. Nothing was changed."


def test_one_person_with_both_roles_fills_one_seat_and_moves_to_make_room(room: Room) -> None:
    both = person("bo", "commander", "approver")
    say(both, room.request)
    assert standing(room.request).approvals == 1
    say(room.carla, room.request)
    seats = {seat.role: seat.by for seat in standing(room.request).seats}
    assert seats == {"commander": room.carla, "approver": both}


def test_after_its_time_nobody_decides(room: Room) -> None:
    ApprovalRequest.objects.filter(pk=room.request.pk).update(expires_at=timezone.now())
    refused(room, "expired", lambda: say(room.amir, room.request))


def test_an_approval_can_be_taken_back_and_given_again(room: Room) -> None:
    refused(room, "nothing_to_revoke", lambda: say(room.amir, room.request, "revoke"))
    say(room.amir, room.request)
    say(room.carla, room.request)
    say(room.amir, room.request, "revoke")
    room.request.refresh_from_db()
    assert room.request.state == "open"
    assert standing(room.request).open == ["approver"]
    say(room.amir, room.request)
    room.request.refresh_from_db()
    assert room.request.state == "approved"


@pytest.mark.parametrize("decision", ["approve", "deny"])
def test_a_withdrawn_request_takes_no_decision(room: Room, decision: str) -> None:
    withdraw(request_id=room.request.pk, reason="Another plan.", actor=SETUP)
    refused(room, "not_open", lambda: say(room.amir, room.request, decision, reason="No."))


def test_after_its_use_it_can_be_objected_to_but_not_approved(room: Room) -> None:
    say(room.amir, room.request)
    say(room.carla, room.request)
    consume(request_id=room.request.pk, subject_hash=room.request.subject_hash, actor=SETUP)
    refused(room, "not_open", lambda: say(room.anna, room.request))
    say(room.amir, room.request, "revoke")
    room.request.refresh_from_db()
    assert room.request.state == "consumed"


def lend(lender: User, borrower: User, role: str) -> None:
    now = timezone.now()
    ends = now + datetime.timedelta(hours=1)
    delegate(lender=lender, borrower=borrower, role=role, starts=now, ends=ends, actor=actor_for(user=lender))


def test_two_people_to_whom_one_person_lent_a_role_approve_once(room: Room) -> None:
    replace_policy(
        subject_kind="rollback", risk_tier="low", environment="production", required=2, factors=[], actor=SETUP
    )
    request = a_request(room.rita, tier="low")
    lend(room.carla, room.vera, "commander")
    lend(room.carla, room.anna, "commander")
    end_role(user=room.anna, role="approver", actor=SETUP)
    assert say(room.vera, request)
    with pytest.raises(Refused) as caught:
        say(room.anna, request)
    assert caught.value.code == "lent"
    assert not standing(request).complete


def test_who_stands_in_for_two_people_approves_by_the_loan_of_the_one_who_has_not(room: Room) -> None:
    replace_policy(
        subject_kind="rollback", risk_tier="low", environment="production", required=2, factors=[], actor=SETUP
    )
    request = a_request(room.rita, tier="low")
    lend(room.amir, room.vera, "approver")
    lend(room.carla, room.vera, "commander")
    say(room.amir, request)

    say(room.vera, request)

    loan = Delegation.objects.get(lender=room.carla)
    assert recorded("approval.decide")[-1]["data"]["grant"] == str(loan.pk)
    assert standing(request).complete


def test_who_proposes_does_not_lend_the_role_that_approves_it(room: Room) -> None:
    lend(room.rita, room.vera, "approver")
    assert not roles_on(room.request, room.vera)
    assert "Vera (standing in)" not in [str(one) for one in who_may(room.request, "approver")]
    refused(room, "not_a_role", lambda: say(room.vera, room.request))


def test_an_unknown_decision_is_refused(room: Room) -> None:
    refused(room, "not_open", lambda: say(room.amir, room.request, "maybe"))


def test_the_reason_stays_out_of_the_leaf(room: Room) -> None:
    say(room.amir, room.request, "deny", reason="Mara said so.")
    leaf = recorded("approval.decide")[-1]
    assert "Mara" not in str(leaf)
    assert leaf["reason_commit"].startswith("hmac-sha256:")
