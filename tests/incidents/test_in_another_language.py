"""People work in another language, and nothing of it is kept: records, evidence, plans and rows stay English."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings as django_settings
from django.db import connection
from django.test import Client
from django.utils.translation import trans_real

from accounts.approvals.models import Act, ApprovalEvidence, ApprovalPolicy
from audit.models import AuditEvent
from incidents.models import Incident
from incidents.rollback.models import Plan
from registry.models import Deployment, Host, Model, Placement
from tests.accounts.people import person
from tests.incidents.world import World

MARK = "⟦"


class Bracketed(trans_real.DjangoTranslation):
    """A catalogue that has every text, in brackets."""

    def gettext(self, message: str) -> str:
        return f"{MARK}{message}⟧"

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return f"{MARK}{msgid1 if n == 1 else msgid2}⟧"


@pytest.fixture
def bracketed(settings: Any) -> Iterator[None]:
    """German is offered, and all of it is English in brackets."""
    kept = dict(trans_real._translations)
    settings.LANGUAGES = [("en", "English"), ("de", "Deutsch")]
    trans_real._translations["de"] = Bracketed("de")
    yield
    trans_real._translations.clear()
    trans_real._translations.update(kept)


@pytest.fixture
def told(world: World, bracketed: None) -> World:
    """Version 2 is live on every host, a policy says who approves a rollback, and all read German."""
    ApprovalPolicy.objects.get_or_create(
        subject_kind="rollback", risk_tier=world.endpoint.model.risk_tier, environment=world.endpoint.environment,
        active=True, defaults={"name": "two people", "required": 2},
    )  # fmt: skip
    for host in Host.objects.all():
        Placement.objects.create(endpoint=world.endpoint, host=host, desired=world.bad)
        Deployment.objects.create(endpoint=world.endpoint, host=host, version=world.bad, since=world.began)

    def client(name: str) -> Client:
        german = Client(headers={"accept-language": "de"})
        german.force_login(world.users[name], backend="django.contrib.auth.backends.ModelBackend")
        return german

    world.client = client  # type: ignore[method-assign]
    return world


def kept_in_brackets() -> set[str]:
    """Tables of ours of which a row holds a bracket, in a text, in JSON or in bytes."""
    ours = [model._meta for model in apps.get_models() if model.__module__.split(".")[0] in OURS]
    in_bytes = MARK.encode().hex()
    found = set()
    with connection.cursor() as cursor:
        for table in {meta.db_table for meta in ours}:
            sql = f'SELECT 1 FROM "{table}" t WHERE t::text LIKE %s OR t::text LIKE %s LIMIT 1'
            cursor.execute(sql, [f"%{MARK}%", f"%{in_bytes}%"])
            found |= {table} if cursor.fetchone() else set()
    return found


OURS = {app.split(".")[0] for app in django_settings.INSTALLED_APPS} & {
    "accounts", "audit", "registry", "monitoring", "incidents",
}  # fmt: skip


def test_a_text_that_is_kept_in_brackets_is_found(world: World) -> None:
    assert kept_in_brackets() == set()
    world.endpoint.model.error_meaning = f"{MARK}wrong⟧"
    world.endpoint.model.save()
    assert kept_in_brackets() == {Model._meta.db_table}


def test_what_is_done_to_an_incident_in_another_language_is_kept_in_english(told: World) -> None:
    incident = told.incident()
    told.candidate(incident)
    steps: list[tuple[str, dict[str, Any]]] = [
        ("acknowledge", {}),
        ("triage", {"impact": 1, "urgency": 1, "assessment": "Letters went out."}),
        ("role", {"role": "scribe", "user": told.users["kofi"].pk}),
        ("update", {"conditions": "Going on.", "actions": "", "needs": ""}),
        ("note", {"text": "Seen."}),
        ("roll-call", {}),
        ("propose", {"to_version": 1, "reason": "It was right."}),
        ("severity", {"severity": 2, "reason": "Fewer people."}),
        ("move", {"to": "mitigating", "reason": "It is clear."}),
    ]
    # when each is done by who reads in another language
    before = AuditEvent.objects.count()
    for verb, typed in steps:
        now = Incident.objects.get(pk=incident.pk)
        answer = told.client("kofi").post(f"/incidents/{incident.ref}/{verb}/", typed | {"version": now.version})
        assert answer.status_code == 302, (verb, answer.content.decode())
    page = told.client("kofi").get(f"/incidents/{incident.ref}/").content.decode()
    # then they are told so in it, and what is kept is English
    assert f"{MARK}Going on" not in page
    assert page.count(MARK) > 100
    assert AuditEvent.objects.count() > before + len(steps)
    assert Plan.objects.filter(incident_ref=incident.ref).exists()
    assert kept_in_brackets() == set()


def test_what_an_approver_is_shown_is_the_same_bytes_in_every_language(bracketed: None, db: None) -> None:
    # given a change of a policy that another administrator has to agree to, asked for by who reads another language
    ada, bea = person("ada", "administrator"), person("bea", "administrator")
    policy = ApprovalPolicy.objects.get(subject_kind="rollback", risk_tier="high", environment="production")

    def browser(user: Any, language: str) -> Client:
        client = Client(headers={"accept-language": language})
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        return client

    typed = {"reason": "Nobody fills it."}
    asked = browser(ada, "de").post(f"/approvals/policies/{policy.pk}/retire/", typed)
    assert asked.status_code == 302
    act = Act.objects.get()
    # when it is looked at in both
    pages = [browser(bea, language).get(f"/approvals/{act.request_id}/") for language in ("de", "en")]
    # then the frame is in the reader's language, and the evidence is one, in English
    assert [page.status_code for page in pages] == [200, 200]
    assert [MARK in page.content.decode() for page in pages] == [True, False]
    assert ApprovalEvidence.objects.filter(request=act.request_id).count() == 1
    assert kept_in_brackets() == set()
