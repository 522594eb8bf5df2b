import json
from collections.abc import Callable

import pytest

from audit.models import AuditEvent
from audit.verify import Meaning, act_of
from tests.audit.log import ALICE, BOB, CAROL
from tests.audit.story import (
    PLAN,
    POLICY,
    RUN,
    WORKER,
    approved,
    consumed,
    decided,
    now,
    opened,
    people,
    put,
    started,
    stepped,
    whole,
)


@pytest.fixture(autouse=True)
def roles(request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("db")
    people()


def verdict() -> list[tuple[str, bool]]:
    """What the verifier says of the events that were recorded: (sentence, whether something is lacking)."""
    records = [json.loads(bytes(canon)) for canon in AuditEvent.objects.order_by("id").values_list("canon", flat=True)]
    return [(text, lacking) for _, text, lacking in Meaning(act_of(*item) for item in enumerate(records)).problems()]


@pytest.mark.django_db
def test_a_run_with_the_approvals_of_its_policy_is_in_order() -> None:
    whole()
    assert verdict() == []


def two(first: Callable[[], None], second: Callable[[], None]) -> None:
    opened()
    first()
    second()
    consumed()
    started()


SEATS_BOTH_BOB = [{"by": "u-bob", "role": "commander"}, {"by": "u-bob", "role": "approver"}]
SEATS_ALICE = [{"by": "u-bob", "role": "commander"}, {"by": "u-alice", "role": "approver"}]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda: decided(CAROL, "approver", outcome="denied"), "with 1 valid approvals"),
        (lambda: decided(ALICE, "approver"), "with 1 valid approvals"),
        (lambda: decided(BOB, "approver"), "with 1 valid approvals"),
        (lambda: decided(WORKER, "approver"), "with 1 valid approvals"),
        (lambda: decided(CAROL, "approver", subject_hash="b" * 64), "with 1 valid approvals"),
        (lambda: decided(CAROL, "approver", auth_time=now(-10)), "with 1 valid approvals"),
        (lambda: decided(CAROL, "commander"), "0 of 1 approvals as approver"),
        (lambda: (decided(CAROL, "approver"), decided(BOB, "", "revoke")), "with 1 valid approvals"),
        (lambda: (decided(CAROL, "approver"), decided(ALICE, "", "deny")), "although u-alice had denied it"),
    ],
    ids=[
        "refused",
        "proposer",
        "same-person",
        "program",
        "other-hash",
        "old-sign-in",
        "other-role",
        "revoked",
        "denied",
    ],
)
def test_a_run_without_the_approvals_of_its_policy_is_found(change: Callable[[], None], words: str) -> None:
    two(lambda: decided(BOB, "commander"), change)
    assert [(words in sentence, lacking) for sentence, lacking in verdict()] == [(True, False)]


@pytest.mark.django_db
def test_one_person_in_two_seats_is_found() -> None:
    opened()
    decided(BOB, "commander", roles=["approver", "commander"])
    decided(CAROL, "approver")
    consumed(seats=SEATS_BOTH_BOB)
    started()
    assert "with 1 valid approvals" in verdict()[0][0]


@pytest.mark.django_db
def test_an_approval_that_was_given_no_seat_when_they_were_used_does_not_count() -> None:
    opened()
    decided(BOB, "commander")
    decided(CAROL, "approver")
    consumed(seats=[{"by": "u-bob", "role": "commander"}])
    started()
    assert "with 1 valid approvals" in verdict()[0][0]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("tell", "words"),
    [
        (lambda: (approved(), started(plan_hash="b" * 64)), "without consuming the approvals"),
        (lambda: (approved(), consumed(subject_hash="b" * 64), started(plan_hash="b" * 64)), "the request was about"),
        (lambda: (approved(), started(policy_hash="c" * 64)), "under another policy"),
        (lambda: (opened(policy=POLICY | {"required": 0}), consumed(), started()), "another policy than the one whose"),
        (lambda: (opened(expires_at=now(-1)), consumed(), started()), "after its approvals had expired"),
        (lambda: (opened(), decided(BOB, "commander"), decided(CAROL, "approver"), started()), "without consuming"),
        (lambda: (whole(), started(run="run-2")), "which was used for another run as well"),
        (lambda: (whole(), stepped(host="gpu-9")), "on host gpu-9, which the run does not name"),
        (lambda: (whole(), stepped(plan_hash="b" * 64)), "another plan than the one that was started"),
        (lambda: (whole(), stepped(version="9" * 64)), "with version 999"),
        (lambda: (approved(), stepped(), started()), "before the run was started"),
        (lambda: (opened(), decided(BOB, "commander"), consumed(), started(), decided(CAROL, "approver")), "1 valid"),
        (lambda: (whole(), started(run="run-2", kind="converge", to="9" * 64)), "converges to something else"),
    ],
)
def test_a_run_beside_its_approval_is_found(tell: Callable[[], None], words: str) -> None:
    tell()
    found = verdict()
    assert found, "nothing was found"
    assert all(words in sentence and not lacking for sentence, lacking in found), found


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("tell", "words"),
    [
        (lambda: started(), "approval request request-1 is not in the record"),
        (lambda: stepped(), "whose start is not in the record"),
        (lambda: (opened(), started(kind="converge")), "whose run is not in the record"),
    ],
)
def test_what_cannot_be_judged_is_lacking(tell: Callable[[], None], words: str) -> None:
    tell()
    assert [(words in sentence, lacking) for sentence, lacking in verdict()] == [(True, True)]


@pytest.mark.django_db
def test_a_convergence_to_the_approved_target_is_in_order() -> None:
    whole()
    started(run="run-2", plan_hash="d" * 64, kind="converge", hosts=["gpu-2"])
    stepped(run="run-2", plan_hash="d" * 64, host="gpu-2")
    assert verdict() == []
    assert PLAN != "d" * 64


@pytest.mark.django_db
def test_a_convergence_after_a_run_went_back_goes_to_what_it_went_back_to() -> None:
    whole()
    put("rollback.run.compensated", {"run": RUN})
    started(run="run-2", kind="converge", to="2" * 64, **{"from": ""})
    assert verdict() == []

    started(run="run-3", kind="converge", **{"from": ""})
    assert ["converges to something else" in sentence for sentence, _ in verdict()] == [True]
