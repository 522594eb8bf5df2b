"""A plain message is stored in one statement; any other goes the whole way, and both are answered alike."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import ApiToken, User
from monitoring.inbound import known
from monitoring.inbound.models import Arrival
from monitoring.models import Delivery
from monitoring.sources import create_source
from tests.api.programs import SETUP
from tests.monitoring.inbound.test_formats import MIXED
from tests.monitoring.world import ingest_token

pytestmark = pytest.mark.django_db
PLACE = "/api/v1/ingest/alertmanager/town/"
OTHER = MIXED + b" "


@pytest.fixture
def post(tmp_path: Path, settings: Any) -> Callable[..., Any]:
    """Sends with a token that was used just now."""
    settings.LASTGOOD_VAR = tmp_path
    cache.clear()
    known._written = 0.0
    secret = ingest_token()
    ApiToken.objects.update(last_used_at=timezone.now())
    known.refresh()

    def send(body: bytes = MIXED, path: str = PLACE, **headers: str) -> Any:
        given = {"Authorization": f"Bearer {secret}"} | headers
        return Client().post(path, body, content_type="application/json", headers=given)

    return send


def test_one_statement_asks_for_the_token_stores_the_message_and_enters_it(post: Callable[..., Any]) -> None:
    with CaptureQueriesContext(connection) as asked:
        answer = post()

    assert (answer.status_code, len(asked)) == (202, 1)
    stored = Delivery.objects.get(pk=answer.json()["delivery"])
    assert (bytes(stored.body or b""), stored.source, stored.sender) == (MIXED, "alertmanager", "town")
    assert (stored.content_type, stored.size) == ("application/json", len(MIXED))
    assert Arrival.objects.get().delivery == stored


def test_a_message_that_is_not_plain_is_answered_as_a_plain_one_is(post: Callable[..., Any]) -> None:
    plain, whole = post(), post(OTHER, Accept="application/json, text/plain")

    assert (plain.status_code, whole.status_code) == (202, 202)
    assert {name: plain[name] for name in plain.headers} == {name: whole[name] for name in whole.headers}
    assert plain.json() | {"delivery": ""} == whole.json() | {"delivery": ""}


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"revoked_at": timezone.now}, 401),
        ({"expires_at": lambda: timezone.now() - timedelta(seconds=1)}, 401),
        ({"scopes": lambda: ["view"]}, 403),
        ({"sha256": lambda: "0" * 64}, 401),
    ],
)
def test_a_token_that_is_not_good_stores_nothing(
    post: Callable[..., Any], change: dict[str, Callable[[], Any]], status: int
) -> None:
    ApiToken.objects.update(**{name: value() for name, value in change.items()})

    assert post().status_code == status

    assert not Delivery.objects.exists()
    assert Arrival.objects.get().decision == "refused"


def test_the_token_of_somebody_who_left_stores_nothing(post: Callable[..., Any]) -> None:
    User.objects.update(is_active=False)

    assert post().status_code == 401

    assert not Delivery.objects.exists()


@pytest.mark.parametrize("sender", ["town", "lastgood-synthetic"])
def test_a_token_does_not_speak_for_a_sender_that_signs(post: Callable[..., Any], sender: str) -> None:
    create_source(name="town", actor=SETUP)

    assert post(path=f"/api/v1/ingest/alertmanager/{sender}/").status_code == 403

    assert not Delivery.objects.exists()


def test_the_same_again_is_a_duplicate_and_a_key_used_twice_is_refused(post: Callable[..., Any]) -> None:
    first, again = post(), post()
    keyed = [post(body, **{"Idempotency-Key": "k1"}).status_code for body in (MIXED, MIXED, OTHER)]

    assert (first.status_code, again.status_code, keyed) == (202, 200, [202, 200, 409])
    assert first.json()["delivery"] == again.json()["delivery"]
    assert Delivery.objects.count() == 2


def test_that_a_token_is_used_is_kept_once_a_minute(post: Callable[..., Any]) -> None:
    before = timezone.now() - timedelta(minutes=2)
    ApiToken.objects.update(last_used_at=before)

    assert post().status_code == 202

    used = ApiToken.objects.get().last_used_at
    assert used is not None
    assert used > before


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_the_database_ended_costs_no_message(post: Callable[..., Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (backend,) = cursor.fetchone()
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [backend])
    other.close()

    assert post().status_code == 202

    assert Delivery.objects.count() == 1
