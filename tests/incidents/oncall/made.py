"""People, a policy of two steps, and an open incident that nobody has."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.db.models.functions import Now
from django.utils import timezone

from accounts.actions import actor_for
from accounts.models import User
from audit.models import AuditEvent
from audit.queries import record_of
from incidents.models import Incident
from incidents.oncall import escalations, policies
from incidents.oncall.models import Call, Escalation, Policy
from tests.accounts.people import SETUP, person

TEST = SETUP


@dataclass
class Called:
    people: dict[str, User] = field(default_factory=dict)
    policy: Policy | None = None

    def step(self, *names: str, seconds: int = 300) -> dict[str, Any]:
        return {"targets": [f"person:{self.people[name].pseudonym}" for name in names], "seconds": seconds}

    def set_policy(self, *steps: dict[str, Any], **changes: Any) -> Policy:
        fields = {"name": "Ours", "team": "", "severities": [1, 2], "repeats": 1, "silence_seconds": 1800}
        self.policy = policies.set_policy(steps=list(steps), actor=TEST, **(fields | changes))  # type: ignore[arg-type]
        return self.policy

    def incident(self, number: int = 7, severity: int = 2, **fields: Any) -> Incident:
        return Incident.objects.create(
            number=number, ref=f"INC-{number}", title="Letters go to the wrong people", severity=severity,
            group_key=f"cause-{number}", detected_at=timezone.now(), **fields,
        )  # fmt: skip

    def begun(self, incident: Incident) -> Escalation:
        made = escalations.begin(incident_id=incident.pk)
        assert made is not None
        return made

    def actor(self, name: str) -> Any:
        return actor_for(user=self.people[name])


def build(*names: str) -> Called:
    return Called({name: person(name, "responder") for name in names or ("ada", "ben", "eve")})


def later(escalation: Escalation) -> Escalation:
    """The time for its next step has come."""
    Escalation.objects.filter(pk=escalation.pk).update(due_at=Now())
    escalation.refresh_from_db()
    return escalation


def past(escalation: Escalation, **ago: float) -> None:
    """As if what was done to it had been done so long ago."""
    before = Now() - timedelta(**ago)
    Escalation.objects.filter(pk=escalation.pk).update(woken_at=before, taken_at=before, due_at=before)


def called(escalation: Escalation) -> list[tuple[int, int, str]]:
    """Wave, step and who, in order."""
    rows = Call.objects.filter(escalation=escalation).select_related("user", "contact").order_by("pk")
    return [(row.wave, row.step, row.user.username if row.user else row.contact.name) for row in rows]


def said(incident: Incident, action: str) -> list[dict[str, Any]]:
    """What the record says of that action in the incident, oldest first."""
    found = AuditEvent.objects.filter(incident=incident.ref, action=action).order_by("incident_seq")
    return [record_of(event)["data"] for event in found]
