"""What each host serves, read back and compared with what it should serve. Observing never acts on a host.

A host that serves something else is not counted as serving; converging it is an ordinary run, asked for by name.
"""

import dataclasses
import logging
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from audit.actions import Target, record, service_actor
from audit.dispatch import send_on_commit
from registry import golden as goldens
from registry.models import Endpoint, Health, Placement
from registry.sealing import SealBroken
from registry.serving.allow import AddressRefused
from registry.serving.base import HostUnreachable, ModelObservation, Observation, ServingError
from registry.serving_access import address_of, driver_of
from registry.store import ArtifactDamaged, ArtifactMissing

logger = logging.getLogger(__name__)
OBSERVER = service_actor("reconciler")


@dataclasses.dataclass(frozen=True)
class Seen:
    """One observation of one placement. `digest` is read back from the host's memory, never the claimed one."""

    health: str
    reason: str = ""
    version: str = ""
    digest: str = ""
    fence: int = 0
    boot_id: str = ""
    detail: dict[str, Any] = dataclasses.field(default_factory=dict)


def observe_placement(placement_id: int) -> Seen | None:
    """Observe one placement and write down what was seen. None when another worker has just taken it."""
    if not _claim("observe_due_at", placement_id, settings.LASTGOOD_OBSERVE_SECONDS):
        return None
    placement = Placement.objects.select_related("endpoint__model", "host", "desired").get(pk=placement_id)
    seen = _look(placement)
    _write(placement, seen)
    return seen


def _claim(column: str, placement_id: int, seconds: float) -> bool:
    """Move the due time on; one of several workers does it."""
    later = timezone.now() + timedelta(seconds=seconds)
    return bool(Placement.objects.filter(pk=placement_id, **{f"{column}__lte": Now()}).update(**{column: later}))


def _look(placement: Placement) -> Seen:
    try:
        observation = driver_of(placement.host).observe(address_of(placement.host))
    except HostUnreachable as error:
        return Seen(Health.UNREACHABLE, str(error)[:500])
    except (ServingError, AddressRefused, SealBroken) as error:
        return Seen(Health.UNKNOWN, str(error)[:500])
    return judge(placement, observation)


def judge(placement: Placement, observation: Observation) -> Seen:
    """Compare what a host said of its memory with what the placement should serve."""
    model = observation.models.get(placement.endpoint.model.slug)
    detail = _detail(observation, model)
    if model is None or model.default_version is None:
        return Seen(Health.NOT_READY, "No version is the default.", boot_id=observation.boot_id, detail=detail)
    state = model.versions.get(model.default_version)
    digest = (state.loaded_digest or "") if state else ""
    facts: dict[str, Any] = {
        "version": model.default_version,
        "digest": digest,
        "fence": model.fence,
        "boot_id": observation.boot_id,
        "detail": detail,
    }
    if state is None or state.state != "ready":
        where = state.state if state else "gone"
        return Seen(Health.NOT_READY, f"Version {model.default_version} is {where}.", **facts)
    desired = placement.desired
    if desired is None:
        return Seen(Health.WRONG_VERSION, "Nothing is meant to be served here.", **facts)
    if digest != desired.digest:
        if model.default_version == str(desired.number):
            said = (
                f"It says version {desired.number}, but what is loaded is another artifact ({digest[:12] or 'none'}…)."
            )
        else:
            said = f"It serves version {model.default_version} instead of version {desired.number}."
        return Seen(Health.WRONG_VERSION, said, **facts)
    if placement.health == Health.WRONG_OUTPUT and placement.golden_at is not None:
        return Seen(Health.WRONG_OUTPUT, placement.health_reason, **facts)
    return Seen(Health.SERVING, "", **facts)


def _detail(observation: Observation, model: ModelObservation | None) -> dict[str, Any]:
    detail: dict[str, Any] = {
        "boot_id": observation.boot_id,
        "device": observation.device,
        "memory_total": observation.memory_total,
        "memory_free": observation.memory_free,
    }
    if model is not None:
        detail["versions"] = {
            name: {"state": state.state, "digest": state.loaded_digest or state.digest, "bytes": state.memory_bytes}
            for name, state in model.versions.items()
        }
    return detail


def _write(placement: Placement, seen: Seen) -> None:
    """Write the observation; an event only where health or what is served changed."""
    changed = (placement.health, placement.observed_digest) != (seen.health, seen.digest)
    fields: dict[str, Any] = {"health": seen.health, "health_reason": seen.reason, "observed_at": Now()}
    if seen.health not in (Health.UNREACHABLE, Health.UNKNOWN):
        fields |= {
            "observed_version": seen.version,
            "observed_digest": seen.digest,
            "observed_fence": seen.fence,
            "observation": seen.detail,
        }
    with transaction.atomic():
        written = Placement.objects.filter(pk=placement.pk, desired=placement.desired).update(**fields)
        if not written:
            return
        if changed:
            Endpoint.objects.filter(pk=placement.endpoint_id).update(version=F("version") + 1)
            _record_health(placement, seen)
    if seen.health == Health.WRONG_VERSION and placement.desired is not None and not _held(placement):
        send_on_commit("rollback.converge", [placement.pk], queue="rollback")


def _record_health(placement: Placement, seen: Seen) -> None:
    record(
        action="placement.observe",
        target=Target("placement", f"{placement.endpoint.slug}/{placement.host.name}"),
        actor=OBSERVER,
        outcome="success" if seen.health == Health.SERVING else "failed",
        data={
            "health": seen.health,
            "before": placement.health,
            "version": seen.version,
            "digest": seen.digest,
            "boot_id": seen.boot_id,
        },
        reason=seen.reason,
    )


def _held(placement: Placement) -> bool:
    held = placement.host.held_until
    return held is not None and held > timezone.now()


def golden_probe(placement_id: int) -> goldens.GoldenResult | None:
    """Ask whatever serves for the golden outputs of what should. None when taken by another worker or not possible.

    Silent corruption and bad hardware show in no other way: the digest of what is in memory can be right while the
    answers are not.
    """
    if not _claim("golden_due_at", placement_id, settings.LASTGOOD_GOLDEN_SECONDS):
        return None
    placement = Placement.objects.select_related("endpoint__model", "host", "desired").get(pk=placement_id)
    if placement.desired is None or placement.health not in (Health.SERVING, Health.WRONG_OUTPUT):
        return None
    try:
        golden = goldens.golden_of(placement.desired)
        if golden is None:
            return None
        driver, address = driver_of(placement.host), address_of(placement.host)
        result = goldens.run_golden(driver, address, placement.endpoint.model.slug, None, golden)
    except (ServingError, AddressRefused, SealBroken, ArtifactMissing, ArtifactDamaged, goldens.GoldenInvalid) as error:
        logger.warning("registry.golden.failed placement=%s error=%s", placement_id, error)
        return None
    if result.digest_answered and result.digest_answered != placement.desired.digest:
        # It was switched between observation and probe; the next observation tells.
        return result
    _write_golden(placement, result)
    return result


def _write_golden(placement: Placement, result: goldens.GoldenResult) -> None:
    health = Health.SERVING if result.passed else Health.WRONG_OUTPUT
    reason = "" if result.passed else f"{result.mismatches} of {result.n} golden rows are answered wrongly."
    with transaction.atomic():
        written = Placement.objects.filter(pk=placement.pk, desired=placement.desired).update(
            golden_at=Now(), health=health, health_reason=reason
        )
        if not written or health == placement.health:
            return
        Endpoint.objects.filter(pk=placement.endpoint_id).update(version=F("version") + 1)
        record(
            action="placement.golden",
            target=Target("placement", f"{placement.endpoint.slug}/{placement.host.name}"),
            actor=OBSERVER,
            outcome="success" if result.passed else "failed",
            data={"rows": result.n, "mismatches": result.mismatches, "digest": placement.desired.digest},
        )
