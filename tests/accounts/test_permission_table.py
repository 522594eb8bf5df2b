"""Each cell of the table in docs/permissions.md is asked for; where it says no, nothing happens but a record of it."""

import json
import re
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client, override_settings
from django.urls import URLPattern, get_resolver, resolve
from django.utils import timezone

from accounts.approvals.models import ApprovalPolicy
from accounts.authority.actions import grant_role, propose_role
from accounts.models import Role, User
from accounts.permissions import PERMISSIONS, SCOPED_ROLES, SCOPES, permissions_of
from audit.models import AuditEvent
from incidents.grouping.actions import Terms, add_rule
from incidents.models import Incident, Review, StatusPage
from incidents.oncall.escalations import begin
from incidents.oncall.policies import set_policy
from incidents.oncall.rotations import override, set_rotation
from incidents.practice.models import AutomaticRule
from incidents.rollback.models import Plan, WatchState
from incidents.rollback.plan import propose
from incidents.telling.maintenance import plan
from incidents.telling.models import Draft
from incidents.working.runbooks import write_runbook
from incidents.working.saved import save_view
from monitoring.models import Delivery, DeliveryState
from monitoring.rules.actions import make_silence
from monitoring.sources import create_source
from registry.actions import place, record_switch
from registry.models import Health, Host, Placement, Version
from registry.snapshots.actions import take as take_snapshot
from registry.snapshots.models import Reason
from tests.accounts.people import SETUP, a_request
from tests.api.programs import Program, person
from tests.api.routes import served
from tests.host.artifacts import make_model
from tests.incidents.world import World, build
from tests.monitoring.rules.world import rule as alert_rule
from tests.permission_table import DOCUMENT, NO, NOBODY, ROLES, ROWS, TOKEN, Row, columns

SIGN_IN = "/accounts/login/"
UNKNOWN = "/api/nobody"
WRITES = re.compile(r"^\s*(INSERT INTO|UPDATE|DELETE FROM|TRUNCATE) ?\"?(\w+)", re.IGNORECASE)
# The record of a refusal, the time when a token was last used, and what an entrance page keeps of a stranger's visit.
OF_A_REFUSAL = re.compile(r"audit_\w+|accounts_apitoken|django_session|monitoring_arrival")
BODY = {"reason": "It must be."}
# Django's form views take a PUT for a POST.
METHODS = ("GET", "POST", "PATCH", "DELETE")


@dataclass
class Everybody:
    """One client of each role, of nobody, and of a program, on a world where the named things are there."""

    clients: dict[str, Client]
    programs: dict[str, Program]
    everything: Program
    names: dict[str, dict[str, object]]
    narrow: dict[str, Program] = field(default_factory=dict)

    def path(self, row: Row) -> str:
        """The row's address with the names of things that are there, as far as there are any."""
        prefixes = [prefix for prefix in self.names if row.template.startswith(prefix)]
        return row.path(**(self.names[max(prefixes, key=len)] if prefixes else {}))

    def ask(self, who: str, row: Row) -> Any:
        if row.is_api and who in self.programs:
            return self.programs[who].ask(row.method, self.path(row))
        return self.send(self.clients[who], row)

    def send(self, client: Client, row: Row) -> Any:
        """Ask as a form does; the client is the same before and after, even where it was signed out."""
        cookies, client.cookies = client.cookies, SimpleCookie(client.cookies)
        try:
            data = BODY if row.method == "POST" and not row.is_api else None
            accepted = {"accept": "application/json"} if row.template == "/api/schema/" else {}
            return getattr(client, row.method.lower())(self.path(row), data, headers=accepted)
        finally:
            client.cookies = cookies

    def program_with(self, *scopes: str) -> Program:
        """A program of one who holds every role, that was given these scopes only."""
        key = " ".join(sorted(scopes))
        if key not in self.narrow:
            self.narrow[key] = Program(self.everything.owner, *scopes)
        return self.narrow[key]


@pytest.fixture(scope="module")
def everybody(
    django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Everybody]:
    """One world for the module, in a transaction that is rolled back."""
    with ExitStack() as stack:
        stack.enter_context(django_db_blocker.unblock())
        folder = tmp_path_factory.mktemp("table")
        stack.enter_context(override_settings(LASTGOOD_VAR=folder))
        stack.enter_context(transaction.atomic())
        yield _build(folder)
        transaction.set_rollback(True)


def _build(folder: Path) -> Everybody:
    world = build()
    people = {role: person(f"of-{role}", role) for role in ROLES}
    clients = {NOBODY: Client()} | {role: _signed_in(user) for role, user in people.items()}
    for client in clients.values():
        client.raise_request_exception = False
    owner = person("everybody", *Role.values)
    clients["all"] = _signed_in(owner)
    programs = {role: Program(user) for role, user in people.items()}
    for who, scope in (("limited", {"models": ["another"]}), ("named", {"models": [world.endpoint.model.slug]})):
        user = person(who)
        for role in sorted(SCOPED_ROLES):
            grant_role(user=user, role=role, granted_by=None, scope=scope, actor=SETUP)
        clients[who], programs[who] = _signed_in(user), Program(user)
    return Everybody(clients, programs, Program(owner, *SCOPES), _names(world, folder))


def _signed_in(user: User) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def _names(world: World, folder: Path) -> dict[str, dict[str, object]]:
    """What is there, by the beginning of the address."""
    incident = world.incident()
    Review.objects.create(incident=incident)
    run = world.run(incident, watch=WatchState.INCONCLUSIVE)
    for number in (1, 2):
        manifest, _ = make_model(folder / str(number), number, model="employment")
        Version.objects.filter(number=number).update(manifest=manifest, signature=json.loads(manifest)["signature"])
    written = _written(world)
    request = a_request(world.users["rosa"], incident=incident.ref, model=world.endpoint.model.slug)
    status_page = world.status_page()
    proposal = propose_role(user=world.users["vera"], role="approver", proposer=world.users["ada"], actor=SETUP)
    at = {"slug": world.endpoint.slug, "name": "h1"}
    policy = ApprovalPolicy.objects.filter(active=True, subject_kind="drill").values_list("pk", flat=True)[0]
    create_source(name="grafana", actor=SETUP)
    delivery = _unreadable(world)
    called = _called(world, incident)
    grouping = {"pk": add_rule(terms=Terms("x", [], ["endpoint"]), actor=SETUP).pk}
    taken = {"pk": take_snapshot(endpoint=world.endpoint, reason=Reason.BY_HAND, actor=SETUP).pk}
    run_names, at_plan = {"pk": run.pk}, {"pk": _plan(world, incident).pk}
    api = {
        "incidents": {"ref": incident.ref},
        "reviews": {"ref": incident.ref},
        "plans": at_plan,
        "runs": run_names,
        "endpoints": at,
        "readiness": at,
        "automatic-rules": {"pk": _rule(world).pk},
        "hosts": at,
        "approvals": {"pk": request.pk},
        "policies": {"pk": policy},
        "deliveries": {"pk": delivery.pk},
        "escalations": called["/on-call/escalations/"],
        "grouping-rules": grouping,
        "on-call/rotations": called["/on-call/rotations/"],
        "on-call/policies": called["/on-call/policies/"],
        "alert-rules": written["/monitoring/rules/"],
        "silences": written["/monitoring/silences/"],
        "runbooks": written["/runbooks/"],
        "snapshots": taken,
        "saved-views": written["/incidents/views/"],
    }
    return (
        called
        | written
        | {f"/api/v1/{name}/": known for name, known in api.items()}
        | {
            "/incidents/": {"ref": incident.ref},
            "/grouping-rules/": grouping,
            "/reviews/": {"ref": incident.ref, "kind": "md", "pk": 999999},
            "/accounts/": {"pk": 999999, "provider_id": "nobody", "uidb36": "1"},
            "/rollback/plans/": at_plan,
            "/rollback/runs/": run_names,
            "/endpoints/": at,
            "/snapshots/": taken,
            "/readiness/": at | {"verb": "arm"},
            "/monitoring/endpoints/": at,
            "/monitoring/models/": {**at, "slug": world.endpoint.model.slug},
            "/monitoring/alerts/": {"pk": incident.incident_alerts.get().alert_id},
            "/monitoring/windows/": {"pk": 999999},
            "/monitoring/queries/": {"pk": 999999},
            "/monitoring/scrapes/": {"pk": 999999},
            "/models/": {"slug": world.endpoint.model.slug, "number": 2, "left": 1, "right": 2},
            "/status/": {"slug": status_page.slug, "pk": _told_on(status_page, incident), "message": uuid.uuid4()},
            "/approvals/": {"pk": request.pk},
            "/approvals/policies/": {"pk": policy},
            "/monitoring/senders/": {"name": "grafana"},
            "/monitoring/deliveries/": {"pk": delivery.pk},
            "/people/": {"username": "vera"},
            "/people/rosters/": {"pk": 999999},
            "/people/proposals/": {"pk": proposal.pk},
            "/people/grants/": {"pk": world.users["vera"].role_grants.get().uuid},
            "/account/sessions/": {"pk": 999999},
            "/audit/": {"event_uuid": AuditEvent.objects.latest("pk").event_uuid},
        }
    )


def _rule(world: World) -> AutomaticRule:
    """The rule of the world's model, by which rollbacks may start by themselves."""
    terms = {"severity": 2, "error_budget": 0.05, "dwell_seconds": 3600, "most": 2, "window_seconds": 86_400}
    return AutomaticRule.objects.create(model=world.endpoint.model, armed_by=world.users["kofi"], **terms)


def _written(world: World) -> dict[str, dict[str, object]]:
    """What people wrote about the world's endpoint and its model: a rule, a silence, a runbook; and a saved view."""
    endpoint, kofi = world.endpoint, world.users["kofi"]
    rule = alert_rule(endpoint)
    silence, _ = make_silence(
        matchers={"endpoint": endpoint.slug}, reason="x", ends_at=timezone.now() + timedelta(hours=1), user=kofi,
        actor=SETUP,
    )  # fmt: skip
    runbook = write_runbook(slug="x", title="x", body="- [ ] x", model=endpoint.model, actor=SETUP)
    view = save_view(user=kofi, name="x", query="state=open", shared=True, actor=SETUP)
    return {
        "/monitoring/rules/": {"pk": rule.pk},
        "/monitoring/silences/": {"pk": silence.pk},
        "/runbooks/": {"slug": runbook.slug},
        "/incidents/views/": {"pk": view.pk},
    }


def _unreadable(world: World) -> Delivery:
    """A delivery about the world's endpoint that could not be read."""
    return Delivery.objects.create(
        source="labels", key="unreadable", endpoint=world.endpoint, body=b"x", size=1, state=DeliveryState.UNPARSEABLE
    )


def _called(world: World, incident: Incident) -> dict[str, dict[str, object]]:
    """A rotation of the model's team with a turn that somebody took, a policy that calls it, and its escalation."""
    kofi, now = world.users["kofi"], timezone.now()
    team = world.endpoint.model.team
    turns = set_rotation(team=team, name="primary", zone="UTC", layers=[], actor=SETUP)
    cover = override(
        rotation=turns, user=kofi, starts=now, ends=now + timedelta(hours=1), reason="x", by=kofi, actor=SETUP
    )
    policy = set_policy(
        name="x", team="", severities=[1, 2, 3, 4], steps=[{"targets": [f"rotation:{turns.pk}"], "seconds": 60}],
        repeats=0, silence_seconds=0, actor=SETUP,
    )  # fmt: skip
    one = begin(incident_id=incident.pk)
    assert one is not None
    return {
        "/on-call/": {"pk": 999999},
        "/on-call/rotations/": {"pk": turns.pk, "number": 0},
        "/on-call/overrides/": {"pk": cover.pk},
        "/on-call/policies/": {"pk": policy.pk},
        "/on-call/escalations/": {"pk": one.pk, "verb": "call-now"},
    }


def _told_on(page: StatusPage, incident: Incident) -> int:
    """The key of a draft, and of a maintenance, about the world's endpoint."""
    begins = timezone.now()
    told = {"status": "investigating", "component_state": "degraded_performance", "text": "x"}
    window = plan(
        page=page, title="x", text="x", components=list(page.components.all()), starts_at=begins,
        ends_at=begins + timedelta(hours=1), by=None, actor=SETUP,
    )  # fmt: skip
    return int(Draft.objects.create(pk=window.pk, page=page, incident=incident, **told).pk)


def _plan(world: World, incident: Incident) -> Plan:
    for host in Host.objects.all():
        place(endpoint=world.endpoint, host=host, actor=SETUP)
        record_switch(endpoint=world.endpoint, host=host, version=world.bad, cause="release", actor=SETUP)
    Placement.objects.update(health=Health.SERVING, observed_version="2", observed_digest=world.bad.digest)
    return propose(
        kind="rollback",
        endpoint=world.endpoint,
        to_version=world.good,
        reason="Version 1 did better.",
        user=world.users["rosa"],
        actor=world.actor("rosa"),
        incident_ref=incident.ref,
    )


def is_refused(answer: Any, row: Row) -> bool:
    """401, 403 for want of permission, or the way to sign in. What an API refuses for another reason it has allowed."""
    if answer.status_code == 302:
        return bool(answer.url.startswith(f"{SIGN_IN}?next="))
    if row.is_api and row.method != "HEAD" and answer.status_code == 403:
        return bool(answer.json()["type"] == "/problems/permission-denied")
    return answer.status_code == 403 or (row.template.startswith("/api/") and answer.status_code == 401)


@contextmanager
def watched() -> Iterator[list[str]]:
    """The tables that are written to in the meantime."""
    written: list[str] = []

    def look(execute: Any, sql: str, *rest: Any) -> Any:
        found = WRITES.match(sql)
        if found:
            written.append(found[2])
        return execute(sql, *rest)

    with connection.execute_wrapper(look):
        yield written


def assert_refused(ask: Any, row: Row, *, recorded: bool, who: str) -> None:
    newest = AuditEvent.objects.latest("pk").pk
    with watched() as written:
        answer = ask()
    assert is_refused(answer, row), f"{who} got {answer.status_code} from {row}"
    assert [table for table in written if not OF_A_REFUSAL.fullmatch(table)] == [], f"{who}: {row}"
    new = list(AuditEvent.objects.filter(pk__gt=newest).values_list("action", "outcome"))
    assert new == ([("access.deny", "denied")] if recorded else []), f"{who}: {row}"


def assert_allowed(ask: Any, row: Row, who: str) -> None:
    """Whatever it did is undone, so that the next one finds the same world."""
    point = transaction.savepoint()
    answer = ask()
    transaction.savepoint_rollback(point)
    assert not is_refused(answer, row), f"{who} got {answer.status_code} from {row}"
    assert answer.status_code < 500 or answer.status_code == 503, f"{who} got {answer.status_code} from {row}"


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_those_may_and_no_others(row: Row, everybody: Everybody) -> None:
    for who, may in row.may.items():
        if may:
            assert_allowed(lambda who=who: everybody.ask(who, row), row, who)
        else:
            assert_refused(lambda who=who: everybody.ask(who, row), row, recorded=who != NOBODY, who=who)


# What it is about stands in the body, or belongs to a person; that is asked where each of these is tested.
NAMED_IN_THE_BODY = {
    "DELETE /api/v1/delegations/{pk}/",
    "DELETE /api/v1/on-call/ways/{pk}/",
    "POST /api/v1/on-call/ways/{pk}/test/",
    "GET /status/{slug}/post/",
    "POST /status/{slug}/post/",
    "GET /status/{slug}/maintenance/",
    "POST /status/{slug}/maintenance/",
    "POST /api/v1/status-pages/{slug}/maintenances/",
    "POST /api/v1/status-pages/{slug}/posts/",
}
OF_A_PERSON = ["responder", "commander", "approver"]
ABOUT_A_MODEL = [
    row
    for row in ROWS
    if row.parameters
    and str(row) not in NAMED_IN_THE_BODY
    and not row.may["viewer"]
    and any(row.may[role] for role in OF_A_PERSON)
]


@pytest.mark.parametrize("row", ABOUT_A_MODEL, ids=str)
def test_roles_that_are_limited_to_other_models_do_nothing_to_this_one(row: Row, everybody: Everybody) -> None:
    assert_refused(lambda: everybody.ask("limited", row), row, recorded=True, who="limited")
    assert_allowed(lambda: everybody.ask("named", row), row, "named")


def test_the_limited_roles_are_those_asked_for_and_see_as_much_as_others(everybody: Everybody) -> None:
    assert set(OF_A_PERSON) == SCOPED_ROLES
    assert len(ABOUT_A_MODEL) > 70
    for row in [row for row in ROWS if row.method == "GET" and row.may["viewer"]][::8]:
        assert_allowed(lambda row=row: everybody.ask("limited", row), row, "limited")


@pytest.mark.parametrize("row", [row for row in ROWS if row.scopes], ids=str)
def test_a_program_may_with_that_scope_and_not_with_all_others(row: Row, everybody: Everybody) -> None:
    path = everybody.path(row)
    without = everybody.program_with(*(SCOPES - set(row.scopes)))
    assert_refused(lambda: without.ask(row.method, path), row, recorded=True, who="another scope")
    for scope in row.scopes:
        only = everybody.program_with(scope)
        assert_allowed(lambda only=only: only.ask(row.method, path), row, scope)


def test_a_page_knows_no_tokens(everybody: Everybody) -> None:
    """A program that asks for a page is nobody there."""
    pages = [row for row in ROWS if not row.template.startswith("/api/")]
    assert {dict(row.cells)[TOKEN] for row in pages} == {NO}
    program = everybody.everything.client
    for row in [row for row in pages if not row.may[NOBODY]][::10]:
        assert_refused(lambda row=row: everybody.send(program, row), row, recorded=False, who=TOKEN)


def test_every_route_of_the_api_is_in_the_table() -> None:
    listed = {str(row) for row in ROWS if row.is_api and row.method != "HEAD"}
    assert served() - listed == set()
    assert listed - served() == set()


def test_every_address_is_in_the_table_with_each_method_that_it_has(everybody: Everybody) -> None:
    covered: dict[str, set[str]] = {}
    for row in ROWS:
        covered.setdefault(resolve(everybody.path(row)).route, set()).add(row.method)
    missing = {pattern for pattern in _patterns(get_resolver()) if not pattern.startswith("api/v1/")} - set(covered)
    assert missing == set()
    for row in ROWS:
        place = everybody.path(row)
        for method in _methods(row):
            if method not in covered[resolve(place).route]:
                status = everybody.clients["all"].generic(method, place).status_code
                assert status == 405 or place == UNKNOWN, f"{method} {place} is not in the table, and answers {status}"


def _methods(row: Row) -> tuple[str, ...]:
    """Methods by which a page might do something. allauth's redirect some before they look at the method."""
    if row.is_api:
        return ()
    return METHODS[:2] if row.template.startswith("/accounts/") else METHODS


def _patterns(resolver: Any, before: str = "") -> Iterator[str]:
    for entry in resolver.url_patterns:
        place = before + (str(entry.pattern).removeprefix("^") if before else str(entry.pattern))
        if isinstance(entry, URLPattern):
            yield place
        else:
            yield from _patterns(entry, place)


def test_no_row_stands_there_twice() -> None:
    assert len({str(row) for row in ROWS}) == len(ROWS)


def test_the_table_has_a_column_for_each_role_and_the_document_tells_what_each_may_do() -> None:
    text = DOCUMENT.read_text()
    assert columns(text) == [NOBODY, *ROLES, TOKEN]
    told = {
        name: frozenset(re.findall(r"`([a-z._]+)`", held))
        for name, held in re.findall(r"^- \*\*(\w+)\*\*: (.*)$", text, re.MULTILINE)
    }
    assert told == {str(role): held for role, held in PERMISSIONS.items()}
    assert permissions_of(ROLES) <= SCOPES
