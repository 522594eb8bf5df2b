"""One person starts one plan without its approvals, everybody is told, and somebody who took no part reviews it."""

import datetime
import uuid
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.actions import actor_for, end_role
from accounts.approvals import due
from accounts.approvals.actions import Refused, open_request, withdraw
from accounts.approvals.break_glass import break_glass, mark_limits, may_break, owed, policy_of, review, stands, use
from accounts.approvals.evidence import show
from accounts.approvals.models import ApprovalPolicy, ApprovalRequest, BreakGlass
from accounts.approvals.policies import replace_policy
from accounts.models import User
from tests.accounts.people import SETUP, a_request, bearer, person, recorded, say
from tests.accounts.test_approval_pages import browser, text_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def carla() -> User:
    return person("carla", "commander")


@pytest.fixture
def amir() -> User:
    return person("amir", "approver")


@pytest.fixture
def rita() -> User:
    return person("rita", "responder")


@pytest.fixture
def request_(rita: User) -> ApprovalRequest:
    return a_request(rita, incident="INC-7")


def smash(user: User, request: ApprovalRequest, **changes: Any) -> BreakGlass:
    arguments: dict[str, Any] = {
        "request_id": request.pk,
        "user": user,
        "subject_hash": request.subject_hash,
        "evidence": show(request, user)[0],
        "reason": "Loans are refused wrongly, and nobody else answers.",
        "auth_time": timezone.now(),
        "actor": actor_for(user=user),
    }
    return break_glass(**(arguments | changes))


def judge(user: User, request: ApprovalRequest, verdict: str = "justified", reason: str = "It was.") -> BreakGlass:
    return review(request_id=request.pk, user=user, verdict=verdict, reason=reason, actor=actor_for(user=user))


def refused(act: Any) -> str:
    with pytest.raises(Refused) as caught:
        act()
    return caught.value.code


def age(glass: BreakGlass, hours: float) -> None:
    """As if it had been broken so long ago."""
    delta = datetime.timedelta(hours=hours)
    moments = {name: getattr(glass, name) - delta for name in ("broken_at", "expires_at", "review_due", "review_limit")}
    BreakGlass.objects.filter(pk=glass.pk).update(**moments)


def test_the_log_says_who_broke_it_for_which_plan_and_until_when(request_: ApprovalRequest, carla: User) -> None:
    glass = smash(carla, request_)
    [leaf] = recorded("approval.break_glass")
    data = leaf["data"]
    assert (leaf["incident"], leaf["actor"]["id"]) == ("INC-7", carla.pseudonym)
    assert (data["request"], data["subject_hash"]) == (str(request_.pk), request_.subject_hash)
    assert (data["by"], data["role"], data["policy"]["name"]) == (carla.pseudonym, "commander", "break_glass-any-any")
    assert glass.expires_at - glass.broken_at == datetime.timedelta(minutes=15)
    assert glass.review_due - glass.broken_at == datetime.timedelta(hours=24)
    assert glass.review_limit - glass.broken_at == datetime.timedelta(hours=72)
    assert "reason_commit" in leaf
    assert "answers" not in str(data)


def test_it_is_used_once_within_its_time_for_that_plan(request_: ApprovalRequest, carla: User) -> None:
    smash(carla, request_)
    assert refused(lambda: use(request_id=request_.pk, subject_hash="f" * 64)) == "hash_mismatch"
    assert use(request_id=request_.pk, subject_hash=request_.subject_hash).by == carla
    request_.refresh_from_db()
    assert (request_.state, stands(request_)) == ("consumed", None)
    assert refused(lambda: use(request_id=request_.pk, subject_hash=request_.subject_hash)) == "not_open"
    assert not recorded("approval.consume")


def test_after_a_quarter_of_an_hour_it_is_over_and_the_review_is_still_owed(
    request_: ApprovalRequest, carla: User
) -> None:
    glass = smash(carla, request_)
    age(glass, 0.26)
    assert stands(request_) is None
    assert refused(lambda: use(request_id=request_.pk, subject_hash=request_.subject_hash)) == "not_open"
    assert list(owed()) == [glass]


def test_a_denial_or_a_role_that_ended_stops_it(rita: User, carla: User, amir: User) -> None:
    denied = a_request(rita)
    smash(carla, denied)
    say(amir, denied, "deny", reason="Version 1 is worse.")
    assert refused(lambda: use(request_id=denied.pk, subject_hash=denied.subject_hash)) == "not_open"
    other = a_request(rita)
    smash(carla, other)
    end_role(user=carla, role="commander", actor=SETUP)
    assert refused(lambda: use(request_id=other.pk, subject_hash=other.subject_hash)) == "not_enough"
    assert ApprovalRequest.objects.get(pk=other.pk).state == "open"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"reason": " "}, "reason_needed"),
        ({"subject_hash": "0" * 64}, "hash_mismatch"),
        ({"evidence": "0" * 64}, "evidence_unknown"),
        ({"auth_time": None}, "step_up_needed"),
        ({"auth_time": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)}, "step_up_needed"),
    ],
)
def test_what_is_missing_is_said_and_nothing_is_broken(
    request_: ApprovalRequest, carla: User, changes: dict[str, Any], code: str
) -> None:
    assert refused(lambda: smash(carla, request_, **changes)) == code
    assert not BreakGlass.objects.exists()
    [leaf] = recorded("approval.break_glass")
    assert (leaf["outcome"], leaf["data"]["refused"]) == ("denied", code)


def test_an_approver_breaks_no_glass_and_a_closed_request_has_none(
    request_: ApprovalRequest, carla: User, amir: User
) -> None:
    assert refused(lambda: smash(amir, request_)) == "not_a_role"
    withdraw(request_id=request_.pk, reason="Replaced.", actor=SETUP)
    assert refused(lambda: smash(carla, request_)) == "not_open"


def test_without_a_policy_for_it_nobody_breaks_glass(request_: ApprovalRequest, carla: User) -> None:
    ApprovalPolicy.objects.filter(subject_kind="break_glass").update(active=False)
    assert refused(lambda: smash(carla, request_)) == "not_breakable"


def test_abuse_68_it_holds_for_one_plan_once_and_few_may_wait_for_review(
    request_: ApprovalRequest, rita: User, carla: User
) -> None:
    smash(carla, request_)
    assert refused(lambda: smash(carla, request_)) == "already_broken"
    smash(carla, a_request(rita))
    assert refused(lambda: smash(carla, a_request(rita))) == "review_owed"
    assert smash(person("cleo", "commander"), a_request(rita)).role == "commander"


def test_abuse_68_a_review_that_is_late_locks_out_who_broke_it_and_after_three_days_everybody(
    request_: ApprovalRequest, rita: User, carla: User, amir: User
) -> None:
    cleo = person("cleo", "commander")
    glass = smash(carla, request_)
    age(glass, 24.1)
    assert refused(lambda: smash(carla, a_request(rita))) == "review_owed"
    BreakGlass.objects.exclude(pk=glass.pk).delete()
    age(BreakGlass.objects.get(), 48)
    with pytest.raises(Refused) as caught:
        smash(cleo, a_request(rita))
    assert caught.value.code == "locked"
    assert caught.value.sentence.startswith("Nobody can break glass: what Carla did on ")
    judge(amir, request_)
    assert smash(cleo, a_request(rita)).by == cleo


def test_the_clock_puts_each_limit_on_record_once(request_: ApprovalRequest, carla: User) -> None:
    glass = smash(carla, request_)
    assert due.past_limits(timezone.now()) == []
    age(glass, 24.1)
    assert due.past_limits(timezone.now()) == [str(glass.pk)]
    assert mark_limits(glass_id=glass.pk, actor=SETUP) == ["approval.break_glass.overdue"]
    assert mark_limits(glass_id=glass.pk, actor=SETUP) == []
    age(BreakGlass.objects.get(), 48)
    assert mark_limits(glass_id=glass.pk, actor=SETUP) == ["approval.break_glass.lock"]
    assert due.past_limits(timezone.now()) == []


def test_who_took_no_part_reviews_it_once(request_: ApprovalRequest, rita: User, carla: User, amir: User) -> None:
    decided = person("dora", "approver")
    say(decided, request_)
    smash(carla, request_)
    for somebody in (carla, rita, decided):
        assert refused(lambda who=somebody: judge(who, request_)) == "took_part"
    assert refused(lambda: judge(person("vera", "viewer"), request_)) == "not_a_role"
    assert refused(lambda: judge(amir, request_, reason=" ")) == "reason_needed"
    assert refused(lambda: judge(amir, request_, verdict="fine")) == "unknown_verdict"
    assert [row.request for row in owed()] == [request_]
    glass = judge(amir, request_, "not_justified", "Two approvers were awake.")
    assert (glass.verdict, glass.reviewed_by, list(owed())) == ("not_justified", amir, [])
    leaf = recorded("approval.break_glass.review")[-1]
    assert (leaf["outcome"], leaf["data"]["verdict"], leaf["data"]["by"]) == (
        "success",
        "not_justified",
        amir.pseudonym,
    )
    assert leaf["data"]["participants"] == sorted(row.pseudonym for row in (carla, rita, decided))
    assert refused(lambda: judge(amir, request_)) == "reviewed"


def test_the_page_breaks_it_and_every_page_says_so_until_it_is_reviewed(
    request_: ApprovalRequest, carla: User, amir: User
) -> None:
    page = f"/approvals/{request_.pk}/break-glass/"
    commander, approver = browser(carla), browser(amir)
    html = commander.get(page).content.decode()
    assert "Break glass and start it now" in html
    assert "It can't wait: break glass…" in text_of(commander.get(f"/approvals/{request_.pk}/"))
    assert "You can't break glass here." in text_of(approver.get(page))
    sent = {"subject_hash": request_.subject_hash, "evidence": html.split('name="evidence" value="')[1][:64]}
    assert approver.post(page, sent | {"reason": "Now."}).status_code == 403
    assert commander.post(page, sent | {"reason": ""}).status_code == 400
    assert not BreakGlass.objects.exists()
    answer = commander.post(page, sent | {"reason": "Nobody else answers."}, follow=True)
    assert "as soon as no freeze and no other run holds it back" in text_of(answer)
    viewer = browser(person("vera", "viewer"))
    assert "Break-glass: Carla lets start Roll back employment" in text_of(viewer.get("/approvals/"))
    assert "Your review" not in text_of(commander.get(page))
    reviewed = approver.post(f"{page}review/", {"verdict": "justified", "reason": "It was."}, follow=True)
    assert "It was justified, says Amir" in text_of(reviewed)
    assert "Break-glass:" not in text_of(viewer.get("/approvals/"))


def test_an_old_proof_leads_through_the_password(request_: ApprovalRequest, carla: User) -> None:
    client, page = browser(carla, proof_age=400), f"/approvals/{request_.pk}/break-glass/"
    sent = {"subject_hash": request_.subject_hash, "evidence": show(request_, carla)[0], "reason": "No answer."}
    assert client.post(page, sent).url.startswith("/accounts/reauthenticate/")
    assert not BreakGlass.objects.exists()


def test_the_api_breaks_it_lists_it_and_takes_the_review(
    client: Client, request_: ApprovalRequest, carla: User, amir: User
) -> None:
    path = f"/api/v1/approvals/{request_.pk}/break-glass/"
    body = {"subject_hash": request_.subject_hash, "evidence": show(request_, carla)[0], "reason": "No answer."}
    post = {"content_type": "application/json"}
    reader = bearer(amir, "approve", "view")
    assert client.post(path, body, **post, headers=reader).status_code == 403
    assert client.post(path, body, **post, headers=bearer(carla, "break_glass", proved=False)).status_code == 403
    assert not BreakGlass.objects.exists()
    made = client.post(path, body, **post, headers=bearer(carla, "break_glass"))
    assert (made.status_code, made.json()["by"]) == (201, "carla")
    listed = client.get("/api/v1/break-glass/?reviewed_at__isnull=true", headers=reader).json()["results"]
    assert [row["request"] for row in listed] == [str(request_.pk)]
    own = client.post(
        f"{path}review/", {"verdict": "justified", "reason": "Mine."}, **post, headers=bearer(carla, "approve")
    )
    assert (own.status_code, own.json()["type"]) == (403, "/problems/took-part")
    done = client.post(f"{path}review/", {"verdict": "justified", "reason": "It was."}, **post, headers=reader)
    assert (done.status_code, done.json()["verdict"], done.json()["reviewed_by"]) == (200, "justified", "amir")


def test_the_words_of_both_can_be_erased_and_the_use_stays(request_: ApprovalRequest, carla: User, amir: User) -> None:
    from accounts.erasure.actions import erase_account

    smash(carla, request_)
    judge(amir, request_, reason="Ms Smith was refused a loan.")
    counts = erase_account(carla.pseudonym, [])
    assert counts["accounts_breakglass"] == 1
    erase_account(amir.pseudonym, [])
    glass = BreakGlass.objects.get()
    assert "refused" not in glass.reason + glass.review_reason
    assert (glass.by, glass.verdict) == (carla, "justified")


def test_who_may_break_it_is_said_by_the_policy_of_the_models_own_tier(rita: User, carla: User) -> None:
    """The plan's policy covers every tier; what it is about is a high-risk model in production."""
    replace_policy(
        subject_kind="drill", risk_tier="any", environment="any", required=1, factors=[], actor=SETUP, edited_by=None
    )
    replace_policy(
        subject_kind="break_glass", risk_tier="high", environment="production", required=1,
        factors=[{"role": "administrator", "count": 1}], expires_seconds=600, actor=SETUP,
    )  # fmt: skip
    asked = open_request(
        policy=ApprovalPolicy.objects.get(subject_kind="drill", risk_tier="any", active=True),
        subject_kind="drill", subject_ref=str(uuid.uuid4()), subject_hash=uuid.uuid4().hex * 2, title="A drill",
        incident_ref="", proposer=rita, actor=SETUP, risk_tier="high", environment="production",
    )  # fmt: skip
    policy = policy_of(asked)
    assert policy is not None
    assert (policy.risk_tier, policy.factors) == ("high", [{"role": "administrator", "count": 1}])
    assert not may_break(asked, carla)
