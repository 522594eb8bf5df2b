"""How long evidence is kept on which nobody decided, and what an erasure takes out of evidence."""

import datetime
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


def frozen_by(user: User) -> Any:
    """An act with a reason, which evidence quotes."""
    return record(action="endpoint.freeze", target=Target("endpoint", "e"), actor=actor_for(user=user), reason=WORDS)


def test_evidence_that_quotes_an_erased_person_is_emptied_and_says_so(
    told: dict[str, Any], request_: ApprovalRequest
) -> None:
    frank, ada = person("frank", "commander"), person("ada", "administrator")
    frozen_by(frank)
    told["sentence"] = f"e is frozen: {WORDS} Lift it first."
    digest = show(request_, ada)[0]
    assert erase_person(user=frank, by=ada, reason="asked for it", actor=SETUP).rows["accounts_approvalevidence"] == 1
    assert [bytes(row.body) for row in ApprovalEvidence.objects.filter(digest=digest)] == [b""]
    assert sum(bool(row.body) for row in ApprovalEvidence.objects.all()) == 2
    with pytest.raises(ApprovalEvidence.DoesNotExist, match="was erased"):
        shown(request_, digest)
    client = Client()
    assert client.login(username="ada", password=PASSWORD)
    assert client.get(f"/approvals/{request_.pk}/evidence/{digest}/").status_code == 404


def test_evidence_that_quotes_a_single_erased_text_is_emptied_too(
    told: dict[str, Any], request_: ApprovalRequest
) -> None:
    made = frozen_by(person("frank", "commander"))
    told["sentence"] = f"e is frozen: {WORDS}"
    digest = show(request_, person("ada", "administrator"))[0]
    assert erase_reason(event=made, actor=SETUP, reason="Mr Smith asked for it")
    assert not bytes(ApprovalEvidence.objects.get(digest=digest).body)
    assert recorded("audit.reason.erase")[0]["data"] == {"rows": {"accounts_approvalevidence": 1}}
