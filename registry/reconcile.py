"""What each host serves, read back and compared with what it should serve. Observing never acts on a host.

A host that serves something else is not counted as serving; converging it is an ordinary run, asked for by name.
"""

import logging
from typing import Any

from registry.actions.observed import GoldenAnswer, Seen, claim_golden, claim_observation, write_golden, write_seen
from registry.golden import golden_of, run_golden
from registry.models import Health, Placement
from registry.sealing import SealBroken
from registry.serving.allow import AddressRefused
from registry.serving.base import (
    HostUnreachable,
    ModelObservation,
    Observation,
    OutcomeUnknown,
    Refused,
    ServingError,
    VersionState,
)
from registry.serving_access import address_of, driver_of
from registry.store import ArtifactDamaged, ArtifactMissing, ArtifactUnavailable

logger = logging.getLogger(__name__)

NOT_READY_STATUS = 503


def observe_placement(placement_id: int) -> Seen | None:
    """Observe one placement and write down what was seen. None when another worker has just done it."""
    if not claim_observation(placement_id=placement_id):
        return None
    placement = Placement.objects.select_related("endpoint__model", "host", "desired").get(pk=placement_id)
    seen = _look(placement)
    write_seen(placement=placement, seen=seen)
    return seen


def _look(placement: Placement) -> Seen:
    try:
        driver, address = driver_of(placement.host), address_of(placement.host)
        read_back = driver.capabilities.digest_read_back
        return judge(placement, driver.observe(address), read_back=read_back)
    except (HostUnreachable, OutcomeUnknown) as error:
        return Seen(Health.UNREACHABLE, str(error)[:500])
    except (ServingError, AddressRefused, SealBroken, LookupError) as error:
        return Seen(Health.UNKNOWN, str(error)[:500])


def judge(placement: Placement, observation: Observation, *, read_back: bool = True) -> Seen:
    """Compare what a host said of its memory with what the placement should serve.

    Where the engine can read back, the digest is the one computed from memory, never the one that was claimed. That it
    is out of service, or that another version takes a share of its requests, stands in the detail as `left`: a run's
    doing while one is active, and what one has left behind otherwise.
    """
    model = observation.models.get(placement.endpoint.model.slug)
    facts: dict[str, Any] = {"boot_id": observation.boot_id, "detail": _detail(observation, model)}
    desired = placement.desired
    if model is None or model.default_version is None:
        busy = model is not None and any(state.state == "loading" for state in model.versions.values())
        said = "Nothing was released to it yet." if desired is None else "It has no default version."
        return Seen(Health.NOT_READY, said, empty=not busy, **facts)
    state = model.versions.get(model.default_version)
    digest = _digest(model, state, read_back)
    facts |= {"version": model.default_version, "digest": digest, "fence": model.fence}
    foreign = not read_back and not model.default_version.isdecimal()
    if not foreign and (state is None or state.state != "ready"):
        return Seen(
            Health.NOT_READY, f"Version {model.default_version} is {state.state if state else 'gone'}.", **facts
        )
    if not model.in_service:
        return Seen(Health.NOT_READY, f"Version {model.default_version} is loaded, out of service.", **facts)
    if foreign:
        said = "It serves something that Lastgood did not bring to it."
        return Seen(Health.WRONG_VERSION, said, **facts)
    if desired is None:
        said = f"It serves version {model.default_version}, which was not released to it."
        return Seen(Health.WRONG_VERSION, said, **facts)
    if digest == desired.digest:
        share = model.share
        said = f"{share.percent} % of its requests go to version {share.version}." if share is not None else ""
        return Seen(Health.SERVING, said, **facts)
    if model.default_version == str(desired.number):
        said = f"It says version {desired.number}, but other content is loaded ({digest[:12] or 'nothing readable'})."
    else:
        said = f"It serves version {model.default_version} instead of version {desired.number}."
    return Seen(Health.WRONG_VERSION, said, **facts)


def _digest(model: ModelObservation, state: VersionState | None, read_back: bool) -> str:
    if not read_back:
        return model.default_digest or ""
    return (state.loaded_digest or "") if state is not None else ""


def _detail(observation: Observation, model: ModelObservation | None) -> dict[str, Any]:
    detail: dict[str, Any] = {
        "boot_id": observation.boot_id,
        "device": observation.device,
        "memory_total": observation.memory_total,
        "memory_free": observation.memory_free,
    }
    if model is not None:
        if not model.in_service or model.share is not None:
            detail["left"] = "share" if model.in_service else "out"
        detail["versions"] = {
            name: {
                "state": state.state,
                "digest": state.loaded_digest or state.digest,
                "bytes": state.memory_bytes,
                "requests": state.requests,
            }
            for name, state in model.versions.items()
        }
    return detail


def golden_probe(placement_id: int) -> GoldenAnswer | None:
    """Ask whatever answers unversioned requests for the golden outputs of what should be served.

    Silent corruption and bad hardware show in no other way: the digest of what is in memory can be right while the
    answers are not. None when another worker has just done it, or it says nothing (host away, no golden test).
    """
    if not claim_golden(placement_id=placement_id):
        return None
    placement = Placement.objects.select_related("endpoint__model", "host", "desired").get(pk=placement_id)
    if placement.desired is None or placement.health not in (Health.SERVING, Health.WRONG_OUTPUT):
        return None
    answer = _ask(placement)
    if answer is not None:
        write_golden(placement=placement, answer=answer)
    return answer


def _ask(placement: Placement) -> GoldenAnswer | None:
    assert placement.desired is not None
    try:
        golden = golden_of(placement.desired)
        if golden is None:
            return None
        driver, address = driver_of(placement.host), address_of(placement.host)
        result = run_golden(driver, address, placement.endpoint.model.slug, None, golden)
    except Refused as refusal:
        if refusal.status == NOT_READY_STATUS:
            return None
        return GoldenAnswer(False, 0, 0, "", f"It refuses the golden test: {refusal.detail}")
    except (
        ServingError, AddressRefused, SealBroken, ArtifactMissing, ArtifactDamaged, ArtifactUnavailable, LookupError
    ) as error:  # fmt: skip
        logger.warning("registry.golden.failed placement=%s error=%s", placement.pk, error)
        return None
    reason = "" if result.passed else f"{result.mismatches} of {result.n} golden rows are answered wrongly."
    return GoldenAnswer(result.passed, result.n, result.mismatches, result.digest_answered, reason)
