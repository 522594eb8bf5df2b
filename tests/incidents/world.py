"""What the tests of incidents stand on: an endpoint whose version 2 answers worse, and the people at work."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.test import Client
from django.utils import timezone

from accounts.actions import actor_for, create_user
from accounts.models import User
from audit.actions import Actor, service_actor
from audit.models import AuditEvent
from incidents import intake, status
from incidents.models import Incident, StatusPage
from incidents.rollback.models import Candidate, HostStep, Plan, PlanState, Run, RunState, Watch, WatchState, Wave
from monitoring.models import Alert, Rule, RuleKind
from registry.models import Endpoint, Host, Version
from tests.monitoring import world as traffic

TEST = service_actor("test")
MINUTE = timedelta(minutes=1)
PEOPLE = {"rosa": "responder", "kofi": "commander", "vera": "viewer", "ada": "administrator", "idris": "auditor"}


@dataclass
class World:
    """`endpoint` answers with version 2 since three minutes, and its hosts h1 to h3 logged real people's rows."""

    endpoint: Endpoint
    good: Version
    bad: Version
    users: dict[str, User]
    began: datetime

    def actor(self, name: str) -> Actor:
        return actor_for(user=self.users[name])

    def client(self, name: str) -> Client:
        client = Client()
        client.force_login(self.users[name], backend="django.contrib.auth.backends.ModelBackend")
        return client

    def alert(self, **fields: Any) -> Alert:
        """An alert as a rule fires it: version 2 is less accurate than promised, since two minutes."""
        rule, _ = Rule.objects.get_or_create(endpoint=self.endpoint, kind=fields.pop("kind", RuleKind.ACCURACY))
        values = {
            "fingerprint": "a" * 63 + str(Alert.objects.count()),
            "source": "rule",
            "rule": rule,
            "endpoint": self.endpoint,
            "version": "2",
            "severity": 2,
            "summary": "Version 2 is right in 55 % of cases, it promised 80 %.",
            "started_at": self.began,
        }
        return Alert.objects.create(**(values | fields))

    def incident(self, **fields: Any) -> Incident:
        """An incident opened by an alert."""
        incident = intake.take_alert(alert_id=self.alert(**fields).pk)
        assert incident is not None
        return incident

    def status_page(self) -> StatusPage:
        page = status.create_page(
            slug="services", name="Employment services", description="For offices.", public=True, actor=TEST
        )
        status.add_component(page=page, name="Letters that offer job support", endpoint=self.endpoint, actor=TEST)
        return page

    def candidate(self, incident: Incident, *, accuracy: float = 0.8, low: float = 0.78) -> Candidate:
        """Version 1, ranked and replayed on the incident's traffic."""
        replay = {
            "rows": 1500,
            "labelled": 1500,
            "changed": 400,
            "candidate": {"n": 1500, "correct": 1200, "accuracy": accuracy, "low": low, "high": accuracy + 0.02},
            "live": {"n": 1500, "correct": 825, "accuracy": 0.55, "low": 0.53, "high": 0.57},
            "paired": {
                "difference": accuracy - 0.55,
                "low": low - 0.55,
                "high": accuracy - 0.53,
                "p": 0.0,
                "gained": 400,
                "lost": 25,
            },
        }
        return Candidate.objects.create(
            incident_ref=incident.ref,
            endpoint=self.endpoint,
            to_version=self.good,
            eligible=True,
            reasons=["It is the last version that was good in production."],
            replay=replay,
            rank=1,
        )

    def plan(self, incident: Incident, **fields: Any) -> Plan:
        values = {
            "kind": "rollback",
            "endpoint": self.endpoint,
            "from_version": self.bad,
            "to_version": self.good,
            "incident_ref": incident.ref,
            "proposer": self.users["rosa"],
            "document": b"{}",
            "plan_hash": "c" * 64,
            "state": PlanState.STARTED,
            "expires_at": timezone.now() + 30 * MINUTE,
        }
        return Plan.objects.create(**(values | fields))

    def run(self, incident: Incident, *, state: str = RunState.RUNNING, watch: str = "") -> Run:
        run = Run.objects.create(plan=self.plan(incident), endpoint=self.endpoint, fence=1, state=state)
        for index, names in enumerate((["h1"], ["h2", "h3"]), start=1):
            wave = Wave.objects.create(run=run, index=index, name=f"wave {index}")
            for host in Host.objects.filter(name__in=names):
                HostStep.objects.create(run=run, wave=wave, host=host)
        if watch:
            until = timezone.now() + MINUTE
            Watch.objects.create(run=run, state=watch, until=until, patience_until=until, due_at=until)
        return run

    def verified(self, incident: Incident) -> Run:
        return self.run(incident, state=RunState.SWITCHED, watch=WatchState.PASSED)


def build() -> World:
    endpoint = traffic.make_endpoint()
    model = endpoint.model
    model.subject_noun, model.subject_noun_plural = "person", "persons"
    model.error_meaning = "a person wrongly written to, or wrongly passed over"
    model.group_columns = ["DIS", "AGEP"]
    model.save()
    hosts = traffic.make_hosts("h1", "h2", "h3")
    versions = [traffic.make_version(endpoint, number, profiled=False) for number in (1, 2)]
    users = {
        name: create_user(
            username=name,
            email=f"{name}@example.org",
            full_name=f"{name.capitalize()} Example",
            password="correct horse battery staple",
            roles=[role],
            actor=TEST,
        )
        for name, role in PEOPLE.items()
    }
    now = timezone.now()
    began = now - 2 * MINUTE
    for at, host in enumerate(hosts):
        before = traffic.part(2017, 2000 * at, 600)
        during = traffic.part(2018, 2000 * at, 600)
        old = traffic.answers(before, start=now - 12 * MINUTE, length=9 * MINUTE, seed=at)
        new = traffic.answers(during, start=began, length=MINUTE, version=2, accuracy=0.55, seed=at)
        traffic.log(endpoint, host, old)
        traffic.log(endpoint, host, new)
    return World(endpoint, versions[0], versions[1], users, began)


def events(incident: Incident, action: str) -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(incident=incident.ref, action=action).order_by("incident_seq"))
