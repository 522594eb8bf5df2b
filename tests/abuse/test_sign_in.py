"""Guessing passwords and tokens, from one place or from many, and claiming to come from elsewhere."""

import json
from typing import Any

import pytest
import redis
from django.contrib.auth.hashers import MD5PasswordHasher
from django.core import signing
from django.core.cache import cache
from django.test import Client

from accounts import throttles
from accounts.models import User
from config.cache import JsonSerializer
from tests.accounts.people import PASSWORD, bearer, person, recorded
from tests.api.programs import problem_of
from tests.ports import free_port

pytestmark = pytest.mark.django_db
TOO_MANY = "Too many failed login attempts"


@pytest.fixture
def amir() -> User:
    return person("amir", "approver")


def sign_in(client: Client, password: str = PASSWORD, login: str = "amir", **meta: str) -> Any:
    return client.post("/accounts/login/", {"login": login, "password": password}, **meta)


def is_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def test_abuse_54_guesses_from_many_addresses_are_slowed_down_together(amir: User) -> None:
    for at in range(5):
        sign_in(Client(), "guess", REMOTE_ADDR=f"198.51.100.{at}")

    stranger = Client()
    answer = sign_in(stranger, REMOTE_ADDR="203.0.113.9")

    assert TOO_MANY in answer.content.decode()
    assert not is_in(stranger)
    assert [leaf["outcome"] for leaf in recorded("session.sign_in")] == ["failed"] * 5


def test_abuse_54_a_strangers_guesses_lock_nobody_out_of_a_browser_they_have_used(amir: User) -> None:
    browser = Client()
    sign_in(browser)
    browser.post("/accounts/logout/")
    assert not is_in(browser)
    for _ in range(8):
        sign_in(Client(), "guess", REMOTE_ADDR="198.51.100.7")

    sign_in(browser)

    assert is_in(browser)


def test_abuse_54_a_stolen_browser_can_not_guess_without_end_either(amir: User) -> None:
    browser = Client()
    sign_in(browser)
    browser.post("/accounts/logout/")
    for _ in range(5):
        sign_in(browser, "guess")
    assert TOO_MANY in sign_in(browser).content.decode()


def test_abuse_54_a_browser_of_one_person_is_a_stranger_to_another(amir: User) -> None:
    person("kofi", "commander")
    browser = Client()
    sign_in(browser)
    browser.post("/accounts/logout/")
    for _ in range(5):
        sign_in(Client(), "guess", login="kofi", REMOTE_ADDR="198.51.100.7")
    assert TOO_MANY in sign_in(browser, login="kofi").content.decode()


def test_abuse_54_a_forged_device_cookie_counts_as_a_strangers(amir: User, settings: Any) -> None:
    for _ in range(5):
        sign_in(Client(), "guess")
    forger = Client()
    forger.cookies[settings.DEVICE_COOKIE_NAME] = signing.dumps(
        {"id": "0" * 32, "names": ["amir"]}, salt=throttles.SALT, key="another key"
    )
    assert TOO_MANY in sign_in(forger).content.decode()


def test_abuse_54_one_address_that_tries_one_password_on_many_names_is_stopped(amir: User) -> None:
    for at in range(20):
        sign_in(Client(), "Spring2026!", login=f"name{at}", REMOTE_ADDR="198.51.100.7")

    stopped, elsewhere = Client(), Client()
    assert TOO_MANY in sign_in(stopped, REMOTE_ADDR="198.51.100.7").content.decode()
    sign_in(elsewhere, REMOTE_ADDR="203.0.113.9")

    assert not is_in(stopped)
    assert is_in(elsewhere)


def test_abuse_54_tokens_are_not_guessed_at_full_speed_and_good_ones_go_on(
    client: Client, amir: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttles, "FAILURES", 3)
    guess = {"Authorization": f"Bearer lg_{'0' * 8}_{'A' * 43}"}
    good = bearer(amir, "view")

    for _ in range(3):
        problem_of(client.get("/api/v1/me/", headers=guess), 401, "authentication-failed")
    refused = client.get("/api/v1/me/", headers=guess)

    problem_of(refused, 429, "throttled")
    assert refused["Retry-After"] == "60"
    assert client.get("/api/v1/me/", headers=good).status_code == 200
    assert client.get("/api/v1/me/", headers=guess, REMOTE_ADDR="203.0.113.9").status_code == 401


def test_abuse_54_counting_goes_on_while_the_broker_is_away(amir: User, settings: Any) -> None:
    settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": f"redis://127.0.0.1:{free_port()}/0"}}
    for _ in range(5):
        sign_in(Client(), "guess")
    assert TOO_MANY in sign_in(Client()).content.decode()


@pytest.mark.parametrize(
    ("known", "unknown"), [("amir", "nobody"), ("amir@example.org", "nobody@example.org"), ("AMIR", "NOBODY")]
)
def test_abuse_55_a_name_that_is_not_there_costs_as_much_and_says_as_much(
    client: Client, amir: User, monkeypatch: pytest.MonkeyPatch, known: str, unknown: str
) -> None:
    hashed: list[str] = []
    encode = MD5PasswordHasher.encode

    def counting(self: Any, password: str, salt: str) -> str:
        hashed.append(password)
        return encode(self, password, salt)

    monkeypatch.setattr(MD5PasswordHasher, "encode", counting)

    def tried(login: str) -> tuple[int, str]:
        hashed.clear()
        answer = sign_in(client, "wrong", login=login)
        return len(hashed), answer.content.decode().replace(login, "").split("<main")[1]

    (cost, said), (cost_of_nobody, said_of_nobody) = tried(known), tried(unknown)

    assert cost == cost_of_nobody > 0
    assert without_tokens(said) == without_tokens(said_of_nobody)


def without_tokens(html: str) -> list[str]:
    return [line for line in html.splitlines() if "csrfmiddlewaretoken" not in line]


@pytest.mark.parametrize("address", ["amir@example.org", "nobody@example.org"])
def test_abuse_55_asking_for_a_new_password_tells_nobody_who_is_known(
    client: Client, amir: User, mailoutbox: list[Any], address: str
) -> None:
    answer = client.post("/accounts/password/reset/", {"email": address})
    assert (answer.status_code, answer.url) == (302, "/accounts/password/reset/done/")
    assert [mail.to for mail in mailoutbox] == ([[address]] if address.startswith("amir") else [])


def test_abuse_56_a_forwarded_address_counts_only_from_a_proxy_that_is_trusted(amir: User, settings: Any) -> None:
    for at in range(20):
        sign_in(Client(), "guess", login=f"name{at}", HTTP_X_FORWARDED_FOR=f"192.0.2.{at}")
    assert TOO_MANY in sign_in(Client(), HTTP_X_FORWARDED_FOR="192.0.2.200").content.decode()

    cache.clear()
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 1
    for at in range(20):
        sign_in(Client(), "guess", login=f"name{at}", HTTP_X_FORWARDED_FOR="spoofed, 198.51.100.7")
    assert TOO_MANY in sign_in(Client(), HTTP_X_FORWARDED_FOR="192.0.2.200, 198.51.100.7").content.decode()
    honest = Client()
    sign_in(honest, HTTP_X_FORWARDED_FOR="198.51.100.8")
    assert is_in(honest)


def test_abuse_56_a_forwarded_scheme_or_host_changes_nothing_without_a_trusted_proxy(client: Client) -> None:
    answer = client.get("/accounts/login/", HTTP_X_FORWARDED_PROTO="https", HTTP_X_FORWARDED_HOST="evil.example")
    assert not answer.wsgi_request.is_secure()
    assert answer.wsgi_request.get_host() == "testserver"
    assert "evil.example" not in answer.content.decode()


@pytest.mark.parametrize("name", ["token", "access_token", "api_key", "authorization"])
def test_abuse_57_a_token_in_an_address_is_no_token(client: Client, amir: User, name: str) -> None:
    secret = bearer(amir, "view")["Authorization"].split()[1]
    problem_of(client.get(f"/api/v1/me/?{name}={secret}"), 401, "not-authenticated")


def test_abuse_57_a_token_appears_in_no_log(client: Client, amir: User, caplog: pytest.LogCaptureFixture) -> None:
    header = bearer(amir, "view")
    secret = header["Authorization"].split("_", 2)[2]
    with caplog.at_level("DEBUG"):
        client.get("/api/v1/me/", headers=header)
        client.get("/api/v1/users/", headers=header)
        client.get("/api/v1/me/", headers={"Authorization": header["Authorization"] + "x"})
    assert caplog.records
    assert secret not in caplog.text
    assert secret not in str([json.dumps(leaf) for leaf in recorded("access.deny")])


def test_abuse_58_what_lies_in_the_cache_is_never_unpickled(redis_url: str) -> None:
    cache.set("a", [1.5, "x", None])
    assert cache.get("a") == [1.5, "x", None]
    with redis.Redis.from_url(redis_url) as client:
        client.set(cache.make_key("b"), b"\x80\x04cposix\nsystem\nq\x00.")
    with pytest.raises(ValueError, match=r"utf-8|Expecting value"):
        cache.get("b")
    assert JsonSerializer().dumps(7) == 7


def test_abuse_58_clearing_the_cache_leaves_the_queues_alone(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.lpush("abuse-58-queue", "task")
        cache.set("a", 1)
        cache.clear()
        assert client.llen("abuse-58-queue") == 1
        client.delete("abuse-58-queue")
    assert cache.get("a") is None
