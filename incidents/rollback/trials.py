"""Trying versions on an endpoint's hosts beside what is served, under a lease of the endpoint, and tidying up after it.

A trial loads and asks; it switches nothing. It begins only while no run is active and no other trial goes on, and a run
that starts takes the endpoint from it at once. What a trial loaded is a row before it is loaded, so that whatever
becomes of the worker, the clock finds the row and takes the version out of the host's memory again.
"""

import datetime
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q
from django.db.models.functions import Now

from audit.actions import Actor, service_actor
from audit.clock import database_now
from incidents.rollback import fleet
from incidents.rollback.fleet import Remote
from incidents.rollback.lease import Lease, is_free, lease_length
from incidents.rollback.memory import need_of
from incidents.rollback.models import (
    ACTIVE_RUN_STATES,
    OPEN_TRIALS,
    Plan,
    PlanState,
    Run,
    RunState,
    Trial,
    TrialLoad,
    TrialPurpose,
    TrialState,
)
from incidents.rollback.prepare import act, make_warm
from registry.models import Deployment, Endpoint, Host, Placement, Version
from registry.serving.base import ModelObservation, Observation, ServingError

logger = logging.getLogger(__name__)

WORKER = service_actor("rollback")
OUT_OF_THE_WAY = datetime.timedelta(seconds=5)
LEAVING_LEASES = 6
LEAVING = "is leaving"
"""What a load says while a worker takes it out, until `due_at`; one that could not be taken out says nothing, and keeps
nobody waiting until it is tried again."""
UNLOADED = "unloaded"
LONGEST_WAIT = 600
OPEN_PLANS = [PlanState.DRAFT, PlanState.PREFLIGHTED, PlanState.AWAITING]


class TrialLease(Lease):
    """The right to try versions on one endpoint. Got only while no run of it is active and no other trial goes on."""

    rows = Trial
    moving = [TrialState.RUNNING]

    def _take(self, **fields: Any) -> bool:
        with transaction.atomic():
            endpoint_id = Trial.objects.values_list("endpoint_id", flat=True).get(pk=self.run_id)
            Endpoint.objects.select_for_update().get(pk=endpoint_id)
            if is_busy(endpoint_id):
                return False
            if not Trial.objects.filter(pk=self.run_id, state__in=OPEN_TRIALS).exists():
                return False
            return super()._take(state=TrialState.RUNNING, **fields)

    def end(self, state: TrialState, reason: str = "") -> bool:
        """Close the trial's row; False when the lease was lost meanwhile."""
        mine = self._mine().filter(state=TrialState.RUNNING)
        return bool(mine.update(state=state, reason=reason[:500], ended_at=Now()))


def is_busy(endpoint_id: int, *, lease: TrialLease | None = None, beside: Any = None) -> bool:
    """Whether a run of the endpoint is active, a trial other than that of `lease` goes on, or a version is just leaving
    after a trial other than `beside`. Ask while the endpoint's row is locked.

    A trial that is taken up anew waits for what its dead worker brought to have left: it would find that loaded still,
    and gone when it asks.
    """
    now = database_now()
    if Run.objects.filter(endpoint=endpoint_id, state__in=ACTIVE_RUN_STATES).exists():
        return True
    others = Trial.objects.filter(~is_free(now), endpoint=endpoint_id, state=TrialState.RUNNING)
    if others.exclude(lease_holder__in=[lease.holder, lease.watched] if lease is not None else []).exists():
        return True
    leaving = TrialLoad.objects.filter(trial__endpoint=endpoint_id, left_at=None, left_because=LEAVING, due_at__gt=now)
    return leaving.exclude(trial=beside).exists()


def give_way(endpoint: Endpoint) -> None:
    """Take the endpoint from the trial that goes on there: inside the transaction that opens a run of it. The trial's
    worker learns of it before its next call; the trial is taken up again when the run has ended."""
    Trial.objects.filter(endpoint=endpoint, state=TrialState.RUNNING).update(
        state=TrialState.WAITING, lease_holder="", lease_expires_at=None, attempts=0, due_at=Now() + OUT_OF_THE_WAY
    )


def due_trials(now: datetime.datetime) -> list[object]:
    """Trials that wait, or whose worker was lost, where nothing else goes on."""
    busy = Run.objects.filter(endpoint=OuterRef("endpoint"), state__in=ACTIVE_RUN_STATES)
    found = Trial.objects.filter(is_free(now), ~Exists(busy), state__in=OPEN_TRIALS, due_at__lte=now).order_by("due_at")
    return list(found.values_list("pk", flat=True)[:50])


def leftovers(now: datetime.datetime) -> list[object]:
    """What trials have loaded and nobody asks any more: its trial has ended, or its worker was lost."""
    held = Trial.objects.filter(~is_free(now), pk=OuterRef("trial"), state=TrialState.RUNNING)
    busy = Run.objects.filter(endpoint=OuterRef("trial__endpoint"), state__in=ACTIVE_RUN_STATES)
    found = TrialLoad.objects.filter(~Exists(busy), ~Exists(held), left_at=None, due_at__lte=now).order_by("due_at")
    return list(found.values_list("pk", flat=True)[:50])


@dataclass(frozen=True)
class Bench:
    """Where versions are tried: the trial, its lease, and who is on record as acting."""

    trial: Trial
    lease: TrialLease
    actor: Actor

    def bring(self, remote: Remote, version: Version) -> None:
        """Have the version warm on the host, to leave again after the trial where it was not warm before.

        Raises LeaseLost when a run has taken the endpoint, NotPrepared, and registry.serving.base.ServingError.
        """
        reads_back = remote.driver.capabilities.digest_read_back
        warm = fleet.is_loaded(remote.look(), version, read_back=reads_back)
        with transaction.atomic():
            self.lease.confirm()
            if not warm:
                booked = {"trial": self.trial, "due_at": Now(), "attempts": 0, "left_because": ""}
                TrialLoad.objects.update_or_create(
                    host=remote.host, version=version, left_at=None, defaults=booked, create_defaults=booked
                )
        make_warm(
            endpoint=self.trial.endpoint,
            remote=remote,
            version=version,
            incident_ref=self.trial.incident_ref,
            cause=str(self.trial.purpose),
            actor=self.actor,
        )

    def tidy(self) -> None:
        """Take out what this trial brought. What can't leave now is found by the clock."""
        for load_id in self.trial.loads.filter(left_at=None).values_list("pk", flat=True):
            take_out(load_id, lease=self.lease)


def take_out(load_id: Any, *, lease: TrialLease | None = None) -> bool:
    """Bring a version that was only tried out of a host's memory. False when it can't leave now: not while its trial
    goes on either, unless that is whose `lease` is given.

    It stays where something else needs it by now: what is served or shall be served, a plan that waits, a run that can
    still be undone. Unloading what a run is about is not possible, since none may be active.
    """
    with transaction.atomic():
        load = TrialLoad.objects.select_related("trial__endpoint__model", "host", "version").get(pk=load_id)
        endpoint = Endpoint.objects.select_for_update().get(pk=load.trial.endpoint_id)
        if is_busy(endpoint.pk, lease=lease, beside=load.trial_id):
            return False
        needed = needed_by(endpoint, load.host, load.version)
        if needed:
            return _left(load, needed)
        claimed = TrialLoad.objects.filter(pk=load_id, left_at=None, due_at__lte=Now()).update(
            due_at=Now() + LEAVING_LEASES * lease_length(), left_because=LEAVING, attempts=F("attempts") + 1
        )
        if not claimed:
            return False
    load.refresh_from_db(fields=["attempts"])
    try:
        remote = fleet.reach(load.host, endpoint)
        return _left(load, unloaded(remote, load.version, load.trial.incident_ref, f"{load.trial.purpose} over"))
    except ServingError as error:
        logger.warning("rollback.trial.unload_failed host=%s version=%s error=%s", load.host, load.version, error)
        wait = datetime.timedelta(seconds=min(LONGEST_WAIT, 2**load.attempts))
        TrialLoad.objects.filter(pk=load_id).update(due_at=Now() + wait, left_because="")
        return False


def unloaded(remote: Remote, version: Version, incident_ref: str, cause: str) -> str:
    """Observe, and unload what is there; why it is not in memory any more, or stays. Raises ServingError."""
    seen = remote.look()
    held = fleet.version_on(seen, version)
    if held is None or held.state in ("staged", "failed"):
        return "it was not in memory any more"
    if seen.default_version == str(version.number):
        return "it is what the host serves"
    act("unload", lambda: remote.unload(version), remote, version, incident_ref, cause, WORKER)
    held = fleet.version_on(remote.look(), version)
    if held is not None and held.state not in ("staged", "failed"):
        raise ServingError(f"{remote.host.name} said that version {version.number} is unloaded, but it is not.")
    return UNLOADED


def _left(load: TrialLoad, because: str) -> bool:
    return bool(TrialLoad.objects.filter(pk=load.pk, left_at=None).update(left_at=Now(), left_because=because[:200]))


def needed_by(endpoint: Endpoint, host: Host, version: Version) -> str:
    """What needs the version in that host's memory; "" when nothing does."""
    if endpoint.fallback_id == version.pk:
        return "it is what the endpoint falls back on"
    if Placement.objects.filter(endpoint=endpoint, host=host, desired=version).exists():
        return "it is what the host shall serve"
    if Deployment.objects.filter(endpoint=endpoint, host=host, version=version, until=None).exists():
        return "it is what the host serves"
    either = Q(to_version=version) | Q(from_version=version)
    if Plan.objects.filter(either, endpoint=endpoint, state__in=OPEN_PLANS).exists():
        return "a plan is about it"
    undoable = Run.objects.filter(endpoint=endpoint, state=RunState.SWITCHED, undo_due_at__isnull=False)
    if undoable.filter(Q(plan__to_version=version) | Q(plan__from_version=version)).exists():
        return "a run that can be undone is about it"
    return ""


def open_trial(
    *, endpoint: Endpoint, purpose: TrialPurpose, version: Version | None = None, incident_ref: str = "", actor: Actor
) -> Trial:
    """A row for a trial, not begun yet."""
    return Trial.objects.create(
        endpoint=endpoint, purpose=purpose, version=version, incident_ref=incident_ref, asked_by=actor.id
    )


def give_up(trial: Trial, reason: str) -> None:
    """End a trial that could not be begun."""
    waiting = Trial.objects.filter(pk=trial.pk, state=TrialState.WAITING)
    waiting.update(state=TrialState.FAILED, reason=reason[:500], ended_at=Now())


def remotes_of(endpoint: Endpoint) -> list[Remote]:
    """Hosts that answer now, those with most free memory first."""
    found = []
    for placement in Placement.objects.filter(endpoint=endpoint, host__drained_at=None).select_related("host"):
        try:
            remote = fleet.reach(placement.host, endpoint)
            observation, _ = remote.observe()
        except ServingError as error:
            logger.info("rollback.trial.host_absent host=%s error=%s", placement.host.name, error)
            continue
        found.append((-observation.memory_free, placement.host.name, remote))
    return [remote for _, _, remote in sorted(found, key=lambda entry: entry[:2])]


def fits(remote: Remote, observation: Observation, seen: ModelObservation, version: Version) -> bool:
    """Whether the version is in the host's memory or has room in it, and yes where nothing is said."""
    if fleet.is_loaded(seen, version, read_back=False) or observation.memory_total <= 0:
        return True
    need = need_of(version, engine=remote.host.engine, device=observation.device)
    return observation.memory_free >= need.bytes


def roomy(remotes: Sequence[Remote], version: Version) -> list[Remote]:
    """Those of the hosts on which the version fits now. Raises ServingError."""
    return [remote for remote in remotes if fits(remote, *remote.observe(), version)]
