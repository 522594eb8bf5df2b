"""What a host says of a shadow: a version that is asked live requests beside the default, and answers nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

Counts = tuple[int, ...]


def _sum(one: Sequence[int], other: Sequence[int]) -> Counts:
    return tuple(a + b for a, b in zip(one, other, strict=True)) if one and other else tuple(one or other)


@dataclass(frozen=True)
class Mirrored:
    """Figures of pairs of answers to the same rows, which add up over hosts.

    Requests: `taken` fell into the sample, `dropped` of them found no room, `requests` were compared, `failures` the
    shadow failed. Of `rows` compared, `differing` got another output. `moved_*`: how far the score moved, as sums, with
    `moved_counts` below each of `moved_bounds` and above. `*_scores`: twenty equal bins from 0 to 1. `*_ms`: summed
    milliseconds, with counts below each of `latency_bounds` (milliseconds) and above.
    """

    taken: int = 0
    dropped: int = 0
    requests: int = 0
    rows: int = 0
    differing: int = 0
    failures: int = 0
    moved_sum: float = 0.0
    moved_squares: float = 0.0
    moved_signed: float = 0.0
    moved_largest: float = 0.0
    live_ms: float = 0.0
    shadow_ms: float = 0.0
    moved_counts: Counts = ()
    live_scores: Counts = ()
    shadow_scores: Counts = ()
    live_latency: Counts = ()
    shadow_latency: Counts = ()
    moved_bounds: tuple[float, ...] = ()
    latency_bounds: tuple[float, ...] = ()

    def plus(self, other: Mirrored) -> Mirrored:
        """The figures of both."""
        mine, theirs = asdict(self), asdict(other)
        joined: dict[str, Any] = {}
        for name, value in mine.items():
            if name.endswith("_bounds"):
                joined[name] = value or theirs[name]
            elif name == "moved_largest":
                joined[name] = max(value, theirs[name])
            else:
                joined[name] = _sum(value, theirs[name]) if isinstance(value, tuple) else value + theirs[name]
        return Mirrored(**joined)

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Mirrored:
        """From JSON that `facts` gave."""
        read: dict[str, Any] = {}
        for name, value in facts.items():
            read[name] = tuple(value) if isinstance(value, list) else value
        return cls(**read)

    @property
    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Shadow:
    """A shadow on a host: `digest` beside the default `against`, `percent` of the requests, under `fence`. It ends in
    `ends_in` seconds unless it is renewed; `ended` says why it has. `id` is another for each that counts from
    nothing."""

    id: str
    version: str
    digest: str
    against: str
    percent: int
    fence: int
    running: bool
    ends_in: float
    ended: str
    failure: str
    figures: Mirrored


def read_shadow(value: Mapping[str, Any]) -> Shadow:
    """From the bundled host's state. Raises KeyError, TypeError, ValueError."""
    moved, latency, scores = value["moved"], value["latency_ms"], value["scores"]
    return Shadow(
        id=str(value["id"]),
        version=str(value["version"]),
        digest=str(value["digest"]),
        against=str(value["against"]["digest"]),
        percent=int(value["percent"]),
        fence=int(value["fence"]),
        running=bool(value["running"]),
        ends_in=float(value["ends_in"]),
        ended=str(value["ended"]),
        failure=str(value["failure"]),
        figures=Mirrored(
            taken=int(value["taken"]),
            dropped=int(value["dropped"]),
            requests=int(value["requests"]),
            rows=int(value["rows"]),
            differing=int(value["differing_rows"]),
            failures=int(value["failures"]),
            moved_sum=float(moved["sum"]),
            moved_squares=float(moved["squares"]),
            moved_signed=float(moved["signed"]),
            moved_largest=float(moved["largest"]),
            live_ms=float(latency["live"]["sum"]),
            shadow_ms=float(latency["shadow"]["sum"]),
            moved_counts=tuple(map(int, moved["counts"])),
            live_scores=tuple(map(int, scores["live"])),
            shadow_scores=tuple(map(int, scores["shadow"])),
            live_latency=tuple(map(int, latency["live"]["counts"])),
            shadow_latency=tuple(map(int, latency["shadow"]["counts"])),
            moved_bounds=tuple(map(float, moved["bounds"])),
            latency_bounds=tuple(map(float, latency["bounds"])),
        ),
    )
