"""Many people press the button in the same moment."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

from django.db import connections
from django.utils import timezone

from accounts.approvals.actions import Refused, consume
from accounts.approvals.break_glass import MOST_UNREVIEWED, break_glass
from accounts.approvals.evidence import show
from accounts.approvals.models import ApprovalDecision, ApprovalRequest, BreakGlass
from accounts.models import User
from tests.accounts.people import SETUP, a_request, person, recorded, say

CROWD = 50


def at_once(acts: list[Any]) -> list[str]:
    """Run all acts behind one barrier; "done", or the code with which each was refused."""
    start = Barrier(len(acts))

    def run(act: Any) -> str:
        try:
            start.wait(timeout=30)
            act()
        except Refused as refused:
            return refused.code
        finally:
            connections.close_all()
        return "done"

    with ThreadPoolExecutor(len(acts)) as pool:
        return sorted(pool.map(run, acts))


def test_abuse_7_of_many_last_approvals_at_once_exactly_one_completes_the_request(committed_db: Any) -> None:
    request = a_request(person("rita", "responder"))
    crowd: list[User] = [person(f"p{number}", "approver") for number in range(CROWD)]
    say(person("carla", "commander"), request)

    answers = at_once([lambda user=user: say(user, request) for user in crowd])

    assert answers == ["done"] + ["not_a_role"] * (CROWD - 1)
    request.refresh_from_db()
    assert (request.state, request.version) == ("approved", 3)
    assert ApprovalDecision.objects.filter(request=request, decision="approve").count() == 2
    outcomes = [leaf["outcome"] for leaf in recorded("approval.decide")]
    assert sorted(outcomes) == ["denied"] * (CROWD - 1) + ["success"] * 2


def test_abuse_68_of_many_broken_glasses_at_once_no_more_wait_for_review_than_may(committed_db: Any) -> None:
    carla, rita = person("carla", "commander"), person("rita", "responder")
    requests = [a_request(rita) for _ in range(6)]
    digests = [show(request, carla)[0] for request in requests]

    def smash(request: ApprovalRequest, evidence: str) -> None:
        break_glass(
            request_id=request.pk, user=carla, subject_hash=request.subject_hash, evidence=evidence,
            reason="Nobody else answers.", auth_time=timezone.now(), actor=SETUP,
        )  # fmt: skip

    pairs = zip(requests, digests, strict=True)
    answers = at_once([lambda request=request, digest=digest: smash(request, digest) for request, digest in pairs])

    assert answers == ["done"] * MOST_UNREVIEWED + ["review_owed"] * (6 - MOST_UNREVIEWED)
    assert BreakGlass.objects.count() == MOST_UNREVIEWED


def test_of_many_uses_at_once_exactly_one_gets_the_approval(committed_db: Any) -> None:
    request = a_request(person("rita", "responder"))
    say(person("carla", "commander"), request)
    say(person("amir", "approver"), request)

    answers = at_once([lambda: consume(request_id=request.pk, subject_hash=request.subject_hash, actor=SETUP)] * CROWD)

    assert answers == ["done"] + ["not_open"] * (CROWD - 1)
    assert len(recorded("approval.consume")) == 1
    assert ApprovalRequest.objects.get(pk=request.pk).state == "consumed"
