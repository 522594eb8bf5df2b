"""From an incident to a plan: what was ranked for it becomes the evidence that its approvers see."""

from django.utils.translation import gettext

from accounts.models import User
from audit.actions import Actor
from incidents.errors import GuardFailed, IncidentError
from incidents.models import OPEN_STATES, Incident
from incidents.rollback.models import Plan, PlanKind, PlanState
from incidents.rollback.plan import propose
from incidents.rollback.queries import candidate_evidence
from registry.models import Version


def propose_rollback(*, incident: Incident, to_version: int, reason: str, user: User, actor: Actor) -> Plan:
    """Propose to go back to the version of that number; a rollback that still waits is replaced.

    Raises IncidentError, and what incidents.rollback.plan.propose raises.
    """
    if incident.state not in OPEN_STATES:
        raise GuardFailed(
            "incident_open",
            gettext("%(ref)s is %(state)s. Reopen it first.")
            % {"ref": incident.ref, "state": incident.get_state_display().lower()},
        )
    if incident.endpoint is None:
        raise IncidentError(
            gettext("%(ref)s is about no endpoint of ours, so there is nothing to roll back.") % {"ref": incident.ref}
        )
    version = Version.objects.filter(model=incident.endpoint.model, number=to_version).first()
    if version is None:
        raise IncidentError(
            gettext("%(model)s has no version %(to_version)s. Choose one from the list.")
            % {"model": incident.endpoint.model, "to_version": to_version}
        )
    waiting = Plan.objects.filter(
        incident_ref=incident.ref,
        kind=PlanKind.ROLLBACK,
        state__in=[PlanState.DRAFT, PlanState.PREFLIGHTED, PlanState.AWAITING],
    )
    return propose(
        kind=PlanKind.ROLLBACK,
        endpoint=incident.endpoint,
        to_version=version,
        reason=reason,
        user=user,
        actor=actor,
        incident_ref=incident.ref,
        evidence=candidate_evidence(incident.ref),
        replaces=waiting.first(),
    )
