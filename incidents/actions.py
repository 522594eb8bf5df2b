"""The verbs of an incident. Each is one transaction: one change, one audit event."""

from typing import Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils.translation import gettext

from accounts.models import User
from accounts.permissions import may_on
from audit.actions import Actor, Target, record
from audit.dispatch import send_on_commit
from incidents.errors import Conflict, GuardFailed, IncidentError
from incidents.models import (
    LEGAL_MOVES,
    OPEN_STATES,
    Incident,
    IncidentRole,
    IncidentState,
    Review,
    RoleHolding,
    Update,
)
from incidents.rollback.models import ACTIVE_RUN_STATES, ASIDE_KINDS, Run, RunState, WatchState
from incidents.severity import severity_of
from registry.models import Health, Placement
from registry.queries import freezes_of, placements_of, sentence_of

SEEN_AMISS = (Health.UNREACHABLE, Health.NOT_READY, Health.WRONG_VERSION, Health.WRONG_OUTPUT)


def change(
    incident: Incident, *, seen_version: int | None, action: str, actor: Actor, data: dict[str, Any], reason: str = "",
    **fields: Any,
) -> Incident:  # fmt: skip
    """Write `fields` if the incident is still as it was read, and the event beside it, in the caller's transaction.
    Raises Conflict."""
    expected = incident.version if seen_version is None else seen_version
    changed = Incident.objects.filter(pk=incident.pk, version=expected, state=incident.state).update(
        version=F("version") + 1, **fields
    )
    incident.refresh_from_db()
    if changed != 1:
        raise Conflict(incident.version)
    record(
        action=action,
        target=Target("incident", incident.ref, str(incident.version)),
        actor=actor,
        incident=incident.ref,
        data=data,
        reason=reason,
    )
    if incident.endpoint_id:
        send_on_commit("incidents.publish_status", [incident.pk], queue="intake")
    return incident


@transaction.atomic
def acknowledge(*, incident: Incident, user: User, actor: Actor, seen_version: int | None = None) -> Incident:
    """Say that somebody has it. Who acknowledges an incident without a commander becomes its commander."""
    if incident.acknowledged_at is not None:
        raise IncidentError(gettext("%(ref)s was acknowledged before. Nothing was changed.") % {"ref": incident.ref})
    changed = change(
        incident,
        seen_version=seen_version,
        action="incident.acknowledge",
        actor=actor,
        data={},
        acknowledged_at=Now(),
    )
    if not RoleHolding.objects.filter(incident=incident, role=IncidentRole.COMMANDER, until=None).exists():
        hold_role(incident=changed, role=IncidentRole.COMMANDER, user=user, actor=actor)
    return changed


@transaction.atomic
def triage(
    *,
    incident: Incident,
    impact: int,
    urgency: int,
    assessment: str,
    user: User,
    actor: Actor,
    seen_version: int | None = None,
) -> Incident:
    """Say how bad and how urgent it is, and what it is thought to be. Severity follows from the matrix."""
    if incident.state not in OPEN_STATES:
        raise GuardFailed(
            "incident_open",
            gettext("%(ref)s is %(name)s. Reopen it first.")
            % {"ref": incident.ref, "name": incident.get_state_display().lower()},
        )
    severity = severity_of(impact, urgency)
    fields: dict[str, Any] = {"impact": impact, "urgency": urgency, "severity": severity, "assessment": assessment}
    if incident.state == IncidentState.DETECTED:
        fields["state"] = IncidentState.TRIAGED
    if incident.acknowledged_at is None:
        fields["acknowledged_at"] = Now()
    return change(
        incident,
        seen_version=seen_version,
        action="incident.triage",
        actor=actor,
        data={"impact": impact, "urgency": urgency, "severity": severity, "severity_before": incident.severity},
        reason=assessment,
        **fields,
    )


@transaction.atomic
def set_severity(
    *, incident: Incident, severity: int, reason: str, actor: Actor, seen_version: int | None = None
) -> Incident:
    """Raise it without a word; lowering it needs a reason."""
    if severity not in (1, 2, 3, 4):
        raise IncidentError(gettext("Severity is 1, 2, 3 or 4; 1 is worst."))
    if severity == incident.severity:
        raise IncidentError(
            gettext("%(ref)s has severity %(severity)s already. Nothing was changed.")
            % {"ref": incident.ref, "severity": severity}
        )
    if severity > incident.severity and not reason.strip():
        raise GuardFailed(
            "lowering_needs_reason", gettext("Say in a sentence why the severity is lower than it was thought.")
        )
    return change(
        incident,
        seen_version=seen_version,
        action="incident.set_severity",
        actor=actor,
        data={"severity": severity, "before": incident.severity},
        reason=reason,
        severity=severity,
    )


@transaction.atomic
def hold_role(
    *, incident: Incident, role: str, user: User, actor: Actor, seen_holder: int | None = None
) -> RoleHolding:
    """Give a role of the incident to a person at once; who held it before hands it over. `seen_holder` is the key of
    the person who held it when the form was opened, 0 for nobody: Conflict where it is another one by now."""
    if role not in IncidentRole.values:
        raise IncidentError(
            gettext("There is no role %(role)s. The roles are: %(names)s.")
            % {"role": role, "names": ", ".join(IncidentRole.values)}
        )
    if not may_on(user, "incident.respond", incident):
        raise IncidentError(
            gettext("%(user)s may not work on incidents. Choose a responder or a commander.") % {"user": user}
        )
    Incident.objects.select_for_update(of=("self",)).get(pk=incident.pk)
    before = RoleHolding.objects.filter(incident=incident, role=role, until=None).select_related("user").first()
    if seen_holder is not None and seen_holder != (before.user_id if before else 0):
        raise Conflict(incident.version)
    if before and before.user_id == user.pk:
        raise IncidentError(
            gettext("%(user)s is %(name)s already. Nothing was changed.")
            % {"user": user, "name": IncidentRole(role).label.lower()}
        )
    if before:
        RoleHolding.objects.filter(pk=before.pk, until=None).update(until=Now())
    holding = RoleHolding.objects.create(incident=incident, role=role, user=user)
    record(
        action="incident.hold_role",
        target=Target("incident", incident.ref, str(incident.version)),
        actor=actor,
        incident=incident.ref,
        data={"role": role, "holder": user.pseudonym, "before": before.user.pseudonym if before else ""},
    )
    return holding


@transaction.atomic
def post_update(
    *, incident: Incident, conditions: str, actions: str, needs: str, user: User | None, actor: Actor
) -> Update:
    """A report in CAN form for those who work on the incident."""
    if not conditions.strip():
        raise IncidentError(gettext("Say at least how things stand (conditions)."))
    update = Update.objects.create(incident=incident, by=user, conditions=conditions, actions=actions, needs=needs)
    record(
        action="incident.post_update",
        target=Target("incident", incident.ref),
        actor=actor,
        incident=incident.ref,
        data={"update": update.pk},
        reason="\n".join(part for part in (conditions, actions, needs) if part),
    )
    return update


def guard_resolve(incident: Incident) -> None:
    """An incident is not over while a rollback for it runs, is watched, or has failed its verification, nor while its
    endpoint's hosts are to serve different versions. The convergence of one host says nothing about the rollback."""
    runs = Run.objects.filter(plan__incident_ref=incident.ref)
    if runs.filter(state__in=ACTIVE_RUN_STATES).exists():
        raise GuardFailed(
            "no_active_run", gettext("A rollback for this incident is under way. Wait for it, or stop it.")
        )
    run = (
        runs.exclude(plan__kind__in=ASIDE_KINDS)
        .select_related("watch", "plan__to_version", "endpoint")
        .order_by("-started_at")
        .first()
    )
    if run is None:
        return
    desired = Placement.objects.filter(endpoint=run.endpoint_id, host__drained_at=None).values("desired").distinct()
    if desired.count() > 1:
        raise GuardFailed(
            "whole_fleet",
            gettext("Only a part of the hosts was switched. Bring all of them to one version, then resolve."),
        )
    if run.state == RunState.SWITCHED:
        _guard_whole_fleet(run)
    watch = getattr(run, "watch", None)
    if watch is None or watch.state == WatchState.PASSED:
        return
    words = {
        WatchState.WATCHING: gettext("The rollback to %(version)s is still being watched. Wait until it is verified."),
        WatchState.FAILED: gettext(
            "The rollback to %(version)s failed its verification. Roll back to another version, or reopen the "
            "diagnosis."
        ),
        WatchState.INCONCLUSIVE: gettext(
            "The rollback to %(version)s could not be verified by itself. A person must sign it off first."
        ),
    }
    raise GuardFailed("verification_passed", words[WatchState(watch.state)] % {"version": run.plan.to_version})


def _guard_whole_fleet(run: Run) -> None:
    """A host that the run left out, or that was lost since, is not over with because the others are well."""
    rows = placements_of([run.endpoint])[run.endpoint_id]
    if any(row.host.drained_at is None and row.health in SEEN_AMISS for row in rows):
        said = sentence_of(run.endpoint, rows, freezes_of([run.endpoint])[run.endpoint_id]).text
        raise GuardFailed(
            "whole_fleet",
            gettext("%(said)s Bring back or drain what is not as it should be, then resolve.") % {"said": said},
        )


@transaction.atomic
def move(*, incident: Incident, to: str, actor: Actor, reason: str = "", seen_version: int | None = None) -> Incident:
    """Move along the lifecycle. Raises GuardFailed with the guard's name for a move that is not in the table."""
    if to not in LEGAL_MOVES.get(incident.state, ()):
        legal = ", ".join(LEGAL_MOVES.get(incident.state, ())) or "nowhere"
        raise GuardFailed(
            "legal_move",
            gettext("From %(state)s an incident goes to %(legal)s, not to %(to)s.")
            % {"state": incident.state, "legal": legal, "to": to},
        )
    now: dict[str, Any] = {"state": to}
    if to == IncidentState.RESOLVED:
        guard_resolve(incident)
        now["resolved_at"] = Now()
        if incident.mitigated_at is None:
            now["mitigated_at"] = Now()
    if to == IncidentState.MONITORING and incident.mitigated_at is None:
        now["mitigated_at"] = Now()
    if to == IncidentState.MITIGATING and incident.decided_at is None:
        now["decided_at"] = Now()
    if to == IncidentState.CLOSED:
        now["closed_at"] = Now()
    if incident.state in (IncidentState.RESOLVED, IncidentState.REVIEWED, IncidentState.CLOSED) and to in OPEN_STATES:
        now |= {"resolved_at": None, "mitigated_at": None, "closed_at": None}
    changed = change(
        incident,
        seen_version=seen_version,
        action=f"incident.{'reopen' if 'resolved_at' in now and now['resolved_at'] is None else 'move'}",
        actor=actor,
        data={"to": to, "from": incident.state},
        reason=reason,
        **now,
    )
    if to == IncidentState.RESOLVED:
        Review.objects.get_or_create(incident=changed)
        send_on_commit("incidents.draft_review", [incident.pk], queue="intake")
    return changed


def resolve(*, incident: Incident, reason: str, actor: Actor, seen_version: int | None = None) -> Incident:
    """Say that it is over. Guarded: no run active, verification passed. Drafts the review."""
    return move(incident=incident, to=IncidentState.RESOLVED, actor=actor, reason=reason, seen_version=seen_version)
