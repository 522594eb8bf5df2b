"""The page of one event: before and after, authority, neighbours, proof."""

import hashlib
import json

import pytest
from django.test import Client

from audit.actions import Actor, Target, record
from audit.models import AuditEvent
from audit.readings.behind import around, authority_of
from audit.readings.shape import Shown, facts_of
from tests.audit import story
from tests.audit.log import ALICE, BOB, event
from tests.audit.test_pages import page_of, signed_in

pytestmark = pytest.mark.django_db


def opened(client: Client, found: AuditEvent) -> str:
    return page_of(client, f"/audit/events/{found.event_uuid}/")


@pytest.mark.parametrize(
    ("action", "data", "turned"),
    [
        ("incident.triage", {"severity": 1, "severity_before": 3}, [("severity", "3", "1")]),
        ("incident.set_severity", {"severity": 2, "before": 4}, [("severity", "4", "2")]),
        ("incident.move", {"from": "detected", "to": "triaged"}, [("state", "detected", "triaged")]),
        ("alias.move", {"from": "a" * 64, "to": "b" * 64}, [("version", "a" * 64, "b" * 64)]),
        ("rule.change", {"before": {"a": "1", "b": "x"}, "after": {"a": "2", "b": "x"}}, [("a", "1", "2")]),
        ("delegation.create", {"from": "u-a", "to": "u-b"}, []),
    ],
)
def test_what_was_and_what_is_stand_side_by_side(action: str, data: dict, turned: list) -> None:
    found = facts_of(action, data)
    assert [(one.label, one.before.text, one.after.text) for one in found.turned] == turned


def test_a_replaced_policy_is_compared_with_the_one_before_it() -> None:
    target = Target("approval_policy", "rollback-high-production")
    for required in (1, 2):
        policy = {"name": "p", "required": required, "factors": [{"role": "commander", "count": 1}]}
        last = record(action="policy.replace", target=target, actor=ALICE, data={"policy": policy})
    page = "".join(line.strip() for line in opened(signed_in(), last).splitlines())
    assert "Compared with" in page
    assert '<th scope="row">required</th><td>1</td><td>2</td>' in page
    assert '<th scope="row">factors</th>' not in page


def test_nested_facts_are_tables_and_lists_and_never_a_programs_own_writing() -> None:
    data = {"seats": [{"by": "u-bob", "role": "approver"}], "hosts": ["gpu-1", "gpu-2"], "ok": True, "none": None,
            "policy": {"factors": [{"role": "commander", "count": 1}]}, "hash": "a" * 64}  # fmt: skip
    kinds = {label: value.kind for label, value in facts_of("thing.do", data).rest}
    assert kinds == {
        "seats": "table", "hosts": "list", "ok": "flag", "none": "none", "policy": "facts", "hash": "digest",
    }  # fmt: skip
    page = opened(signed_in(), event("thing.do", data=data))
    shown = page.split("The record as JSON")[0]
    for sign in ("{&#x27;", "[&#x27;", "&#x27;: ", "True", "None"):
        assert sign not in shown
    assert '<th scope="col">role</th>' in shown


def test_a_value_that_only_looks_like_a_moment_is_text() -> None:
    assert facts_of("thing.do", {"at": "2026-99-99T10:00:00Z"}).rest == [("at", Shown("text", "2026-99-99T10:00:00Z"))]


def test_a_step_of_a_run_shows_the_approvals_of_the_run() -> None:
    story.whole()
    step = AuditEvent.objects.get(action="rollback.step.outcome")
    found = authority_of(step)
    assert found.change is not None
    assert [one.by for one in found.change.approvers] == ["u-bob", "u-carol"]
    page = opened(signed_in(), step)
    assert "Part of the rollback of employment-production" in page
    assert "asks for 2 people" in page
    decided = AuditEvent.objects.filter(action="approval.decide").first()
    assert decided is not None
    others = [one.action for one in authority_of(decided).decisions]
    assert others == ["approval.open", "approval.decide", "approval.consume"]


def test_a_persons_act_shows_the_roles_that_counted_then() -> None:
    grant = {"grant": "g-1", "user": ALICE.id, "role": "commander", "scope": {}}
    before = event("incident.move", target="INC-9")
    record(action="role.grant", target=Target("user", ALICE.id), actor=Actor("service", "svc:createadmin"), data=grant)
    after = event("incident.move", target="INC-9")
    assert authority_of(before).roles == []
    assert [held.role for held in authority_of(after).roles] == ["commander"]
    assert "Roles that counted then" in opened(signed_in(), after)
    assert "The log holds no role, approval or policy behind it." in opened(signed_in(name="bea"), before)


def test_the_events_around_are_of_the_same_incident_object_and_person() -> None:
    first = event(actor=BOB, incident="INC-1")
    middle = event(incident="INC-1", target="other")
    last = event(target="other")
    groups = {group.title: [one.uuid for one in group.events] for group in around(middle)}
    assert groups == {
        "In INC-1": [first.event_uuid],
        "To the same object": [last.event_uuid],
        "By the same person": [last.event_uuid],
    }


def test_the_record_is_given_out_byte_for_byte() -> None:
    made = event(data={"number": 1})
    answer = signed_in().get(f"/audit/events/{made.event_uuid}/record.json")
    assert answer.content == bytes(AuditEvent.objects.get(pk=made.pk).canon)
    assert json.loads(answer.content)["event_id"] == str(made.event_uuid)
    assert len(hashlib.sha256(b"\0" + answer.content).hexdigest()) == 64
    assert signed_in("viewer", "eve").get(f"/audit/events/{made.event_uuid}/record.json").status_code == 403
