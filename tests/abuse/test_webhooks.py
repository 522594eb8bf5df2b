"""Webhooks from those who do not know the secret, who heard a message before, or who come too late."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from audit.models import AuditEvent
from monitoring.models import Delivery, DeliveryState, WebhookSource
from monitoring.sources import create_source, end_source, rotate_source
from monitoring.webhooks import SignatureRefused, sign, verify
from tests.accounts.people import recorded
from tests.api.programs import SETUP, anybody, problem_of
from tests.monitoring.world import ingest_token

pytestmark = pytest.mark.django_db
BODY = (Path(__file__).parents[1] / "monitoring" / "vectors" / "alertmanager-firing.json").read_bytes()
URL = "/api/v1/ingest/alertmanager/grafana/"


@pytest.fixture
def secret() -> str:
    return create_source(name="grafana", actor=SETUP)[1]


def signed(secret: str, body: bytes = BODY, *, id: str = "msg_1", at: float | None = None) -> dict[str, str]:
    stamp = int(time.time() if at is None else at)
    return {
        "webhook-id": id,
        "webhook-timestamp": str(stamp),
        "webhook-signature": sign(secret, id, stamp, body),
    }


def post(headers: dict[str, str], body: bytes = BODY, url: str = URL) -> Any:
    return Client().post(url, body, content_type="application/json", headers=headers)


def assert_refused(answer: Any, why: str) -> None:
    problem_of(answer, 401, "authentication-failed")
    [leaf] = recorded("webhook.refuse")
    assert (leaf["outcome"], leaf["data"], leaf["actor"]["id"]) == ("denied", {"why": why}, "anonymous")


def test_abuse_39_the_published_vector_is_signed_and_verified() -> None:
    secret, at = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 1614265330
    body, message = b'{"test": 2432232314}', "msg_p5jXN8AQM9LWM0D4loKWxJek"
    signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

    assert sign(secret, message, at, body) == signature
    headers = {"webhook-id": message, "webhook-timestamp": str(at), "webhook-signature": f"v1a,zzz {signature}"}
    assert verify(headers, body, [secret], now=at).id == message


def test_abuse_39_a_signed_message_is_taken_without_a_token(secret: str) -> None:
    assert post(signed(secret)).status_code == 202
    delivery = Delivery.objects.get()
    assert (delivery.sender, delivery.key, bytes(delivery.body)) == ("grafana", "msg_1", BODY)
    assert delivery.sent_at is not None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"webhook-signature": "v1,AAAA"}, "signature"),
        ({"webhook-signature": "v1a,AAAA"}, "malformed"),
        ({"webhook-signature": "v1,\u00e9"}, "signature"),
        ({"webhook-id": "msg_2"}, "signature"),
        ({"webhook-id": "msg.1"}, "malformed"),
        ({"webhook-id": "m" * 101}, "malformed"),
        ({"webhook-id": ""}, "malformed"),
        ({"webhook-timestamp": "1"}, "signature"),
        ({"webhook-timestamp": "-1"}, "malformed"),
        ({"webhook-timestamp": "1e9"}, "malformed"),
        ({"webhook-timestamp": "9" * 400}, "malformed"),
    ],
)
def test_abuse_39_a_forged_webhook_is_refused(secret: str, change: dict[str, str], why: str) -> None:
    assert_refused(post(signed(secret) | change), why)
    assert not Delivery.objects.exists()


def test_abuse_39_a_changed_body_is_refused(secret: str) -> None:
    assert_refused(post(signed(secret), BODY.replace(b"0.31", b"0.01")), "signature")
    assert not Delivery.objects.exists()


@pytest.mark.parametrize("seconds", [-301, 301, -86400])
def test_abuse_39_a_stale_webhook_is_refused(secret: str, seconds: int) -> None:
    assert_refused(post(signed(secret, at=time.time() + seconds)), "stale")
    assert not Delivery.objects.exists()


@pytest.mark.parametrize("seconds", [-290, 290])
def test_abuse_39_clocks_may_differ_a_little(secret: str, seconds: int) -> None:
    assert post(signed(secret, at=time.time() + seconds)).status_code == 202


def test_abuse_39_a_replayed_webhook_is_refused(secret: str) -> None:
    headers = signed(secret)
    post(headers)
    assert_refused(post(headers), "replayed")
    assert Delivery.objects.count() == 1


def test_abuse_39_a_sender_that_had_no_answer_sends_it_again_and_it_counts_once(secret: str) -> None:
    now = time.time()
    post(signed(secret, at=now - 20))
    assert post(signed(secret, at=now)).status_code == 200
    assert Delivery.objects.count() == 1
    assert recorded("webhook.refuse") == []
    assert_refused(post(signed(secret, at=now - 20)), "replayed")


def test_abuse_39_an_id_that_comes_with_another_body_is_a_conflict(secret: str) -> None:
    post(signed(secret))
    other = BODY + b" "
    problem_of(post(signed(secret, other), other), 409, "key-reused")
    assert Delivery.objects.count() == 1


def test_abuse_39_what_one_sender_signs_is_not_anothers(secret: str) -> None:
    create_source(name="prometheus", actor=SETUP)
    assert_refused(post(signed(secret), url=URL.replace("grafana", "prometheus")), "signature")


def test_abuse_39_a_sender_that_is_not_there_is_refused_in_the_same_words(secret: str) -> None:
    wrong = post(signed(secret) | {"webhook-signature": "v1,AAAA"}).json()["detail"]
    unknown = post(signed(secret), url=URL.replace("grafana", "no-such-sender"))
    assert unknown.json()["detail"] == wrong
    assert [leaf["target"]["id"] for leaf in recorded("webhook.refuse")] == ["grafana", "unknown"]


def test_abuse_39_a_token_is_no_way_around_the_signature(secret: str) -> None:
    token = {"Authorization": f"Bearer {ingest_token()}"}
    problem_of(post(token), 403, "permission-denied")
    assert post(token, url=URL.replace("grafana", "alertmanager")).status_code == 202
    assert [leaf["data"] for leaf in recorded("webhook.refuse")] == [{"why": "unsigned"}]


def test_abuse_40_during_a_rotation_both_secrets_count(secret: str) -> None:
    source = WebhookSource.objects.get()
    new = rotate_source(source=source, actor=SETUP)
    assert new != secret
    assert post(signed(secret, id="old")).status_code == 202
    assert post(signed(new, id="new")).status_code == 202
    both = signed(secret, id="both")
    both["webhook-signature"] += " " + signed(new, id="both")["webhook-signature"]
    assert post(both).status_code == 202


def test_abuse_40_after_the_rotation_the_old_secret_is_worth_nothing(secret: str) -> None:
    source = WebhookSource.objects.get()
    rotate_source(source=source, actor=SETUP)
    WebhookSource.objects.update(previous_until=timezone.now())
    assert_refused(post(signed(secret)), "signature")


def test_abuse_40_a_sender_that_was_ended_is_refused_and_can_not_fall_back_to_a_token(secret: str) -> None:
    end_source(source=WebhookSource.objects.get(), actor=SETUP)
    assert post(signed(secret)).status_code == 401
    assert post({"Authorization": f"Bearer {ingest_token()}"}).status_code == 403
    assert not Delivery.objects.exists()


def test_abuse_40_secrets_are_shown_once_and_sealed(secret: str) -> None:
    program = anybody()
    made = program.ask("POST", "/api/v1/webhook-sources/", {"name": "datadog"}).json()
    assert made["secret"].startswith("whsec_")
    turned = program.ask("POST", "/api/v1/webhook-sources/datadog/rotate/").json()
    assert turned["secret"] != made["secret"]
    assert "secret" not in program.ask("GET", "/api/v1/webhook-sources/datadog/").json()
    kept = b"".join(bytes(row.secret_sealed) + bytes(row.previous_sealed) for row in WebhookSource.objects.all())
    told = b"".join(bytes(event.canon) for event in AuditEvent.objects.all())
    for shown in (secret, made["secret"], turned["secret"]):
        assert shown.encode() not in kept + told
        assert shown[6:].encode() not in kept + told
    problem_of(program.ask("POST", "/api/v1/webhook-sources/", {"name": "datadog"}), 409, "already-there")
    assert program.ask("POST", "/api/v1/webhook-sources/datadog/end/").json()["ended_at"]
    problem_of(program.ask("POST", "/api/v1/webhook-sources/datadog/rotate/"), 409, "ended")
    problem_of(program.ask("POST", "/api/v1/webhook-sources/datadog/end/"), 409, "ended")


def test_abuse_42_a_signed_message_that_is_no_strict_json_is_kept_and_refused(secret: str) -> None:
    body = b'{"alerts": [], "alerts": []}'
    problem_of(post(signed(secret, body), body), 400, "parse-error")
    assert Delivery.objects.get().state == DeliveryState.UNPARSEABLE


def test_abuse_39_a_secret_that_is_none_can_not_sign() -> None:
    with pytest.raises(ValueError, match="whsec_ and base64"):
        sign("whsec_not base64", "m", 1, b"")
    with pytest.raises(SignatureRefused):
        verify({}, b"", [])
    assert json.loads(BODY)["version"] == "4"
