"""Bodies made to be read in two ways, to overflow or to exhaust: refused with 400 before anything is done."""

import json

import pytest
from django.test import Client

from audit.models import AuditEvent
from audit.strictjson import NotStrictJson, parse
from monitoring.models import Delivery, DeliveryState
from registry.models import Model
from tests.api.programs import Program, anybody, problem_of
from tests.monitoring.world import ingest_token, make_endpoint, send

NAMED = b'{"slug": "fraud", "name": "Fraud", "team": "ml"'
HOSTILE = {
    "a key twice": (NAMED + b', "slug": "other"}', "the key 'slug' appears twice in one object"),
    "a key twice, once escaped": (NAMED + b', "\\u0073lug": "other"}', "the key 'slug' appears twice in one object"),
    "NaN": (NAMED + b', "description": NaN}', "NaN is not a JSON number"),
    "infinity": (NAMED + b', "description": -Infinity}', "-Infinity is not a JSON number"),
    "an overflow": (NAMED + b', "description": 1e999}', "the number 1e999 is too large"),
    "65 bits": (NAMED + b', "description": 9223372036854775808}', "does not fit into 64 bits"),
    "a million digits": (NAMED + b', "description": ' + b"9" * 1_000_000 + b"}", "does not fit into 64 bits"),
    "half a surrogate pair": (NAMED + b', "description": "\\ud83d"}', "half of a surrogate pair"),
    "half of one as a key": (NAMED + b', "\\udc00": 1}', "half of a surrogate pair"),
    "NUL": (NAMED + b', "description": "a\\u0000b"}', "the character NUL"),
    "65 levels": (NAMED + b', "group_columns": ' + b"[" * 65 + b"]" * 65 + b"}", "more than 64 levels deep"),
    "a million levels": (b"[" * 1_000_000, "more than 64 levels deep"),
    "another encoding": ('{"slug": "fraud"}'.encode("utf-16"), "it is not UTF-8 at byte 0"),
    "bytes that are no text": (NAMED + b', "description": "\xed\xa0\xbd"}', "it is not UTF-8 at byte 65"),
    "two values": (NAMED + b"} {}", "Extra data"),
}


@pytest.fixture
def program(db: None) -> Program:
    return anybody()


@pytest.mark.parametrize("what", HOSTILE)
def test_abuse_42_json_that_two_readers_could_take_for_two_things_is_refused(program: Program, what: str) -> None:
    body, sentence = HOSTILE[what]
    leaves = AuditEvent.objects.count()

    answer = program.ask("POST", "/api/v1/models/", body)

    assert sentence in problem_of(answer, 400, "parse-error")["detail"]
    assert not Model.objects.exists()
    assert AuditEvent.objects.count() == leaves


def test_abuse_42_what_is_allowed_at_the_edges_is_read_exactly() -> None:
    assert parse(b"[9223372036854775807, -9223372036854775807, 1e308]") == [2**63 - 1, 1 - 2**63, 1e308]
    assert parse(b'"\\ud83d\\ude00"') == "\U0001f600"
    assert parse(b"[" * 64 + b"]" * 64) is not None
    assert parse(json.dumps({"a": list(range(200))}).encode()) == {"a": list(range(200))}


def test_abuse_42_a_charset_other_than_utf_8_does_not_change_how_a_body_is_read(program: Program) -> None:
    body = NAMED + b', "description": "caf\xe9"}'
    answer = program.client.generic("POST", "/api/v1/models/", body, content_type="application/json; charset=latin-1")
    problem_of(answer, 400, "parse-error")
    assert not Model.objects.exists()


@pytest.mark.parametrize("body", [b'{"alerts": [], "alerts": []}', b'{"alerts": [], "x": 1e999}', b"[" * 100_000])
def test_abuse_42_a_webhook_is_answered_with_400_and_kept_for_people_to_see(
    client: Client, db: None, body: bytes
) -> None:
    headers = {"Authorization": f"Bearer {ingest_token()}"}

    answer = client.post(
        "/api/v1/ingest/alertmanager/prometheus/", body, content_type="application/json", headers=headers
    )

    problem_of(answer, 400, "parse-error")
    kept = Delivery.objects.get()
    assert (kept.state, bytes(kept.body)) == (DeliveryState.UNPARSEABLE, body)
    assert AuditEvent.objects.filter(action="delivery.set_aside").count() == 1


@pytest.mark.parametrize("line", [b'{"id": "1", "id": "2", "label": 1, "ts": "2026-01-01T00:00:00Z"}', b'{"id": NaN}'])
def test_abuse_42_lines_of_a_delivery_are_read_as_strictly(db: None, line: bytes) -> None:
    delivery = send("labels", line, make_endpoint())
    assert delivery.state == DeliveryState.UNPARSEABLE
    assert delivery.error.startswith("Line 1 is not JSON: ")


def test_abuse_41_a_body_beyond_the_limit_is_refused_before_it_is_read_whole(program: Program, settings) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    answer = program.ask("POST", "/api/v1/models/", b'{"slug": "' + b"a" * 1000 + b'"}')
    problem_of(answer, 413, "too-large")
    assert not Model.objects.exists()


@pytest.mark.parametrize("text", [b"", b"{", b"nul", b"'x'", b"\xff", b"01", b"[1,]"])
def test_abuse_42_what_is_no_json_at_all_is_refused(text: bytes) -> None:
    with pytest.raises(NotStrictJson):
        parse(text)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("policies/", {"subject_kind": "rollback", "required": -1, "factors": [{"role": "approver", "count": 1}]}),
        ("policies/", {"subject_kind": "rollback", "required": 1, "factors": [{"role": "approver", "count": 2}]}),
        ("policies/", {"subject_kind": "rollback", "required": 2**63 - 1, "factors": []}),
        ("policies/", {"subject_kind": "rollback", "required": 2, "factors": [{"role": "approver", "count": 2**40}]}),
        ("policies/", {"subject_kind": "rollback", "required": 2, "step_up_seconds": 2**40, "factors": []}),
        ("endpoints/", {"slug": "e", "name": "e", "model": "m", "environment": "staging", "soak_seconds": 2**40}),
        ("endpoints/", {"slug": "e", "name": "e", "model": "m", "environment": "staging", "soak_seconds": -1}),
        ("tokens/", {"name": "t", "scopes": ["view"], "days": 10**12}),
    ],
)
def test_abuse_43_numbers_that_overflow_or_are_negative_change_nothing(
    program: Program, path: str, body: dict[str, object]
) -> None:
    leaves = AuditEvent.objects.count()
    answer = program.ask("POST", f"/api/v1/{path}", body)
    assert 400 <= answer.status_code < 500
    problem_of(answer, answer.status_code)
    assert AuditEvent.objects.count() == leaves
