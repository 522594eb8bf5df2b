"""What an approver is shown is kept, goes into the decision, and can be shown again as it was."""

import datetime
import json
from typing import Any

import pytest
from django.test import Client

from accounts.approvals import subjects
from accounts.approvals.actions import Refused
from accounts.approvals.evidence import show, shown
from accounts.approvals.models import ApprovalDecision, ApprovalEvidence, ApprovalRequest, EvidenceShown
from accounts.approvals.subjects import Subject
from accounts.models import User
from audit.clock import database_now
from tests.accounts.people import a_request, bearer, person, recorded, say
from tests.accounts.test_approval_pages import browser, send, text_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def request_() -> ApprovalRequest:
    return a_request(person("rita", "responder"))


@pytest.fixture
def amir() -> User:
    return person("amir", "approver")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A subject whose one sentence, and what has moved of it, the test can change."""
    tale: dict[str, Any] = {"rows": ["h1 serves version 2"], "moved": []}

    def provider(entry: ApprovalRequest) -> Subject:
        section = {"title": "Hosts", "kind": "list", "rows": list(tale["rows"])}
        return Subject("Roll back", "It answers with version 1.", sections=[section], moved=list(tale["moved"]))

    monkeypatch.setitem(subjects._providers, "rollback", provider)
    monkeypatch.setitem(subjects._moved, "rollback", lambda entry: list(tale["moved"]))
    return tale


def digest_on(page: Any) -> str:
    html: str = page.content.decode()
    return html.split('name="evidence" value="')[1][:64]


def test_the_decision_and_its_leaf_carry_the_digest_of_what_the_page_showed(
    request_: ApprovalRequest, amir: User, told: dict[str, Any]
) -> None:
    client = browser(amir)
    digest = digest_on(client.get(f"/approvals/{request_.pk}/"))
    send(client, request_, evidence=digest)
    assert ApprovalDecision.objects.get().evidence == digest
    assert recorded("approval.decide")[0]["data"]["evidence"] == digest
    body = json.loads(bytes(ApprovalEvidence.objects.get(digest=digest).body))
    assert (body["request"], body["subject_hash"]) == (str(request_.pk), request_.subject_hash)
    assert body["sections"][0]["rows"] == ["h1 serves version 2"]


def test_what_was_shown_is_shown_again_as_it_was(request_: ApprovalRequest, amir: User, told: dict[str, Any]) -> None:
    client = browser(amir)
    digest = digest_on(client.get(f"/approvals/{request_.pk}/"))
    send(client, request_, evidence=digest)
    told["rows"] = ["h1 serves version 1"]
    again = text_of(client.get(f"/approvals/{request_.pk}/evidence/{digest}/"))
    assert "h1 serves version 2" in again
    assert "h1 serves version 1" not in again
    assert "Amir decided on it." in again
    assert f"/approvals/{request_.pk}/evidence/{digest}/" in client.get(f"/approvals/{request_.pk}/").content.decode()


@pytest.mark.parametrize("digest", ["", "0" * 64])
def test_evidence_that_nobody_was_shown_approves_nothing(request_: ApprovalRequest, amir: User, digest: str) -> None:
    with pytest.raises(Refused) as refused:
        say(amir, request_, evidence=digest)
    assert refused.value.code == "evidence_unknown"
    assert not ApprovalDecision.objects.exists()
    assert recorded("approval.decide")[0]["data"]["refused"] == "evidence_unknown"


def test_the_page_is_shown_anew_when_its_evidence_is_unknown(request_: ApprovalRequest, amir: User) -> None:
    answer = send(browser(amir), request_, evidence="0" * 64)
    assert answer.status_code == 409
    assert "Read the page again." in text_of(answer)
    assert digest_on(answer) == show(request_, amir)[0]


def test_evidence_of_another_request_approves_nothing(request_: ApprovalRequest, amir: User) -> None:
    other = show(a_request(person("rolf", "responder")), amir)[0]
    with pytest.raises(Refused) as refused:
        say(amir, request_, evidence=other)
    assert refused.value.code == "evidence_unknown"


def test_an_earlier_page_that_was_read_is_what_the_decision_names(
    request_: ApprovalRequest, amir: User, told: dict[str, Any]
) -> None:
    read, _ = show(request_, amir)
    told["rows"] = ["h1 is away"]
    assert show(request_, amir)[0] != read
    assert say(amir, request_, evidence=read).evidence == read
    assert ApprovalEvidence.objects.count() == 2


@pytest.mark.parametrize("decision", ["approve", "deny"])
def test_what_another_person_was_shown_is_not_what_this_one_saw(
    request_: ApprovalRequest, amir: User, decision: str
) -> None:
    olga = person("olga", "approver")
    read, _ = show(request_, olga)
    with pytest.raises(Refused) as refused:
        say(amir, request_, decision, evidence=read, reason="I was told of it.")
    assert refused.value.code == "evidence_unknown"
    assert not ApprovalDecision.objects.exists()
    assert say(olga, request_, evidence=read).evidence == read


def test_what_was_shown_too_long_ago_approves_nothing_until_it_is_shown_again(
    request_: ApprovalRequest, amir: User
) -> None:
    """As long ago as the policy lets a request stand, even where this request was given longer."""
    read, _ = show(request_, amir)
    ago = datetime.timedelta(seconds=request_.policy.expires_seconds + 1)
    EvidenceShown.objects.update(shown_at=database_now() - ago)
    with pytest.raises(Refused) as refused:
        say(amir, request_, evidence=read)
    assert refused.value.code == "evidence_unknown"
    assert show(request_, amir)[0] == read
    assert say(amir, request_, evidence=read).evidence == read


def test_who_left_the_page_open_too_long_still_denies_and_revokes_by_it(request_: ApprovalRequest, amir: User) -> None:
    olga = person("olga", "approver")
    pages = {who: show(request_, who)[0] for who in (amir, olga)}
    say(amir, request_, evidence=pages[amir])
    ago = datetime.timedelta(seconds=request_.policy.expires_seconds + 1)
    EvidenceShown.objects.update(shown_at=database_now() - ago)
    assert say(amir, request_, "revoke", evidence=pages[amir]).evidence == pages[amir]
    assert say(olga, request_, "deny", evidence=pages[olga], reason="It is not tested.").evidence == pages[olga]


def test_the_same_page_is_kept_once(request_: ApprovalRequest, amir: User) -> None:
    assert show(request_, amir) == show(request_, amir)
    assert show(request_, amir)[0] == show(request_, person("olga", "approver"))[0]
    assert EvidenceShown.objects.count() == 2
    assert ApprovalEvidence.objects.count() == 1


def test_evidence_that_was_altered_behind_its_digest_is_not_shown(request_: ApprovalRequest, amir: User) -> None:
    digest, _ = show(request_, amir)
    ApprovalEvidence.objects.update(body=b'{"title": "Nothing"}')
    with pytest.raises(ApprovalEvidence.DoesNotExist):
        shown(request_, digest)
    assert browser(amir).get(f"/approvals/{request_.pk}/evidence/{digest}/").status_code == 404


def test_the_api_gives_the_evidence_that_it_then_takes(client: Client, request_: ApprovalRequest, amir: User) -> None:
    header = bearer(amir, "approve", "view")
    path = f"/api/v1/approvals/{request_.pk}"
    now = client.get(f"{path}/evidence/", headers=header).json()
    assert (now["body"]["format"], now["moved"]) == ("lastgood-evidence/1", [])
    body = {"decision": "approve", "subject_hash": request_.subject_hash}
    unnamed = client.post(f"{path}/decide/", body, content_type="application/json", headers=header)
    assert (unnamed.status_code, unnamed.json()["type"]) == (409, "/problems/evidence-unknown")
    named = client.post(
        f"{path}/decide/", body | {"evidence": now["digest"]}, content_type="application/json", headers=header
    )
    assert named.json()["decisions"][0]["evidence"] == now["digest"]
    again = client.get(f"{path}/evidence/{now['digest']}/", headers=header).json()
    assert again["body"] == now["body"]
    assert client.get(f"{path}/evidence/{'0' * 64}/", headers=header).status_code == 404


def test_a_subject_that_has_moved_is_not_approved_and_the_page_says_what_moved(
    request_: ApprovalRequest, amir: User, told: dict[str, Any]
) -> None:
    client = browser(amir)
    told["moved"] = ["h2 serves 0a1b2c3d4e5f; the plan expects ffffffffffff"]
    page = client.get(f"/approvals/{request_.pk}/")
    assert "it is no longer what was put to its approvers" in text_of(page)
    assert "h2 serves 0a1b2c3d4e5f; the plan expects ffffffffffff" in text_of(page)
    assert "Approve…" not in text_of(page)
    answer = send(client, request_)
    assert answer.status_code == 409
    assert not ApprovalDecision.objects.exists()
    assert recorded("approval.decide")[-1]["data"]["refused"] == "subject_moved"


def test_the_proposers_words_stand_beside_the_evidence_and_not_in_it(
    request_: ApprovalRequest, amir: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell = Subject("Roll back", "It answers with version 1.", why="Mr Smith was refused a loan.")
    monkeypatch.setitem(subjects._providers, "rollback", lambda entry: tell)
    assert "Mr Smith was refused" in text_of(browser(amir).get(f"/approvals/{request_.pk}/"))
    assert b"Mr Smith" not in bytes(ApprovalEvidence.objects.get().body)
