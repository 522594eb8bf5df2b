"""Administrators make senders of webhooks, change their secrets and end them, by page."""

import re
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from accounts.models import User
from monitoring.models import WebhookSource
from monitoring.sources import create_source
from tests.abuse.test_webhooks import post, signed
from tests.accounts.people import SETUP, person, recorded
from tests.accounts.test_approval_pages import browser, text_of

pytestmark = pytest.mark.django_db
PAGE = "/monitoring/senders/"
SECRET = re.compile(r"whsec_[A-Za-z0-9+/=]+")


@pytest.fixture
def ada() -> User:
    cache.clear()
    return person("ada", "administrator")


def secret_on(answer: Any) -> str:
    [secret] = set(SECRET.findall(answer.content.decode()))
    return str(secret)


def test_a_sender_is_made_with_a_secret_that_is_shown_once_and_works(ada: User) -> None:
    client = browser(ada)
    made = client.post(PAGE, {"name": "grafana"})
    assert made["Cache-Control"].startswith(("max-age=0", "private, no-store"))
    secret = secret_on(made)
    assert "whsec_" not in client.get(PAGE).content.decode()
    assert post(signed(secret)).status_code == 202
    assert recorded("webhook_source.create")[0]["actor"]["id"] == ada.pseudonym
    assert "There is a sender grafana already" in text_of(client.post(PAGE, {"name": "grafana"}))
    assert "whsec_" not in client.post(PAGE, {"name": "gra fana"}).content.decode()
    assert WebhookSource.objects.count() == 1


def test_after_another_secret_both_count_for_a_day_and_after_its_end_none(ada: User) -> None:
    _, first = create_source(name="grafana", actor=SETUP)
    client = browser(ada)
    second = secret_on(client.post(f"{PAGE}grafana/rotate/"))
    assert second != first
    assert "the one before counts until" in text_of(client.get(PAGE))
    assert [post(signed(secret, id=secret[-8:])).status_code for secret in (first, second)] == [202, 202]
    client.post(f"{PAGE}grafana/end/")
    assert post(signed(second, id="msg_9")).status_code == 401
    assert "was ended" in text_of(client.post(f"{PAGE}grafana/rotate/", follow=True))
    assert [len(recorded(f"webhook_source.{verb}")) for verb in ("rotate", "end")] == [1, 1]


@pytest.mark.parametrize("place", ["", "grafana/rotate/"])
def test_a_secret_is_shown_only_to_who_has_just_proved_who_they_are(ada: User, place: str) -> None:
    create_source(name="grafana", actor=SETUP)
    answer = browser(ada, proof_age=400).post(f"{PAGE}{place}", {"name": "other"})
    assert answer.url.startswith("/accounts/reauthenticate/")
    assert WebhookSource.objects.count() == 1
    assert recorded("webhook_source.rotate") == []


def test_others_see_and_change_nothing(client: Client, ada: User) -> None:
    create_source(name="grafana", actor=SETUP)
    carla = browser(person("carla", "commander"))
    for ask in (carla.get(PAGE), carla.post(PAGE, {"name": "x"}), carla.post(f"{PAGE}grafana/end/")):
        assert ask.status_code == 403
    assert WebhookSource.objects.get().ended_at is None
