"""What was done by hand while Lastgood was down: found by the reconciler, and put on record afterwards by a person."""

import datetime
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils.translation import gettext

from accounts.models import User
from accounts.permissions import require_on
from audit.actions import Actor, Target, record
from audit.canonical import instant
from audit.clock import database_now
from incidents.models import OPEN_STATES, Incident
from incidents.rollback.drifted import CHANGED_UNSEEN
from incidents.rollback.models import ACTIVE_RUN_STATES, PlanKind, Run, RunState
from incidents.rollback.plan import PlanRefused
from incidents.rollback.run import stop
from registry.actions import record_switch, release
from registry.models import Endpoint, Placement, Version


class NotRecorded(PlanRefused):
    """It was not put on record, and nothing was changed; the sentence says why."""


def found(endpoint: Endpoint) -> list[Placement]:
    """Placements whose host was last seen to serve a known version other than it shall."""
    rows = Placement.objects.filter(endpoint=endpoint, desired__isnull=False).exclude(observed_digest="")
    drifted = rows.exclude(observed_digest=F("desired__digest")).select_related("host", "desired")
    known = set(Version.objects.filter(model=endpoint.model_id).values_list("digest", flat=True))
    return [row for row in drifted.order_by("host__name") if row.observed_digest in known]


@transaction.atomic
def record_by_hand(
    *, incident: Incident, placement: Placement, at: datetime.datetime, told: str, user: User, actor: Actor
) -> Version:
    """Put on the incident's record what was done on a host at `at`, and let the host go on serving what it does: the
    version that was read back from it is what it shall serve from now on. A convergence that halted before it is ended,
    and so is the hold that waited for this.

    Raises PermissionDenied, NotRecorded.
    """
    endpoint = placement.endpoint
    require_on(user, "incident.command", endpoint)
    if incident.endpoint_id != endpoint.pk:
        raise NotRecorded(
            "other_endpoint",
            gettext("%(ref)s is about another endpoint than %(slug)s.") % {"ref": incident.ref, "slug": endpoint.slug},
        )
    if incident.state not in OPEN_STATES:
        raise NotRecorded(
            "closed", gettext("%(ref)s is closed. Record it on the incident that is open now.") % {"ref": incident.ref}
        )
    if not told.strip():
        raise NotRecorded("reason_needed", gettext("Say in a sentence what was done, and by whom; it goes on record."))
    if at > database_now():
        raise NotRecorded("bad_time", gettext("It can't have been done later than now."))
    row = next((one for one in found(endpoint) if one.pk == placement.pk), None)
    if row is None:
        raise NotRecorded(
            "not_drifted", gettext("%(name)s serves what it shall, as last observed.") % {"name": placement.host.name}
        )
    version = Version.objects.get(model=endpoint.model_id, digest=row.observed_digest)
    if version.quarantined_at is not None:
        raise NotRecorded(
            "quarantined",
            gettext(
                "Version %(number)s is quarantined, so that the host can't be left with it. Let it converge, or lift "
                "the quarantine first."
            )
            % {"number": version.number},
        )
    _end_convergence(endpoint, user, actor, told)
    Endpoint.objects.filter(pk=endpoint.pk, fence__lt=row.observed_fence).update(fence=row.observed_fence)
    record(
        action="practice.by_hand",
        target=Target("host", row.host.name),
        actor=actor,
        incident=incident.ref,
        reason=told,
        data={
            "endpoint": endpoint.slug,
            "host": row.host.name,
            "at": instant(at),
            "version": version.digest,
            "before": row.desired.digest if row.desired else "",
        },
    )
    record_switch(
        endpoint=endpoint, host=row.host, version=version, cause="by_hand", incident_ref=incident.ref, actor=actor
    )
    if row.host.held_reason.startswith(CHANGED_UNSEEN):
        release(host=row.host, reason=told[:300], actor=actor)
    return version


def _end_convergence(endpoint: Endpoint, user: User, actor: Actor, told: str) -> None:
    active: Any = Run.objects.filter(endpoint=endpoint, state__in=ACTIVE_RUN_STATES).select_related("plan").first()
    if active is None:
        return
    if active.plan.kind != PlanKind.CONVERGE or active.state != RunState.HALTED:
        raise NotRecorded(
            "active_run",
            gettext("A run of %(slug)s is active. Wait for its end, or stop it.") % {"slug": endpoint.slug},
        )
    stop(run_id=active.pk, user=user, reason=f"Done by hand: {told}"[:500], actor=actor)
