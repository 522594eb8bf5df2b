"""People and programs that ask for what is not theirs, or for more than they were asked."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from accounts.actions import end_role
from accounts.approvals.models import ApprovalDecision, ApprovalRequest
from accounts.models import User
from audit.models import AuditEvent
from incidents.models import Incident
from registry import store
from registry.models import Endpoint, Host, Model
from tests.accounts.people import PASSWORD, SETUP, a_request, person
from tests.accounts.test_sessions import code_of
from tests.api.programs import anybody, problem_of
from tests.incidents.world import World, build

pytestmark = pytest.mark.django_db


def sign_in(client: Client, name: str, **more: str) -> Any:
    return client.post("/accounts/login/", {"login": name, "password": PASSWORD, **more})


def is_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def test_abuse_4_a_code_that_was_used_is_worth_nothing(client: Client) -> None:
    amir = person("amir", "approver")
    secret = generate_totp_secret()
    TOTP.activate(amir, secret)
    code = code_of(secret)
    sign_in(client, "amir")
    client.post("/accounts/2fa/authenticate/", {"code": code})
    assert is_in(client)

    thief = Client()
    sign_in(thief, "amir")
    thief.post("/accounts/2fa/authenticate/", {"code": code})

    assert not is_in(thief)


def test_abuse_9_a_role_that_ended_is_gone_from_an_open_session(client: Client) -> None:
    carla = person("carla", "administrator", "viewer")
    sign_in(client, "carla")
    assert client.get("/api/v1/users/").status_code == 200
    end_role(user=carla, role="administrator", actor=SETUP)
    assert client.get("/api/v1/users/").status_code == 403
    assert client.get("/").status_code == 200


def test_abuse_10_a_person_who_was_deactivated_is_out_of_every_session(client: Client) -> None:
    person("carla", "viewer")
    sign_in(client, "carla")
    assert client.get("/incidents/").status_code == 200
    User.objects.filter(username="carla").update(is_active=False)
    assert client.get("/incidents/").url.startswith("/accounts/login/")
    assert client.get("/api/v1/incidents/").status_code in (401, 403)


def test_abuse_11_a_session_that_was_planted_is_not_the_one_that_is_signed_in(client: Client) -> None:
    person("carla", "viewer")
    client.session["planted"] = "yes"
    session = client.session
    session["planted"] = "yes"
    session.save()
    planted = session.session_key
    client.cookies["sessionid"] = planted

    sign_in(client, "carla")

    assert is_in(client)
    assert client.session.session_key != planted
    assert not Session.objects.filter(session_key=planted).exists()


def test_abuse_12_a_session_ends_whatever_its_cookie_says(client: Client, settings: Any) -> None:
    person("carla", "viewer")
    sign_in(client, "carla")
    kept = Session.objects.get().expire_date
    assert abs(kept - timezone.now() - timedelta(seconds=settings.SESSION_COOKIE_AGE)) < timedelta(minutes=1)
    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
    assert client.get("/incidents/").url.startswith("/accounts/login/")


@pytest.mark.parametrize(
    "away",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "https:evil.example",
        "javascript:alert(1)",
        "http://testserver@evil.example/",
        "\thttps://evil.example",
    ],
)
def test_abuse_20_a_sign_in_leads_nowhere_else(client: Client, away: str) -> None:
    person("carla", "viewer")
    assert sign_in(client, "carla", next=away).url == "/"
    assert is_in(client)


def test_abuse_20_a_verb_leads_back_to_our_own_pages_only(settings: Any, tmp_path: Path) -> None:
    settings.LASTGOOD_VAR = tmp_path
    world = build()
    incident = world.incident()
    answer = world.client("rosa").post(
        f"/incidents/{incident.ref}/acknowledge/",
        {"next": "https://evil.example/"},
        headers={"referer": "https://evil.example/"},
    )
    assert answer.status_code == 302
    assert answer.url.startswith("/")
    assert not answer.url.startswith("//")


def test_abuse_21_what_belongs_to_another_person_is_not_there() -> None:
    program, other = anybody(), person("other", "viewer")
    stranger = Client()
    stranger.force_login(other, backend="django.contrib.auth.backends.ModelBackend")
    token = f"/api/v1/tokens/{program.token.pk}/"
    assert stranger.get(token).status_code == 404
    assert stranger.delete(token).status_code in (403, 404)
    program.token.refresh_from_db()
    assert program.token.revoked_at is None


def test_abuse_18_21_a_file_of_the_store_is_given_out_to_nobody_who_asks_for_it(settings: Any, tmp_path: Path) -> None:
    settings.LASTGOOD_VAR = tmp_path
    program, sha256 = anybody(), store.put_bytes(b"<svg onload=alert(1)>")
    problem_of(program.ask("GET", f"/api/v1/blobs/{sha256}/"), 405, "method-not-allowed")
    assert program.ask("GET", f"/artifacts/{sha256}/").status_code == 401
    assert program.client.get(f"/artifacts/{sha256}/").status_code == 401
    assert program.client.get("/media/x.svg").status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "stolen"),
    [
        ("models/", {"slug": "m", "name": "M", "team": "t"}, {"id": 7, "created_at": "2000-01-01T00:00:00Z"}),
        ("users/", {"username": "eve", "email": "eve@example.org", "full_name": "E", "password": PASSWORD},
         {"is_superuser": True, "is_staff": True, "pseudonym": "u-root", "is_active": False}),
        ("endpoints/", {"slug": "e", "name": "E", "model": "own", "environment": "staging"},
         {"fence": 999, "version": 999, "freezes": [{"until": "2100-01-01T00:00:00Z"}]}),
    ],
)  # fmt: skip
def test_abuse_22_fields_that_nobody_asked_for_are_not_set(
    path: str, body: dict[str, Any], stolen: dict[str, Any]
) -> None:
    program = anybody()
    program.ask("POST", "/api/v1/models/", {"slug": "own", "name": "Own", "team": "t"})

    answer = program.ask("POST", f"/api/v1/{path}", body | stolen)

    assert answer.status_code == 201, answer.content
    shown = answer.json()
    for name, value in stolen.items():
        assert shown.get(name) != value, name
    assert not User.objects.filter(is_superuser=True).exists()
    assert not User.objects.filter(is_staff=True).exists()
    assert not Endpoint.objects.filter(fence=999).exists()


def test_abuse_22_an_approval_is_not_a_field() -> None:
    program, request = anybody(), a_request(person("rosa", "responder"))
    for verb, body in (("PATCH", {"state": "approved"}), ("PUT", {"approved": True}), ("POST", {"state": "approved"})):
        assert program.ask(verb, f"/api/v1/approvals/{request.pk}/", body).status_code == 405
    assert ApprovalRequest.objects.get().state == "open"
    assert not ApprovalDecision.objects.exists()


QUOTES = [
    "'",
    "' OR '1'='1",
    "'; DROP TABLE audit_event; --",
    "\\'; --",
    "%' AND pg_sleep(5)::text='",
    "$$",
    "a' UNION SELECT 1--",
]


@pytest.mark.parametrize("quote", QUOTES)
def test_abuse_25_filters_take_quotes_as_letters(quote: str) -> None:
    program = anybody()
    Model.objects.create(slug="m", name="M", team="t")
    for path in (
        "models/?team=",
        "endpoints/?environment=",
        "audit/events/?action=",
        "deployments/?model=",
        "users/?x=",
    ):
        answer = program.client.get(f"/api/v1/{path.split('?')[0]}", {path.split("?")[1][:-1]: quote})
        assert answer.status_code in (200, 400), path
    page = Client()
    page.force_login(program.owner, backend="django.contrib.auth.backends.ModelBackend")
    for name in ("person", "action", "q", "object", "target", "incident", "words"):
        assert page.get("/audit/", {name: quote}).status_code in (200, 400), name
    assert Model.objects.count() == 1


@pytest.mark.parametrize(
    "name", ["h1; rm -rf /", "$(id)", "h1|nc", "`id`", "--upload-pack=x", "../h1", "h1\nh2", "h 1"]
)
def test_abuse_26_a_name_for_a_shell_is_no_hosts_name(name: str) -> None:
    if name == "--upload-pack=x":
        name = "--upload-pack=x&"
    answer = anybody().ask(
        "POST",
        "/api/v1/hosts/",
        {"name": name, "engine": "bundled", "address": "http://127.0.0.1:1", "control_token": "t"},
    )
    assert answer.status_code in (400, 422)
    assert not Host.objects.exists()


@pytest.mark.parametrize(
    "address", ["a@example.org\r\nBcc: victim@example.org", "a@example.org\nSubject: x", "a\x00@b.c"]
)
def test_abuse_31_an_address_with_a_line_break_gets_no_mail(
    client: Client, mailoutbox: list[Any], address: str
) -> None:
    person("carla", "viewer")
    client.post("/accounts/password/reset/", {"email": address})
    assert mailoutbox == []
    created = anybody().ask(
        "POST", "/api/v1/users/", {"username": "eve", "email": address, "full_name": "E", "password": PASSWORD}
    )
    assert created.status_code == 400


@pytest.mark.parametrize(
    "host", ["evil.example", "testserver.evil.example", "evil.example:80", "testserver@evil.example"]
)
def test_abuse_70_no_link_is_made_from_a_name_that_a_client_claims(
    client: Client, mailoutbox: list[Any], host: str
) -> None:
    person("carla", "viewer")
    answer = client.post("/accounts/password/reset/", {"email": "carla@example.org"}, headers={"host": host})
    assert answer.status_code == 400
    assert mailoutbox == []


def test_abuse_60_what_is_for_developers_is_not_there(client: Client) -> None:
    for address in ("/admin/", "/admin/login/", "/__debug__/", "/static/../manage.py", "/.git/config", "/.env"):
        assert client.get(address).status_code == 404, address
    assert client.get("/metrics", REMOTE_ADDR="192.0.2.7").status_code == 401
    assert client.get("/api/docs/").status_code == 401


def test_abuse_61_a_page_that_breaks_shows_nothing_of_the_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    from incidents import queries

    def broken(*arguments: object, **named: object) -> None:
        raise RuntimeError("secret-detail in /srv/lastgood/incidents/queries.py")

    for name in [name for name, value in vars(queries).items() if callable(value) and name.islower()]:
        monkeypatch.setattr(queries, name, broken)
    client = Client(raise_request_exception=False)
    client.force_login(person("vera", "viewer"), backend="django.contrib.auth.backends.ModelBackend")
    answers = [client.get(path) for path in ("/", "/incidents/")]
    assert 500 in [answer.status_code for answer in answers]
    for answer in answers:
        assert b"secret-detail" not in answer.content
        assert b"Traceback" not in answer.content


def test_abuse_66_no_other_site_may_read_an_answer(client: Client) -> None:
    person("carla", "viewer")
    sign_in(client, "carla")
    for path in ("/api/v1/incidents/", "/incidents/"):
        answer = client.get(path, headers={"origin": "https://evil.example"})
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_abuse_13_no_get_of_a_verb_does_it(settings: Any, tmp_path: Path) -> None:
    settings.LASTGOOD_VAR = tmp_path
    world: World = build()
    incident = world.incident()
    leaves = AuditEvent.objects.count()
    kofi = world.client("kofi")
    for verb in ("acknowledge", "triage", "severity", "resolve", "update", "propose", "role"):
        kofi.get(f"/incidents/{incident.ref}/{verb}/")
    slug = world.endpoint.slug
    for path in (
        f"/endpoints/{slug}/freeze/",
        f"/endpoints/{slug}/hosts/h1/drain/",
        "/accounts/logout/",
        f"/reviews/{incident.ref}/publish/",
    ):
        kofi.get(path)
    now = Incident.objects.get(pk=incident.pk)
    assert (now.state, now.version) == (incident.state, incident.version)
    assert is_in(kofi)
    assert AuditEvent.objects.count() == leaves
    forged = Client(enforce_csrf_checks=True)
    forged.force_login(world.users["kofi"], backend="django.contrib.auth.backends.ModelBackend")
    assert forged.post(f"/incidents/{incident.ref}/acknowledge/").status_code == 403
    body = json.dumps({"reason": "x"})
    api = forged.post(f"/api/v1/incidents/{incident.ref}/acknowledge/", body, content_type="application/json")
    assert api.status_code == 403
    assert AuditEvent.objects.count() == leaves
