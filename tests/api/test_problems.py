"""Whatever goes wrong, at whatever route: the answer is a problem (RFC 9457), in a sentence."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from audit.models import AuditEvent
from incidents.models import Review
from monitoring.actions import watch_endpoint
from monitoring.models import Rule
from tests.accounts.people import a_request
from tests.api.programs import SETUP, anybody, problem_of
from tests.api.routes import ROUTES, Route
from tests.incidents.world import World, build

ROOT = Path(__file__).resolve().parents[2]
SPOKEN = [route for route in ROUTES if route.method != "HEAD"]
PLACES = sorted({route.template for route in ROUTES})
NAMED = [route for route in SPOKEN if set(route.parameters) - {"sender", "sha256"}]
UNUSED = ("PATCH", "DELETE", "PUT", "POST")
APPS = ("accounts", "audit", "config", "incidents", "monitoring", "registry")
KINDS = re.compile(r'(?:Problem|problem_response)\(\s*(?:request, )?(?:status\.\w+|\d{3}), "([a-z0-9-]+)"')
# A signature's code goes on record; what is answered is `authentication-failed`.
CODES = re.compile(r'(?:(?<!Signature)Refused|GuardFailed|refuse)\(\s*"([a-z_]+)"')

BODILESS = re.compile(
    r"/(start|preflight|submit|done|confirm|deactivate|reactivate|end|rotate|read-again|seen|roll-call|test"
    r"|escalations/[^/]+/acknowledge|exact-comparisons/[^/]+/cancel)/$"
)
SPEAKING = [
    route
    for route in SPOKEN
    if route.method in ("POST", "PATCH")
    and not route.place.startswith(("ingest/", "tokens/"))
    and not BODILESS.search(f"/{route.template}")
]

pytestmark = pytest.mark.django_db


@pytest.fixture
def world(settings: Any, tmp_path: Path) -> World:
    settings.LASTGOOD_VAR = tmp_path
    return build()


def things(world: World) -> dict[str, dict[str, object]]:
    """The names of something that is there, by the first part of the address."""
    incident = world.incident()
    Review.objects.create(incident=incident)
    run = world.run(incident)
    watch_endpoint(endpoint=world.endpoint, actor=SETUP)
    request = a_request(world.users["rosa"], incident=incident.ref)
    return {
        "models": {"slug": world.endpoint.model.slug},
        "versions": {"pk": world.bad.pk},
        "endpoints": {"slug": world.endpoint.slug},
        "hosts": {"name": "h1"},
        "monitors": {"endpoint": world.endpoint.slug},
        "rules": {"pk": Rule.objects.first().pk},
        "incidents": {"ref": incident.ref},
        "reviews": {"ref": incident.ref},
        "status-pages": {"slug": world.status_page().slug},
        "plans": {"pk": run.plan_id},
        "runs": {"pk": run.pk},
        "approvals": {"pk": request.pk},
        "users": {"username": "rosa"},
    }


def test_a_stranger_is_asked_to_sign_in(client: Client) -> None:
    for route in SPOKEN:
        answer = client.generic(route.method, route.path())
        problem_of(answer, 401, "not-authenticated")
        assert answer["WWW-Authenticate"] == "Bearer", route


def test_a_token_that_is_none_of_ours_is_refused(client: Client) -> None:
    forged = {"Authorization": f"Bearer lg_{'0' * 8}_{'A' * 43}"}

    for number, route in enumerate(SPOKEN):
        # From one address, 300 a minute are told so, and the rest are asked to wait.
        told = client.generic(route.method, route.path(), headers=forged, REMOTE_ADDR=f"192.0.2.{1 + number // 200}")
        problem_of(told, 401, "authentication-failed")


def test_a_method_that_a_place_does_not_have_is_a_problem_that_names_it() -> None:
    program, methods = anybody(), {place: set() for place in PLACES}
    for route in ROUTES:
        methods[route.template].add(route.method)

    for place, has in methods.items():
        wrong = next(method for method in UNUSED if method not in has)
        answer = program.ask(wrong, Route(wrong, place, ()).path())
        assert wrong in problem_of(answer, 405, "method-not-allowed")["detail"], place


def test_a_name_of_nothing_is_not_found() -> None:
    program = anybody()

    for route in NAMED:
        body = {"reason": "Because.", "control_token": "secret", "until": "2100-01-01T00:00:00Z", "role": "viewer"}
        answer = program.ask(route.method, route.path(), body)
        if answer.status_code == 400:  # the body is read first, and this one is not for that route
            problem_of(answer, 400, "invalid")
        else:
            problem_of(answer, 404)


def test_a_body_that_is_no_json_is_refused_before_anything_is_done(world: World) -> None:
    program, names = anybody(), things(world)
    leaves = AuditEvent.objects.count()

    for route in SPEAKING:
        answer = program.ask(route.method, route.path(**names.get(route.place.split("/")[0], {})), b"{'never':")
        problem_of(answer, 400, "parse-error")

    assert len(SPEAKING) > 30
    assert AuditEvent.objects.count() == leaves


def test_a_body_of_another_kind_is_refused(world: World) -> None:
    program, names = anybody(), things(world)

    for route in SPEAKING:
        path = route.path(**names.get(route.place.split("/")[0], {}))
        answer = program.client.generic(route.method, path, b"<never/>", content_type="application/xml")
        problem_of(answer, 415, "unsupported-media-type")


def test_what_is_wrong_with_each_field_is_listed() -> None:
    answer = anybody().ask("POST", "/api/v1/plans/", {"kind": "dance", "endpoint": "nowhere"})

    wrong = {entry["field"] for entry in problem_of(answer, 400, "invalid")["errors"]}
    assert wrong == {"kind", "endpoint", "to_version", "reason"}


@pytest.mark.parametrize("path", ["nothing/", "plans/1/nothing/", "incidents/INC-1/nothing/", "runs"])
def test_an_address_that_is_not_there_is_a_problem_too(path: str, client: Client) -> None:
    problem_of(client.get(f"/api/v1/{path}"), 404, "not-found")


def test_every_problem_that_the_code_can_answer_with_is_described() -> None:
    described = set(re.findall(r"^\| `([a-z0-9-]+)`", (ROOT / "docs" / "problems.md").read_text(), re.MULTILINE))
    sources = [
        path.read_text() for app in APPS for path in (ROOT / app).rglob("*.py") if "migrations" not in path.parts
    ]

    said = {kind for source in sources for kind in KINDS.findall(source)}
    said |= {code.replace("_", "-") for source in sources for code in CODES.findall(source)}

    assert len(said) > 30
    assert said - described == set()
