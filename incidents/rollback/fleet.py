"""The engine's hands: a host with its driver, and the few questions asked of it again and again."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from incidents.rollback.memory import keep_taken, taken_by
from registry import serving_access
from registry.actions.observed import time_load
from registry.golden import BATCH_ROWS, GoldenResult, run_golden
from registry.models import Endpoint, Host, Version
from registry.offers import have_fetched
from registry.sealing import SealBroken
from registry.serving.allow import AddressRefused
from registry.serving.base import (
    HostAddress,
    HostUnreachable,
    ModelObservation,
    Observation,
    OutcomeUnknown,
    Prediction,
    Refused,
    ServingDriver,
    ServingError,
    SteeringDriver,
    VersionState,
)
from registry.store import ArtifactDamaged, ArtifactMissing, ArtifactUnavailable

NOTHING = ModelObservation(default_version=None, default_digest=None, fence=0, versions={})


@dataclass(frozen=True)
class Remote:
    """One host of one endpoint, ready to be called. Every method raises registry.serving.base.ServingError."""

    host: Host
    driver: ServingDriver
    address: HostAddress
    model: str
    asked: list[str] = field(default_factory=list, compare=False)
    """A line for each request that was asked of a version, or of "" for what answers: some engines count them."""

    def observe(self) -> tuple[Observation, ModelObservation]:
        seen = self.driver.observe(self.address)
        return seen, seen.models.get(self.model, NOTHING)

    def look(self) -> ModelObservation:
        return self.observe()[1]

    def stage(self, version: Version) -> None:
        """The host fetches the files itself where it can; what it has not then is sent. Whoever takes a file checks its
        digest: what the store lacks, or has damaged, is refused."""
        try:
            have_fetched(self.driver, self.address, version)
            blobs = serving_access.blobs_of(version)
            self.driver.stage(self.address, self.model, str(version.number), bytes(version.manifest), blobs)
        except ArtifactUnavailable as error:
            # The store does not answer; it is tried again as often as a call whose answer was lost.
            raise OutcomeUnknown(str(error)) from error
        except (ArtifactMissing, ArtifactDamaged) as error:
            raise Refused(422, "artifact-refused", str(error)) from error

    def load(self, version: Version) -> None:
        """Keeps with the host how long it took, where it succeeded, and with the version how much memory."""
        before, begun = self._glance(), time.monotonic()
        self.driver.load(self.address, self.model, str(version.number))
        time_load(model=self.model, host_id=self.host.pk, seconds=time.monotonic() - begun)
        after = self._glance() if before is not None and before.memory_total > 0 else None
        if before is not None and after is not None:
            taken = taken_by(before, after, self.model, version)
            if taken is not None:
                keep_taken(version=version, host=self.host, device=after.device, taken=taken)

    def _glance(self) -> Observation | None:
        """What the host says of itself; None where it says nothing, which keeps nobody from loading."""
        try:
            return self.driver.observe(self.address)
        except ServingError:
            return None

    def switch(self, version: Version, fence: int) -> None:
        self.driver.switch(self.address, self.model, str(version.number), version.digest, fence)

    def set_service(self, serving: bool, fence: int) -> None:
        self._steering().set_service(self.address, self.model, serving, fence)

    def share(self, version: Version, percent: int, fence: int) -> None:
        self._steering().share(self.address, self.model, str(version.number), version.digest, percent, fence)

    def mirror(self, version: Version, percent: int, seconds: float, tolerance: float, fence: int) -> None:
        number = str(version.number)
        driver = self._steering()
        driver.mirror(self.address, self.model, number, version.digest, percent, seconds, tolerance, fence)

    def end_mirror(self, fence: int) -> None:
        self._steering().end_mirror(self.address, self.model, fence)

    def _steering(self) -> SteeringDriver:
        if not self.driver.capabilities.drain:
            raise Refused(501, "cannot-steer", f"The engine of {self.host.name} can't be told where requests go.")
        return cast(SteeringDriver, self.driver)

    def unload(self, version: Version) -> None:
        self.driver.unload(self.address, self.model, str(version.number))

    def infer(self, inputs: Mapping[str, Sequence[Any]], version: Version | None = None) -> Prediction:
        number = str(version.number) if version is not None else None
        self.asked.append(number or "")
        return self.driver.infer(self.address, self.model, inputs, version=number)

    def golden(self, version: Version | None, golden: Mapping[str, Any]) -> GoldenResult:
        """The golden test asked of a version, or of whatever answers ordinary requests."""
        number = str(version.number) if version is not None else None
        rows = len(next(iter(golden["inputs"].values())))
        self.asked.extend([number or ""] * -(-rows // BATCH_ROWS))
        return run_golden(self.driver, self.address, self.model, number, golden)


@dataclass(frozen=True)
class Known:
    """What a worker keeps of a run's hosts while it holds the lease, by the host's key: how they are reached, for the
    length of a wave, and what they were last seen to hold."""

    remotes: dict[int, Remote] = field(default_factory=dict)
    seen: dict[int, tuple[float, ModelObservation]] = field(default_factory=dict)


def reach(host: Host, endpoint: Endpoint) -> Remote:
    """Raises HostUnreachable when the host may not be called: an address outside the allowed networks, a token that
    can't be unsealed."""
    try:
        return Remote(host, serving_access.driver_of(host), serving_access.address_of(host), endpoint.model.slug)
    except (AddressRefused, SealBroken) as error:
        raise HostUnreachable(str(error)) from error


def version_on(seen: ModelObservation, version: Version) -> VersionState | None:
    """The version as the host holds it, found by digest: a number may stand for other weights on another host."""
    held = seen.versions.get(str(version.number))
    return held if held is not None and held.digest == version.digest else None


def is_staged(seen: ModelObservation, version: Version) -> bool:
    return version_on(seen, version) is not None


def is_loaded(seen: ModelObservation, version: Version, *, read_back: bool = True) -> bool:
    """Ready, and what reads back from memory is the version's digest (where the engine can read back)."""
    held = version_on(seen, version)
    return held is not None and held.state == "ready" and (held.loaded_digest == version.digest or not read_back)


def serves(seen: ModelObservation, version: Version, *, read_back: bool = True) -> bool:
    """It is the default, in service, and what is in memory is it."""
    return seen.in_service and seen.default_digest == version.digest and is_loaded(seen, version, read_back=read_back)


def serving_digest(seen: ModelObservation) -> str:
    """The digest read back from the memory of the default version; "" when nothing is served."""
    if seen.default_version is None:
        return ""
    held = seen.versions.get(seen.default_version)
    return (held.loaded_digest if held is not None else None) or seen.default_digest or ""
