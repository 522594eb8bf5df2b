"""What people really do with roles, loans and approvals is what the verifier asks for."""

import datetime
import json

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from accounts.actions import actor_for
from accounts.approvals import acts
from accounts.approvals.actions import consume, open_request
from accounts.approvals.models import Act, ApprovalRequest
from accounts.approvals.policies import ask_to_retire, change_policy
from accounts.approvals.queries import policy_for
from accounts.authority.actions import confirm_role, delegate, end_role, propose_role
from accounts.models import User
from audit.actions import Target, record
from audit.models import AuditEvent
from audit.verify import Meaning, act_of
from tests.accounts.people import SETUP, person, say

pytestmark = pytest.mark.django_db


def judged(*left_out: str) -> tuple[list[str], list[str]]:
    """The verifier's findings in the whole record, or without some actions, and what it tells beside them."""
    records = [json.loads(bytes(canon)) for canon in AuditEvent.objects.order_by("pk").values_list("canon", flat=True)]
    meaning = Meaning(act_of(*item) for item in enumerate(records) if item[1]["action"] not in left_out)
    return [sentence for _, sentence, _ in meaning.problems()], meaning.summary()


@pytest.fixture
def people(settings: Settings) -> dict[str, User]:
    """Carla commands for one model, by two administrators; Amir, an approver by set-up, has lent his role to Eve."""
    settings.LASTGOOD_ROLE_REST_SECONDS = 0
    roles = {"ada": "administrator", "bert": "administrator", "rita": "responder", "amir": "approver"}
    people = {name: person(name, role) for name, role in roles.items()}
    people |= {name: person(name) for name in ("carla", "eve")}
    ada, bert, amir = people["ada"], people["bert"], people["amir"]
    proposed = propose_role(
        user=people["carla"], role="commander", proposer=ada, actor=actor_for(user=ada), scope={"models": ["income"]}
    )
    proof = {"auth_method": "password", "auth_time": timezone.now()}
    confirm_role(proposal_id=proposed.pk, by=bert, actor=actor_for(user=bert), **proof)
    now = timezone.now()
    times = {"starts": now, "ends": now + datetime.timedelta(hours=1)}
    delegate(lender=amir, borrower=people["eve"], role="approver", actor=actor_for(user=amir), **times)
    return people


@pytest.fixture
def request_for_income(people: dict[str, User]) -> ApprovalRequest:
    return open_request(
        policy=policy_for(subject_kind="rollback", risk_tier="high", environment="production"),
        subject_kind="rollback",
        subject_ref="plan-1",
        subject_hash="a" * 64,
        title="Roll back",
        incident_ref="",
        proposer=people["rita"],
        actor=actor_for(user=people["rita"]),
        model="income",
    )


def start(request: ApprovalRequest) -> None:
    consume(request_id=request.pk, subject_hash=request.subject_hash, actor=SETUP)
    facts = {"run": "run-1", "plan_hash": request.subject_hash, "request": str(request.pk), "kind": "rollback"}
    data = facts | {"policy_hash": request.policy_hash}
    record(action="rollback.run.start", target=Target("run", "run-1"), actor=SETUP, data=data)


def test_roles_given_by_two_and_lent_ones_verify_as_they_were_recorded(
    people: dict[str, User], request_for_income: ApprovalRequest
) -> None:
    say(people["carla"], request_for_income)
    say(people["eve"], request_for_income)
    start(request_for_income)

    problems, told = judged()

    assert problems == []
    assert any(sentence.startswith("Seats: 2, each filled by a person who held the role; 0 rest") for sentence in told)
    assert "Roles that were to rest for less than 24 hours: 1." in told
    for action, words in (
        ("role.propose", "is not in the record before it"),
        ("role.confirm", "does not say that"),
        ("delegation.create", "does not say that"),
        ("approval.consume", "without consuming the approvals"),
        ("approval.decide", "with 0 valid approvals"),
    ):
        (problem,) = judged(action)[0]
        assert words in problem, (action, problem)


def test_a_role_that_ended_after_the_run_had_started_changes_nothing(
    people: dict[str, User], request_for_income: ApprovalRequest
) -> None:
    say(people["carla"], request_for_income)
    say(people["amir"], request_for_income)
    start(request_for_income)
    end_role(user=people["carla"], role="commander", actor=actor_for(user=people["ada"]))
    assert judged()[0] == []


def test_a_policy_that_a_second_administrator_agreed_to_verifies_as_an_act(people: dict[str, User]) -> None:
    asked = change_policy(
        user=people["ada"],
        actor=actor_for(user=people["ada"]),
        reason="Since May.",
        subject_kind="rollback",
        risk_tier="high",
        environment="production",
        required=3,
        factors=[{"role": "commander", "count": 1}, {"role": "approver", "count": 2}],
    )
    assert isinstance(asked, Act)
    say(people["bert"], asked.request)
    assert acts.decided(asked.request_id)

    problems, told = judged()

    assert problems == []
    assert "Acts: 1, each with the approvals its policy demanded, of that very plan." in told
    assert "without consuming the approvals" in judged("approval.consume")[0][0]


def test_a_policy_that_was_retired_with_a_second_administrator_verifies_as_an_act(
    people: dict[str, User],
) -> None:
    policy = policy_for(subject_kind="rollback", risk_tier="high", environment="production")
    asked = ask_to_retire(
        policy=policy, user=people["ada"], actor=actor_for(user=people["ada"]), reason="Nobody fills it."
    )
    assert isinstance(asked, Act)
    say(people["bert"], asked.request)
    assert acts.decided(asked.request_id)
    assert judged()[0] == []

    assert judged("act.perform")[0][0].startswith("policy.retire of rollback-high-production")
