"""Changes to production: what was done, who proposed it, who approved it, and what had been tested."""

import datetime
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Q, QuerySet
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from audit.models import AuditEvent
from audit.readings.records import Recorded, about, of_event, oldest_first, place_of

START, PERFORM, SWITCH = "rollback.run.start", "act.perform", "deployment.switch"
ALONE = (
    "alias.move", "endpoint.freeze", "endpoint.lift", "host.bring_back", "host.drain", "host.hold", "host.register",
    "host.release", "placement.add", "policy.replace", "rule.change", "version.quarantine_lift",
)  # fmt: skip
DECISIONS = ("approval.open", "approval.decide", "approval.consume", "approval.break_glass",
             "approval.break_glass.review", "act.propose")  # fmt: skip
TESTS = ("rollback.preflight.answer", "rollback.shadow.answer", "rollback.gate.answer", "rollback.gate.pass",
         "rollback.watch.pass", "rollback.watch.fail", "rollback.watch.sign_off")  # fmt: skip
ENDINGS = {
    "rollback.run.switched": _("all hosts switched"), "rollback.run.compensated": _("turned back"),
    "rollback.run.halt": _("halted"),
    "rollback.run.stop": _("stopped by a person"), "rollback.run.resume": _("taken up again"),
    "rollback.run.compensate": _("being turned back"),
}  # fmt: skip
WITHOUT_RUN = b'"run":""'
OF_AN_ACT = b'"correlation":{"act":"'
LONGEST = datetime.timedelta(seconds=60)
"""What an act does is recorded in its transaction, which lasts no longer."""


@dataclass(frozen=True)
class Approver:
    """Somebody who fills a seat, with the role in which they did."""

    by: str
    role: str


@dataclass(frozen=True)
class Change:
    """One change. ``findings`` says, in sentences, what an auditor should look at; ``approvals`` has its events."""

    event: Recorded
    kind: str
    subject: str
    environment: str
    detail: list[tuple[str, str]]
    needed: bool
    proposer: str = ""
    approvers: list[Approver] = field(default_factory=list)
    policy: str = ""
    required: int = 0
    break_glass: Recorded | None = None
    review: Recorded | None = None
    tests: list[Recorded] = field(default_factory=list)
    outcome: str = ""
    approvals: list[Recorded] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)

    @property
    def apart(self) -> bool:
        """Whether who asked is none of those who agreed."""
        return bool(self.approvers) and self.proposer not in {approver.by for approver in self.approvers}


def changes_in(since: datetime.datetime | None, until: datetime.datetime | None) -> QuerySet[AuditEvent]:
    """The events that changed what production serves or how it is changed, newest first. What a run switched is told by
    the run's start, and what an act under approval did, in the same transaction, by the act."""
    found = AuditEvent.objects.filter(outcome="success", action__in=[START, PERFORM, SWITCH, *ALONE])
    if since:
        found = found.filter(occurred_at__gte=since)
    if until:
        found = found.filter(occurred_at__lt=until)
    found = found.alias(lone=place_of(WITHOUT_RUN), part=place_of(OF_AN_ACT))
    found = found.filter(~Q(action=SWITCH) | Q(lone__gt=0), Q(action__in=[START, PERFORM]) | Q(part=0))
    return found.order_by("-occurred_at", "-id")


def act_of(event: AuditEvent) -> Recorded | None:
    """The act under approval that did what the event says."""
    act = of_event(event).act
    return next((one for one in about([act], [PERFORM])[act] if one.done), None) if act else None


def told(events: Sequence[Recorded]) -> list[Change]:
    """The events as changes, in their order, in four queries for any number."""
    environments = environments_of()
    keys = [key for event in events for key in (event.text("run"), event.text("request"), event.text("plan"))]
    found = about(keys, [*DECISIONS, *TESTS, *ENDINGS])
    acts = [event for event in events if event.action == PERFORM]
    done = _done_by(acts)
    return [_change(event, found, environments, done.get(event.uuid)) for event in events]


def _done_by(acts: list[Recorded]) -> dict[uuid.UUID, Recorded]:
    """What each of the acts did, by the act's event, in one query."""
    if not acts:
        return {}
    spans = Q()
    for act in acts:
        spans |= Q(occurred_at__range=(act.at, act.at + LONGEST))
    done = {one.act: one for one in oldest_first(spans, action__in=ALONE)}
    return {act.uuid: done[act.target] for act in acts if act.target in done}


def environments_of() -> dict[str, tuple[str, str]]:
    """Model and environment of each endpoint, as it was registered."""
    registered = oldest_first(action="endpoint.register", outcome="success")
    return {event.target: (event.text("model"), event.text("environment")) for event in registered}


def _change(
    event: Recorded, found: dict[str, list[Recorded]], known: dict[str, tuple[str, str]], did: Recorded | None
) -> Change:
    """``did`` is what an act under approval did."""
    needed, seen = event.action in (START, PERFORM), did or event
    endpoint = seen.text("endpoint") or (seen.target if seen.target_kind == "endpoint" else "")
    environment = known.get(endpoint, ("", ""))[1]
    common: dict[str, Any] = {
        "event": event, "subject": endpoint or f"{seen.target_kind.replace('_', ' ')} {seen.target}",
        "environment": environment, "detail": _detail(seen), "needed": needed,
    }  # fmt: skip
    if not needed:
        findings = [gettext("It was not part of an approved run.")] if event.action == SWITCH else []
        return Change(kind=_words(event.action), findings=findings, proposer=event.actor, **common)
    decisions = found.get(event.text("request"), [])
    related = [*found.get(event.text("plan"), []), *found.get(event.text("run"), [])]
    change = Change(
        kind=event.text("kind").replace("_", " ") or _words(event.action),
        outcome=next((str(ENDINGS[one.action]) for one in reversed(related) if one.action in ENDINGS), ""),
        tests=[one for one in related if one.action in TESTS],
        **common,
        **_approval(event, decisions),
    )
    change.findings.extend(_findings(change))
    return change


def _approval(event: Recorded, decisions: list[Recorded]) -> dict[str, Any]:
    opened = next((one for one in decisions if one.action in ("approval.open", "act.propose") and one.done), None)
    used = [one for one in decisions if one.action == "approval.consume" and one.done]
    glass = next((one for one in decisions if one.action == "approval.break_glass" and one.done), None)
    seats = used[-1].data.get("seats", []) if used else []
    policy = (opened.data.get("policy") if opened else None) or {}
    return {
        "proposer": opened.text("proposer") if opened else "",
        "approvers": [Approver(str(seat.get("by", "")), str(seat.get("role", ""))) for seat in seats],
        "policy": f"{policy['name']}, version {policy.get('version', '?')}" if policy.get("name") else "",
        "required": int(policy.get("required") or 0),
        "break_glass": glass if event.data.get("break_glass") else None,
        "review": next((one for one in decisions if one.action == "approval.break_glass.review" and one.done), None),
        "approvals": [one for one in decisions if one.done],
    }


def _findings(change: Change) -> Iterable[str]:
    if change.break_glass is not None:
        yield gettext("It was started by break-glass, without the approvals.")
        if change.review is None:
            yield gettext("Nobody has reviewed that yet.")
        elif change.review.text("verdict") != "justified":
            yield gettext("Its review found it not justified.")
    elif not change.approvers:
        yield gettext("The log holds no approval that was used for it.")
    elif not change.apart:
        yield (
            gettext("Who proposed it is among those who approved it.")
            if change.proposer
            else gettext("Who proposed it is not on record.")
        )
    elif len({approver.by for approver in change.approvers}) < change.required:
        fewer = gettext("Fewer people approved it than its policy asks for (%(required)s).")
        yield fewer % {"required": change.required}
    if change.event.data.get("gates_off"):
        yield gettext("Its gates were switched off.")
    if change.event.action == START and not change.tests:
        yield gettext("No preflight, gate or watch is on record for it.")


def _detail(event: Recorded) -> list[tuple[str, str]]:
    """What of the data tells one change from another."""
    shown = ("model", "alias", "from", "to", "number", "host", "cause", "act_kind", "until")
    return [(key.replace("_", " "), event.text(key)) for key in shown if event.text(key)]


def _words(action: str) -> str:
    return action.replace(".", " ").replace("_", " ")
