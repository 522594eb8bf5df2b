"""How long evidence is kept on which nobody decided, and what an erasure takes out of evidence."""

import datetime
import hashlib
from typing import Any

import pytest
from django.test import Client

from accounts.actions import actor_for
from accounts.approvals import subjects
from accounts.approvals.due import SOURCES
from accounts.approvals.evidence import show, shown
from accounts.approvals.models import ApprovalDecision, ApprovalEvidence, ApprovalRequest, RequestState
from accounts.approvals.subjects import Subject
from accounts.erasure.actions import erase_person
from accounts.models import User
from accounts.tasks import prune_evidence
from audit import holds
from audit.actions import Target, record
from audit.canonical import canonical_bytes
from audit.clock import database_now
from audit.erasure import erase_reason
from tests.accounts.people import PASSWORD, SETUP, a_request, person, recorded, say

pytestmark = pytest.mark.django_db
WORDS = "Mr Smith said “no” to it."


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A subject whose sentence, which is shown, the test can change."""
    tale: dict[str, Any] = {"sentence": "It answers with version 1."}
    monkeypatch.setitem(subjects._providers, "rollback", lambda entry: Subject("Roll back", tale["sentence"]))
    monkeypatch.setitem(subjects._moved, "rollback", lambda entry: [])
    return tale


@pytest.fixture
def request_(told: dict[str, Any]) -> ApprovalRequest:
    """With two snapshots; an approver has denied it on the first."""
    request = a_request(person("rita", "responder"))
    amir = person("amir", "approver")
    say(amir, request, "deny", reason="It is not tested.")
    told["sentence"] = "It answers with version 2."
    show(request, amir)
    return request


def grow_old(days: int) -> None:
    ApprovalEvidence.objects.update(shown_at=database_now() - datetime.timedelta(days=days))


def due() -> list[object]:
    source = next(one for one in SOURCES if one.task == "accounts.prune_evidence")
    return list(source.ids(database_now()))


def test_evidence_on_which_nobody_decided_goes_after_its_time_and_that_is_on_record(request_: ApprovalRequest) -> None:
    used = ApprovalDecision.objects.get().evidence
    spare = ApprovalEvidence.objects.exclude(digest=used).get().digest
    grow_old(29)
    assert due() == []
    grow_old(31)
    assert due() == [str(request_.pk)]
    prune_evidence(str(request_.pk))
    prune_evidence(str(request_.pk))
    assert list(ApprovalEvidence.objects.values_list("digest", flat=True)) == [used]
    [told] = recorded("approval.evidence.prune")
    assert told["data"] == {"digests": [spare], "days": 30}
    assert told["actor"]["id"] == "svc:retention"


@pytest.mark.parametrize("why", ["open", "held incident", "held model", "kept for ever"])
def test_evidence_stays_while_its_request_is_open_or_a_hold_keeps_it(
    request_: ApprovalRequest, why: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow_old(31)
    monkeypatch.setattr(holds, "_knowers", {})
    if why == "open":
        ApprovalRequest.objects.update(state=RequestState.OPEN)
    elif why == "kept for ever":
        settings.LASTGOOD_EVIDENCE_DAYS = 0
    else:
        kind = why.removeprefix("held ")
        ApprovalRequest.objects.update(incident_ref="INC-1", model="income")
        holds.place(kind=kind, ref="INC-1" if kind == "incident" else "income", reason="case 12", actor=SETUP)
    assert due() == []
    prune_evidence(str(request_.pk))
    assert ApprovalEvidence.objects.count() == 2


def frozen_by(user: User, words: str = WORDS, endpoint: str = "e") -> Any:
    """An act with a reason, which evidence quotes."""
    record(
        action="endpoint.register",
        target=Target("endpoint", endpoint),
        actor=SETUP,
        data={"model": f"income-{endpoint}"},
    )
    return record(
        action="endpoint.freeze", target=Target("endpoint", endpoint), actor=actor_for(user=user), reason=words
    )


@pytest.fixture
def of_e(told: dict[str, Any]) -> ApprovalRequest:
    """A request about the model of the endpoint `e`."""
    return a_request(person("rita", "responder"), incident="INC-1", model="income-e")


def erase(user: User) -> dict[str, int]:
    ada = User.objects.filter(username="ada").first() or person("ada", "administrator")
    rows: dict[str, int] = erase_person(user=user, by=ada, reason="asked for it", actor=SETUP).rows
    return rows


def test_the_words_of_an_erased_person_go_from_the_evidence_and_all_else_of_it_stays(
    told: dict[str, Any], of_e: ApprovalRequest
) -> None:
    frank, amir = person("frank", "commander"), person("amir", "approver")
    frozen_by(frank)
    told["sentence"] = f"e is frozen: {WORDS} Lift it first."
    digest, body = show(of_e, amir)
    told["sentence"] = "e is frozen: by others."
    other = show(of_e, amir)
    assert erase(frank)["accounts_approvalevidence"] == 1
    assert shown(of_e, digest) == body | {"sentence": "e is frozen: [erased] Lift it first."}
    assert shown(of_e, other[0]) == other[1]
    left = hashlib.sha256(bytes(ApprovalEvidence.objects.get(digest=digest).body)).hexdigest()
    [leaf] = recorded("approval.evidence.erase")
    assert (leaf["target"]["id"], leaf["data"]) == (str(of_e.pk), {"digests": {digest: left}})
    client = Client()
    assert client.login(username="ada", password=PASSWORD)
    assert "[erased]" in client.get(f"/approvals/{of_e.pk}/evidence/{digest}/").content.decode()
    ApprovalEvidence.objects.filter(digest=digest).update(body=b'{"title": "Nothing"}')
    with pytest.raises(ApprovalEvidence.DoesNotExist, match="was altered"):
        shown(of_e, digest)


def test_a_reason_that_is_a_word_of_the_format_takes_nothing_out(told: dict[str, Any], of_e: ApprovalRequest) -> None:
    frank = person("frank", "commander")
    frozen_by(frank, "lastgood-evidence/1")
    frozen_by(frank, of_e.subject_hash, endpoint="other")
    digest, body = show(of_e, person("amir", "approver"))
    assert "accounts_approvalevidence" not in erase(frank)
    assert shown(of_e, digest) == body


def test_evidence_of_what_the_text_is_not_about_is_not_touched(told: dict[str, Any], of_e: ApprovalRequest) -> None:
    frank = person("frank", "commander")
    frozen_by(frank, endpoint="other")
    told["sentence"] = f"Somebody else said so too: {WORDS}"
    digest, body = show(of_e, person("amir", "approver"))
    assert "accounts_approvalevidence" not in erase(frank)
    assert shown(of_e, digest) == body


def test_evidence_that_a_legal_hold_keeps_is_not_touched(
    told: dict[str, Any], of_e: ApprovalRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    frank = person("frank", "commander")
    frozen_by(frank)
    told["sentence"] = f"e is frozen: {WORDS}"
    digest, body = show(of_e, person("amir", "approver"))
    monkeypatch.setattr(holds, "_knowers", {})
    holds.place(kind="incident", ref="INC-1", reason="case 12", actor=SETUP)
    assert "accounts_approvalevidence" not in erase(frank)
    assert shown(of_e, digest) == body
    assert not recorded("approval.evidence.erase")


def test_what_was_said_of_a_host_goes_from_the_evidence_that_names_it(
    told: dict[str, Any], of_e: ApprovalRequest
) -> None:
    frank, amir = person("frank", "commander"), person("amir", "approver")
    record(action="host.hold", target=Target("host", "h1"), actor=actor_for(user=frank), reason=WORDS)
    told["sentence"] = f"h1: held: {WORDS}"
    named = show(of_e, amir)[0]
    told["sentence"] = f"h10: held: {WORDS}"
    other = show(of_e, amir)[0]
    assert erase(frank)["accounts_approvalevidence"] == 1
    assert shown(of_e, named)["sentence"] == "h1: held: [erased]"
    assert WORDS in shown(of_e, other)["sentence"]


def test_evidence_that_was_altered_before_is_not_vouched_for_by_an_erasure(
    told: dict[str, Any], of_e: ApprovalRequest
) -> None:
    frank = person("frank", "commander")
    frozen_by(frank)
    digest, body = show(of_e, person("amir", "approver"))
    ApprovalEvidence.objects.update(body=canonical_bytes(body | {"sentence": f"Harmless: {WORDS}"}))
    assert erase(frank)["accounts_approvalevidence"] == 1
    assert b"Smith" not in bytes(ApprovalEvidence.objects.get().body)
    with pytest.raises(ApprovalEvidence.DoesNotExist, match="was altered"):
        shown(of_e, digest)


def test_a_single_erased_text_goes_from_the_evidence_too(told: dict[str, Any], of_e: ApprovalRequest) -> None:
    """Of a long text, a page may quote the beginning."""
    made = frozen_by(person("frank", "commander"), WORDS + " And so on." * 30)
    told["sentence"] = f"e is frozen: {(WORDS + ' And so on.' * 30)[:300]}. Lift it."
    digest = show(of_e, person("ada", "administrator"))[0]
    assert erase_reason(event=made, actor=SETUP, reason="Mr Smith asked for it")
    assert shown(of_e, digest)["sentence"] == "e is frozen: [erased]. Lift it."
    assert recorded("audit.reason.erase")[0]["data"] == {"rows": {"accounts_approvalevidence": 1}}
