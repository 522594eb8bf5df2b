"""What was seen: the reconciler's writes, each conditional, so that two workers, or a switch meanwhile, do no harm."""

import dataclasses
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from audit.actions import Target, record, service_actor
from audit.clock import database_now
from audit.dispatch import send_on_commit
from registry.actions.served import touch
from registry.models import Health, Placement

OBSERVER = service_actor("reconciler")
SECOND_LOOK = timedelta(seconds=1)
# A converge that can't be had (no approval covers it) is asked for again, ever more rarely.
FIRST_WAIT_LOOKS = 4
MOST_DOUBLINGS = 6
AWAY_LOOKS = 4
AWAY_AT_LEAST = timedelta(minutes=1)


@dataclasses.dataclass(frozen=True)
class Seen:
    """One observation of one placement. `digest` is read back from the host's memory. `empty`: it serves nothing, and
    nothing is on the way."""

    health: str
    reason: str = ""
    version: str = ""
    digest: str = ""
    fence: int = 0
    boot_id: str = ""
    empty: bool = False
    detail: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def left(self) -> str:
        """ "out" of service, or with a "share" of the requests going elsewhere; "" for neither."""
        return str(self.detail.get("left", ""))

    @property
    def amiss(self) -> str:
        """What is wrong with it that converging could mend, to be told from other faults; "" for nothing."""
        wrong = self.health == Health.WRONG_VERSION or self.empty or self.left
        return f"{self.digest}{self.left}" or "empty" if wrong else ""

    @property
    def answered(self) -> bool:
        return self.health not in (Health.UNREACHABLE, Health.UNKNOWN)


@dataclasses.dataclass(frozen=True)
class GoldenAnswer:
    """How a golden probe went. `digest` is the one that the host named; `reason` says what was wrong."""

    passed: bool
    rows: int
    mismatches: int
    digest: str
    reason: str


def claim_observation(*, placement_id: int) -> bool:
    """Move the time of the next observation on. False when it is not due: somebody else has just claimed it."""
    due = Placement.objects.filter(pk=placement_id, observe_due_at__lte=Now())
    return bool(due.update(observe_due_at=Now() + timedelta(seconds=settings.LASTGOOD_OBSERVE_SECONDS)))


def claim_golden(*, placement_id: int) -> bool:
    """The same for the golden probe."""
    due = Placement.objects.filter(pk=placement_id, golden_due_at__lte=Now())
    return bool(due.update(golden_due_at=Now() + timedelta(seconds=settings.LASTGOOD_GOLDEN_SECONDS)))


@transaction.atomic
def write_seen(*, placement: Placement, seen: Seen) -> bool:
    """Write an observation; an event only where health or content changed. False when it says nothing any more,
    because something else shall serve there since, or when a second look has to confirm it.

    A host that is being switched serves the new version a moment before that is entered here, hence the second look.
    """
    if not _lock(placement):
        return False
    if seen.health == Health.WRONG_VERSION and placement.health == Health.SERVING and not _suspected(placement, seen):
        suspicion = {**placement.observation, "suspect": seen.digest}
        _row(placement).update(observation=suspicion, observe_due_at=Now() + SECOND_LOOK)
        return False
    seen = _with_golden(placement, seen)
    fields: dict[str, Any] = {"health": seen.health, "health_reason": seen.reason[:500], "observed_at": Now()}
    now = database_now()
    asks = _asks_to_converge(placement, seen, now)
    unseen = _unseen(placement, seen, now)
    if seen.answered:
        kept = {**_kept(placement, seen), **_asking(placement, seen, asks, now), **unseen}
        fields |= {
            "observed_version": seen.version[:40],
            "observed_digest": seen.digest,
            "observed_fence": seen.fence,
            "observation": {**seen.detail, **kept},
        }
        if seen.boot_id != placement.observation.get("boot_id"):
            fields["golden_due_at"] = Now()
    elif unseen:
        fields["observation"] = {**placement.observation, **unseen}
    _row(placement).update(**fields)
    touch(placement.endpoint)
    if placement.health != seen.health or (seen.answered and placement.observed_digest != seen.digest):
        _record_health(placement, seen)
    if asks:
        send_on_commit("rollback.converge", [placement.pk], queue="rollback")
    return True


@transaction.atomic
def write_golden(*, placement: Placement, answer: GoldenAnswer) -> bool:
    """Write how a golden probe went; an event only where health changed. False when the answer is of something else
    than what shall serve there: the next observation, which is brought forward, tells what it is."""
    assert placement.desired is not None
    if answer.digest and answer.digest != placement.desired.digest:
        _row(placement).update(observe_due_at=Now())
        return False
    health = Health.SERVING if answer.passed else Health.WRONG_OUTPUT
    kept = {"digest": placement.desired.digest, "passed": answer.passed, "rows": answer.rows, "reason": answer.reason}
    if not _lock(placement):
        return False
    _row(placement).update(
        golden_at=Now(),
        health=health,
        health_reason=answer.reason[:500],
        observation={**placement.observation, "golden": kept},
    )
    touch(placement.endpoint)
    if health != placement.health:
        record(
            action="placement.golden",
            target=_target(placement),
            actor=OBSERVER,
            outcome="success" if answer.passed else "failed",
            data={"rows": answer.rows, "mismatches": answer.mismatches, "digest": placement.desired.digest},
            reason=answer.reason,
        )
    return True


def _row(placement: Placement) -> Any:
    """The placement, as long as the same version shall serve there and nobody judged it in the meantime."""
    return Placement.objects.filter(pk=placement.pk, desired=placement.desired, health=placement.health)


def _lock(placement: Placement) -> bool:
    """Lock that row and take over what was observed of it meanwhile. False when there is no such row any more."""
    rows = _row(placement).order_by("pk").select_for_update()
    found = rows.values_list("observation", "observed_digest").first()
    if found is not None:
        placement.observation, placement.observed_digest = found
    return found is not None


def _suspected(placement: Placement, seen: Seen) -> bool:
    return placement.observation.get("suspect") == seen.digest


def _with_golden(placement: Placement, seen: Seen) -> Seen:
    """The right content is not serving well while the last golden test of it failed."""
    golden = placement.observation.get("golden", {})
    if seen.health == Health.SERVING and golden.get("digest") == seen.digest and not golden.get("passed"):
        return dataclasses.replace(seen, health=Health.WRONG_OUTPUT, reason=golden.get("reason", ""))
    return seen


def _kept(placement: Placement, seen: Seen) -> dict[str, Any]:
    golden = placement.observation.get("golden")
    return {"golden": golden} if golden and golden.get("digest") == seen.digest else {}


def _asks_to_converge(placement: Placement, seen: Seen, now: datetime) -> bool:
    host = placement.host
    held = host.drained_at is not None or (host.held_until is not None and host.held_until > now)
    if not seen.amiss or held or placement.desired is None:
        return False
    asked = placement.observation.get("asked")
    if asked is None or asked.get("amiss") != seen.amiss:
        return True
    wait = settings.LASTGOOD_OBSERVE_SECONDS * FIRST_WAIT_LOOKS * 2 ** min(asked["times"], MOST_DOUBLINGS)
    return now >= datetime.fromisoformat(asked["at"]) + timedelta(seconds=wait)


def _asking(placement: Placement, seen: Seen, asks: bool, now: datetime) -> dict[str, Any]:
    asked = placement.observation.get("asked")
    same = asked is not None and asked.get("amiss") == seen.amiss
    if asks:
        times = asked["times"] + 1 if asked is not None and same else 0
        return {"asked": {"amiss": seen.amiss, "times": times, "at": now.isoformat()}}
    return {"asked": asked} if same and seen.amiss else {}


def _unseen(placement: Placement, seen: Seen, now: datetime) -> dict[str, Any]:
    """Since when nobody had looked, where a host that was as it should be is not so any more: who changed it meanwhile
    can't be told. Kept until it is as it should be, or people were asked."""
    since = placement.observation.get("unseen_since")
    if since is None:
        was_right = placement.desired is not None and placement.observed_digest == placement.desired.digest
        away = max(AWAY_LOOKS * timedelta(seconds=settings.LASTGOOD_OBSERVE_SECONDS), AWAY_AT_LEAST)
        if was_right and placement.observed_at is not None and now - placement.observed_at > away:
            since = placement.observed_at.isoformat()
    return {"unseen_since": since} if since is not None and (seen.amiss or not seen.answered) else {}


def time_load(*, model: str, host_id: int, seconds: float) -> None:
    """Keep what a host took to bring a version of the model into its memory, from which rollouts are put in order."""
    Placement.objects.filter(endpoint__model__slug=model, host=host_id).update(load_seconds=round(seconds, 3))


@transaction.atomic
def forget_asked(*, placement_id: int, unseen: bool = False) -> None:
    """Let the next look ask again at once: what was asked for had to wait for a run that is active, or, where it was
    `unseen` who changed the host, for people."""
    row = Placement.objects.select_for_update().get(pk=placement_id)
    for name in ["asked", "unseen_since"] if unseen else ["asked"]:
        row.observation.pop(name, None)
    row.save(update_fields=["observation"])


def _record_health(placement: Placement, seen: Seen) -> None:
    record(
        action="placement.observe",
        target=_target(placement),
        actor=OBSERVER,
        outcome="success" if seen.health == Health.SERVING else "failed",
        data={
            "endpoint": placement.endpoint.slug,
            "host": placement.host.name,
            "health": seen.health,
            "before": placement.health,
            "desired": placement.desired.digest if placement.desired else "",
            "version": seen.version,
            "digest": seen.digest,
            "boot_id": seen.boot_id,
        },
        reason=seen.reason,
    )


def _target(placement: Placement) -> Target:
    return Target("placement", f"{placement.endpoint.slug}/{placement.host.name}")
