"""Registering a gate: what is refused, who has to agree, and what the pages and the API show of it."""

import json
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.actions import actor_for, create_user
from accounts.approvals.acts import ActRefused, decided, perform
from accounts.approvals.models import Act, ApprovalPolicy
from accounts.models import User
from audit.actions import service_actor
from audit.models import AuditEvent
from incidents.rollback.gating.acts import register_gate
from incidents.rollback.gating.bodies import EXAMPLES, GateRefused, check
from incidents.rollback.gating.models import GateDefinition, GateKind
from registry.actions import register_model
from registry.models import Model
from tests.accounts.people import person, say

SUITE = {"argv": ["/opt/checks/run", "$report"]}


@pytest.fixture
def administrator(db: Any) -> User:
    return create_user(
        username="ada",
        email="ada@example.org",
        full_name="Ada",
        password="correct horse battery staple",
        roles=["administrator"],
        actor=service_actor("test"),
    )


@pytest.fixture
def model(db: Any) -> Model:
    return register_model(slug="prices", name="Prices", team="shop", actor=service_actor("test"))


def wish(user: User, model: Model, **other: Any) -> dict[str, Any]:
    terms = {"name": "smoke", "kind": "suite", "question": "Can people pay?", "body": SUITE, "reason": "We need it."}
    return {"model": model, "user": user, "actor": actor_for(user=user), **terms, **other}


def test_every_example_is_a_body_that_is_taken() -> None:
    for kind, body in EXAMPLES.items():
        assert check(kind, body).items() >= {name: body[name] for name in body if name != "people"}.items()


@pytest.mark.parametrize(
    ("kind", "body", "why"),
    [
        ("suite", {"argv": "rm -rf /"}, "a list"),
        ("suite", {"argv": ["pytest"]}, "whole path"),
        ("suite", {"argv": ["/bin/true"], "seconds": 10**6}, "`seconds`"),
        ("suite", {"argv": ["/bin/true"], "shell": True}, "has no 'shell'"),
        ("suite", {"argv": ["/bin/true"], "files": {"x": "y"}}, "SHA-256"),
        ("http", {"url": "file:///etc/passwd"}, "http"),
        ("http", {"url": "http://a.example", "pointer": "/x"}, "together"),
        ("http", {"url": "http://a.example", "pointer": "x", "equals": "1"}, "begins with a slash"),
        ("series", {"source": "p", "query": "up", "compare": "canary_baseline"}, "baseline_query"),
        ("series", {"source": "p", "query": "up", "matters": "a lot"}, "`matters`"),
        ("hardware", {"figure": "x"}, "at_least"),
        ("acceptance", {"people": ["vera", "vera"]}, "once"),
        ("acceptance", {"people": ["vera"], "needed": 2}, "`needed`"),
        ("magic", {}, "no kind"),
        ("suite", ["/bin/true"], "JSON object"),
    ],
)
def test_what_can_not_be_asked_is_refused(kind: str, body: Any, why: str) -> None:
    with pytest.raises(GateRefused, match=why):
        check(kind, body)


def test_a_gate_waits_for_another_administrator(administrator: User, model: Model) -> None:
    act = register_gate(**wish(administrator, model))

    assert isinstance(act, Act)
    assert json.loads(bytes(act.document))["gate"]["body"]["argv"] == ["/opt/checks/run", "$report"]
    assert not GateDefinition.objects.exists()
    with pytest.raises(ActRefused, match="not enough approvals"):
        perform(act_id=act.id, actor=actor_for(user=administrator))
    assert not GateDefinition.objects.exists()

    say(person("bert", "administrator"), act.request)
    assert decided(act.request_id)
    assert GateDefinition.objects.get().name == "smoke"
    registered = json.loads(bytes(AuditEvent.objects.get(action="gate.register").canon))
    assert registered["correlation"]["act"] == str(act.id)
    assert registered["data"]["digest"] == json.loads(bytes(act.document))["digest"]


def test_without_a_policy_it_is_registered_at_once_and_only_once(administrator: User, model: Model) -> None:
    ApprovalPolicy.objects.filter(subject_kind="gate_registration").update(active=False)

    made = register_gate(**wish(administrator, model))

    assert isinstance(made, GateDefinition)
    assert made.body == {"argv": ["/opt/checks/run", "$report"], "seconds": 600, "memory_mib": 2048, "files": {}}
    event = AuditEvent.objects.get(action="gate.register")
    assert (event.target_id, json.loads(bytes(event.canon))["data"]["digest"]) == ("prices/smoke", made.digest)
    with pytest.raises(GateRefused, match="has a gate smoke"):
        register_gate(**wish(administrator, model))


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"name": "golden"}, "not taken"),
        ({"question": "Pay."}, "ends with"),
        ({"plan_kinds": ["converge"]}, "of the kinds"),
        ({"kind": "acceptance", "body": {"people": ["nobody"]}}, "nobody called nobody"),
    ],
)
def test_other_terms_are_refused(administrator: User, model: Model, other: dict[str, Any], why: str) -> None:
    with pytest.raises(GateRefused, match=why):
        register_gate(**wish(administrator, model, **other))
    assert not Act.objects.exists()


def test_the_pages_register_list_and_retire(administrator: User, model: Model) -> None:
    ApprovalPolicy.objects.filter(subject_kind="gate_registration").update(active=False)
    client = Client()
    client.force_login(administrator, backend="django.contrib.auth.backends.ModelBackend")
    form = {
        "model": "prices",
        "name": "smoke",
        "kind": "suite",
        "question": "Can people <b>pay</b>?",
        "body": json.dumps(SUITE),
        "plan_kinds": ["release"],
        "environment": "production",
        "reason": "We need it.",
    }

    assert "/opt/checks" in client.get(reverse("gate-register")).content.decode()
    wrong = client.post(reverse("gate-register"), form | {"body": '{"argv": []}'})
    right = client.post(reverse("gate-register"), form)

    assert (wrong.status_code, right.status_code) == (400, 302)
    assert "a list of 1 to 50 arguments" in wrong.content.decode()
    made = GateDefinition.objects.get()
    assert (made.plan_kinds, made.environment, made.kind) == (["release"], "production", GateKind.SUITE)
    page = client.get(reverse("gate-list"), {"retire": made.pk}).content.decode()
    assert "Can people &lt;b&gt;pay&lt;/b&gt;?" in page
    assert "runs /opt/checks/run &#x27;$report&#x27; without a shell, at most 600 s" in page
    client.post(reverse("gate-retire", args=[made.pk]), {"reason": ""})
    assert not GateDefinition.objects.exclude(retired_at=None).exists()
    client.post(reverse("gate-retire", args=[made.pk]), {"reason": "The shop is gone."})
    assert GateDefinition.objects.get().retired_reason == "The shop is gone."


def test_the_api_registers_and_says_what_waits(administrator: User, model: Model) -> None:
    client = Client()
    client.force_login(administrator, backend="django.contrib.auth.backends.ModelBackend")
    body = {"model": "prices", "name": "smoke", "kind": "suite", "question": "Can people pay?", "body": SUITE}

    answer = client.post("/api/v1/gates/", body, content_type="application/json")
    again = client.post("/api/v1/gates/", body, content_type="application/json")
    wrong = client.post("/api/v1/gates/", body | {"name": "b2", "body": {}}, content_type="application/json")

    assert (answer.status_code, answer.json()) == (202, {"request": str(Act.objects.get().request_id)})
    assert (again.status_code, again.json()["type"]) == (409, "/problems/already-asked")
    assert (wrong.status_code, wrong.json()["type"]) == (422, "/problems/malformed")
    assert client.get("/api/v1/gates/").json()["results"] == []
