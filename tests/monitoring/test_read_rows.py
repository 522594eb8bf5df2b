"""Rows of predictions: who may read them, and that it is recorded."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from audit.models import AuditEvent
from audit.queries import reason_of, record_of
from registry.models import Endpoint
from tests.accounts.people import PASSWORD, bearer, person
from tests.monitoring import world

pytestmark = pytest.mark.django_db
PATH = "/api/v1/predictions/read/"


@pytest.fixture
def endpoint(settings: Any, tmp_path: Path) -> Endpoint:
    settings.LASTGOOD_VAR = tmp_path
    endpoint = world.make_endpoint()
    (host,) = world.make_hosts("h1")
    world.log(endpoint, host, world.answers(world.part(2016, 0, 30)))
    return endpoint


def asked(endpoint: Endpoint, /, **changes: Any) -> dict[str, Any]:
    given = {"since": world.START.isoformat(), "until": (world.START + timedelta(hours=1)).isoformat()}
    return given | {"endpoint": endpoint.slug, "reason": "complaint 7", "limit": 5} | changes


def ask(headers: dict[str, str], body: dict[str, Any]) -> Any:
    return Client().post(PATH, body, headers=headers, content_type="application/json")


def test_an_analyst_reads_rows_and_the_reading_is_on_record(endpoint: Endpoint) -> None:
    anna = person("anna", "analyst")
    answer = ask(bearer(anna, "predictions.read"), asked(endpoint)).json()
    assert (answer["found"], len(answer["rows"])) == (30, 5)
    assert {"id", "ts", "output", "label", "feature.AGEP"} <= set(answer["columns"])
    event = AuditEvent.objects.get(action="predictions.read")
    told = record_of(event)
    assert (told["actor"]["id"], told["target"]["id"]) == (anna.pseudonym, endpoint.slug)
    assert (told["data"]["rows"], told["data"]["found"]) == (5, 30)
    assert reason_of(event) == "complaint 7"


def test_a_span_of_more_rows_than_fit_into_memory_is_refused_before_a_file_is_read(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitoring.rows.MOST_FOUND", 29)
    headers = bearer(person("anna", "analyst"), "predictions.read")
    answer = ask(headers, asked(endpoint))
    assert answer.status_code == 400
    assert "holds up to 30 predictions. Choose a shorter one" in answer.content.decode()
    assert not AuditEvent.objects.filter(action="predictions.read").exists()
    assert ask(headers, asked(endpoint, host="h2")).json()["found"] == 0


@pytest.mark.parametrize("role", ["viewer", "responder", "commander", "approver", "auditor", "administrator"])
def test_no_other_role_reads_rows(endpoint: Endpoint, role: str) -> None:
    user = person(role, role)
    assert ask(bearer(user, "view"), asked(endpoint)).status_code == 403
    client = Client()
    assert client.login(username=role, password=PASSWORD)
    assert client.get(f"/monitoring/endpoints/{endpoint.slug}/predictions/").status_code == 403
    assert not AuditEvent.objects.filter(action="predictions.read").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"reason": " "},
        {"limit": 1001},
        {"limit": 0},
        {"until": world.START.isoformat()},
        {"until": (world.START + timedelta(days=32)).isoformat()},
        {"endpoint": "other"},
    ],
)
def test_what_is_refused_reads_nothing(endpoint: Endpoint, change: dict[str, Any]) -> None:
    answer = ask(bearer(person("anna", "analyst"), "predictions.read"), asked(endpoint, **change))
    assert answer.status_code == 400
    assert not AuditEvent.objects.filter(action="predictions.read").exists()


def test_on_the_page_the_rows_come_as_the_answer_to_a_post_with_a_reason(endpoint: Endpoint) -> None:
    person("anna", "analyst")
    client, address = Client(), f"/monitoring/endpoints/{endpoint.slug}/predictions/"
    assert client.login(username="anna", password=PASSWORD)
    assert "is recorded" in client.get(address).content.decode()
    fields = {"since": "2026-11-21T12:00:00", "until": "2026-11-21T13:00:00", "limit": "3", "reason": ""}
    assert "AGEP" not in client.post(address, fields).content.decode()
    assert not AuditEvent.objects.filter(action="predictions.read").exists()
    answer = client.post(address, fields | {"reason": "complaint 7"})
    assert "AGEP" in answer.content.decode()
    assert "3 of 30 predictions" in answer.content.decode()
    assert "no-store" in answer.headers["Cache-Control"]
    assert AuditEvent.objects.filter(action="predictions.read").count() == 1
