"""The interface of a serving engine's driver: what Lastgood can ask of a host, and the ways in which that can fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from registry.serving.mirrored import Shadow

LOOPBACK = ("127.0.0.0/8", "::1/128")


@dataclass(frozen=True)
class HostAddress:
    """Where a host listens: a base URL without a path, and the bearer token of its control side.

    `networks` are those in which each address of its name must lie when a connection is made. `options` is what the
    engine's driver needs beside: its `options` says what.
    """

    url: str
    token: str
    networks: tuple[str, ...] = LOOPBACK
    options: Mapping[str, str] = field(default_factory=dict, hash=False)

    def beside(self, option: str) -> HostAddress:
        """The same host at the address that an option names, or at this one where the option is not given."""
        url = self.options.get(option)
        return replace(self, url=url) if url else self

    def __repr__(self) -> str:
        return f"HostAddress({self.url!r})"


@dataclass(frozen=True)
class Source:
    """An address at which a host can fetch a file for a while; `token` goes with the request, "" for none."""

    url: str = field(repr=False)
    token: str = field(default="", repr=False)


@dataclass(frozen=True)
class VersionState:
    """A version as its host shows it. `state` is staged, loading, ready, draining or failed.

    `digest` is what was staged, `loaded_digest` what reads back from memory (None when not loaded, or when the engine
    can't read back). `requests` and `failures` count live requests since the host's boot as the engine counts them;
    probes are left out where the engine can tell them apart.
    """

    version: str
    digest: str
    state: str
    loaded_digest: str | None
    in_flight: int
    requests: int
    failures: int
    memory_bytes: int | None
    reason: str = ""


@dataclass(frozen=True)
class Share:
    """A version that takes `percent` of the unversioned requests beside the default."""

    version: str
    digest: str
    percent: int


@dataclass(frozen=True)
class ModelObservation:
    """A model on a host: what answers unversioned requests, the highest fence seen (0: none), and all versions; whether
    it is in service, which version takes a share of its requests, and the last shadow of its default."""

    default_version: str | None
    default_digest: str | None
    fence: int
    versions: Mapping[str, VersionState]
    in_service: bool = True
    share: Share | None = None
    shadow: Shadow | None = None


@dataclass(frozen=True)
class Observation:
    """What a host says of itself. `observed_at` is our clock, UTC, before the call; memory is in bytes. `fetches`: its
    own settings let it fetch files itself from somewhere."""

    host: str
    boot_id: str
    observed_at: datetime
    models: Mapping[str, ModelObservation]
    memory_total: int
    memory_free: int
    device: str
    fetches: bool = False


@dataclass(frozen=True)
class Prediction:
    """An answer: the version and digest that gave it, outputs by name, and the call's round trip in milliseconds."""

    version: str
    digest: str
    outputs: Mapping[str, list[Any]]
    latency_ms: float


@dataclass(frozen=True)
class Capabilities:
    """What an engine can do. `lacking` says what follows where it can't. `warm_undo`: the version that a switch leaves
    can be in memory beside the one that serves; `keeps_at_switch`: it stays there, and needs no loading again.
    `counts_by_version`: unversioned requests are counted for the version that answered them; `probes_apart`: those of
    Lastgood's own are not counted among them."""

    warm_switch: bool
    versioned_inference: bool
    digest_read_back: bool
    fencing: bool
    warm_undo: bool
    drain: bool = False
    weighted_traffic: bool = False
    shadow: bool = False
    keeps_at_switch: bool = True
    counts_by_version: bool = False
    probes_apart: bool = False

    def lacking(self) -> list[str]:
        """For each thing that the engine can't do and every plan needs, a sentence on what is done instead."""
        said = {name: sentence for name, sentence in INSTEAD.items() if not getattr(self, name)}
        if "warm_undo" in said:
            said.pop("keeps_at_switch", None)
        return list(said.values())


INSTEAD = {
    "warm_switch": "The switch loads the version again and takes as long.",
    "versioned_inference": "Only what serves can be asked: golden tests follow the switch.",
    "digest_read_back": "Its memory can't be read back: disk and golden tests stand for it.",
    "fencing": "It knows no fence: an unanswered call is waited out.",
    "warm_undo": "It drops the old version: undoing loads it again.",
    "keeps_at_switch": "It drops the old version, which is then loaded again for the undo.",
}
"""Short enough that all of them fit into one answer of a preflight."""


@dataclass(frozen=True)
class Act:
    """An act on a host: its name, the model, the version by number and digest, the fence, and a share's percent."""

    name: str
    model: str
    version: str
    digest: str
    fence: int
    percent: int = 0


@dataclass(frozen=True)
class Call:
    """One call, for people. `method` is an HTTP method, or `write` for files put into an engine's repository."""

    method: str
    url: str
    body: str = ""


@dataclass(frozen=True)
class Goal:
    """A version as command lines name it: model, number, digest, the files as (SHA-256, place in the store), and the
    manifest's own file beside the runbook."""

    model: str
    number: int
    digest: str
    files: Sequence[tuple[str, str]]
    manifest: str


POST = "curl -fsS -X POST"


class ServingError(Exception):
    """A call to a host did not do what was asked. The message is a sentence. As such: the answer makes no sense."""


class HostUnreachable(ServingError):
    """No connection could be made: the call has surely not been executed."""


class OutcomeUnknown(ServingError):
    """The call was sent and no answer that can be relied on came back: observe before doing anything else."""


class Refused(ServingError):
    """The host answered that it will not; the call has not been executed. `type` is the problem's type."""

    def __init__(self, status: int, type_: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.type = type_
        self.detail = detail


class StaleFence(Refused):
    """The host has seen a higher fence: somebody else holds the lease now."""


class ServingDriver(Protocol):
    """One engine's protocol. Drivers keep no state about hosts and may be called from any thread.

    Every method raises HostUnreachable, OutcomeUnknown, Refused or ServingError, and never waits without a limit.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def options(self) -> Mapping[str, str]:
        """Name -> what it is, of what a host of this engine is registered with beside its address."""
        ...

    def observe(self, address: HostAddress) -> Observation:
        """Read what the host holds and serves. Changes nothing."""
        ...

    def stage(self, address: HostAddress, model: str, version: str, manifest: bytes, blobs: Mapping[str, Path]) -> None:
        """Bring a version's files (by SHA-256) and manifest onto the host. Idempotent."""
        ...

    def load(self, address: HostAddress, model: str, version: str) -> None:
        """Bring a staged version into memory; returns when it is warm. Idempotent."""
        ...

    def infer(
        self,
        address: HostAddress,
        model: str,
        inputs: Mapping[str, Sequence[Any]],
        version: str | None = None,
        request_id: str = "",
    ) -> Prediction:
        """Ask for predictions of rows given by column, as a probe: the host neither logs nor counts it as live."""
        ...

    def switch(self, address: HostAddress, model: str, version: str, digest: str, fence: int) -> None:
        """Make a loaded version answer unversioned requests. Idempotent for one fence; a lower one is StaleFence."""
        ...

    def unload(self, address: HostAddress, model: str, version: str) -> None:
        """Drain a version and take it out of memory. Idempotent; refused for the default."""
        ...

    def calls(self, url: str, options: Mapping[str, str], act: Act) -> list[Call]:
        """What would be called for an act that is not true yet: nothing is. Raises LookupError for an act that the
        engine does not know."""
        ...

    def by_hand(self, url: str, options: Mapping[str, str], goal: Goal, fence: int) -> list[str]:
        """Lines for a shell with `curl` and `jq` that bring a host to a version without Lastgood, files in place."""
        ...

    def metrics(self, address: HostAddress) -> dict[str, float]:
        """The host's metrics: sample name with its labels, as exposed -> value."""
        ...


@runtime_checkable
class FetchingDriver(ServingDriver, Protocol):
    """A driver whose hosts can fetch files themselves."""

    def fetch(self, address: HostAddress, sha256: str, size: int, sources: Callable[[], Sequence[Source]]) -> bool:
        """Have the host fetch a file of so many bytes itself, and wait until it has all of it. False where it can't be
        had in that way: what has come stays, and `stage` sends the rest. Idempotent; `sources` is called for addresses
        that are valid now, each time that the host needs some."""
        ...


class SteeringDriver(ServingDriver, Protocol):
    """A driver whose capabilities name `drain`, `weighted_traffic` and `shadow`: its hosts steer their own traffic."""

    def set_service(self, address: HostAddress, model: str, serving: bool, fence: int) -> None:
        """Take a model out of service or bring it back. Idempotent for one fence; a lower one is StaleFence."""
        ...

    def share(self, address: HostAddress, model: str, version: str, digest: str, percent: int, fence: int) -> None:
        """Let a loaded version take `percent` (1 to 99) of the unversioned requests, until the next switch."""
        ...

    def mirror(
        self,
        address: HostAddress,
        model: str,
        version: str,
        digest: str,
        percent: int,
        seconds: float,
        tolerance: float,
        fence: int,
    ) -> None:
        """Ask a loaded version `percent` of the requests that the default answers as well, for `seconds` from now
        unless it is called again. It answers nobody. Idempotent for one fence."""
        ...

    def end_mirror(self, address: HostAddress, model: str, fence: int) -> None:
        """End that, and bar it under this fence and lower ones. Idempotent."""
        ...
