"""Shadows: a loaded version that is asked the live requests of a model's default once more, and answers nobody.

The answering path does one thing for it: it puts an answered request into a queue that has a bound, or counts that
there was no room. A thread of its own asks the shadow and compares. It rests four times as long as it computes, so that
it takes at most a fifth of one core from the answering, however slow the version is.
"""

from __future__ import annotations

import hashlib
import logging
import queue
import sys
import threading
import time
import uuid
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from host.metrics import BUCKETS
from host.problems import Problem
from host.store import Target
from host.version import Answer, check_columns

if TYPE_CHECKING:
    from host.fleet import Slot

log = logging.getLogger("lastgood.host")
MOST_WAITING = 64
"""Requests that wait to be compared."""
MOST_ROWS = 512
"""A request of more rows is not mirrored: it would hold the interpreter from the answering for too long."""
REST = 4.0
LONGEST_REST = 5.0
SWITCH_INTERVAL = 0.0005
"""Seconds after which the interpreter takes itself from the shadow for a request that comes meanwhile."""
MOVED = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
"""Upper bounds of the counts of how far a score moves; the last count is what lies above."""
BINS = 20
LATENCIES = tuple(1000 * bound for bound in BUCKETS)


@dataclass
class Tally:
    """What was compared: pairs of answers to the same rows. Scores move by |shadow - default|; of a regression, which
    has no score, its output does."""

    requests: int = 0
    rows: int = 0
    differing: int = 0
    failures: int = 0
    failure: str = ""
    total: float = 0.0
    squares: float = 0.0
    signed: float = 0.0
    largest: float = 0.0
    moved: list[int] = field(default_factory=lambda: [0] * (len(MOVED) + 1))
    scores: dict[str, list[int]] = field(default_factory=lambda: {"live": [0] * BINS, "shadow": [0] * BINS})
    spent: dict[str, float] = field(default_factory=lambda: {"live": 0.0, "shadow": 0.0})
    latency: dict[str, list[int]] = field(
        default_factory=lambda: {name: [0] * (len(LATENCIES) + 1) for name in ("live", "shadow")}
    )

    def add(self, live: Answer, shadow: Answer, tolerance: float) -> None:
        """Count one pair. Raises ValueError where the two are not of one kind."""
        if (live.score is None) != (shadow.score is None) or len(live.output) != len(shadow.output):
            raise ValueError("its answers are of another kind than the default's")
        if live.score is None or shadow.score is None:
            change = shadow.output.astype(np.float64) - live.output.astype(np.float64)
            self.differing += int((np.abs(change) > tolerance).sum())
        else:
            change = shadow.score.astype(np.float64) - live.score.astype(np.float64)
            self.differing += int((live.output != shadow.output).sum())
            for name, score in (("live", live.score), ("shadow", shadow.score)):
                self._count(self.scores[name], np.minimum((score * BINS).astype(int), BINS - 1))
        size = np.abs(change)
        self.total += float(size.sum())
        self.squares += float((size**2).sum())
        self.signed += float(change.sum())
        self.largest = max(self.largest, float(size.max()))
        self._count(self.moved, np.searchsorted(MOVED, size))
        for name, took in (("live", live.latency_ms), ("shadow", shadow.latency_ms)):
            self.spent[name] += took
            self.latency[name][bisect_left(LATENCIES, took)] += 1
        self.requests += 1
        self.rows += len(size)

    @staticmethod
    def _count(counts: list[int], indexes: Any) -> None:
        for index, found in zip(*np.unique(indexes, return_counts=True), strict=True):
            counts[index] += int(found)

    def fail(self, why: str) -> None:
        self.failures += 1
        self.failure = why[:200]

    def to_json(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "rows": self.rows,
            "differing_rows": self.differing,
            "failures": self.failures,
            "failure": self.failure,
            "moved": {
                "sum": self.total,
                "squares": self.squares,
                "signed": self.signed,
                "largest": self.largest,
                "bounds": list(MOVED),
                "counts": list(self.moved),
            },
            "scores": {name: list(counts) for name, counts in self.scores.items()},
            "latency_ms": {
                "bounds": list(LATENCIES),
                **{name: {"sum": self.spent[name], "counts": list(self.latency[name])} for name in self.spent},
            },
        }


@dataclass
class Session:
    """One shadow from its beginning to its end; the figures stay readable after that."""

    slot: Slot
    target: Target
    against: Target
    tolerance: float
    fence: int
    percent: int
    until: float
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    ended: str = ""
    taken: int = 0
    dropped: int = 0
    tally: Tally = field(default_factory=Tally)

    @property
    def left(self) -> float:
        """Seconds until it ends by itself; 0 when it has ended."""
        return 0.0 if self.ended else max(0.0, self.until - time.monotonic())

    def is_for(self, target: Target, against: Target, tolerance: float, fence: int) -> bool:
        return (self.target, self.against, self.tolerance, self.fence) == (target, against, tolerance, fence)

    def takes(self, id_: str) -> bool:
        """The same id falls the same way each time, and otherwise than for a share."""
        part = int.from_bytes(hashlib.sha256(f"shadow:{id_}".encode()).digest()[:8]) % 100
        return part < self.percent

    def compare(self, request: dict[str, Any], answer: Answer) -> None:
        """Ask the shadow what the default has answered already."""
        loaded = self.slot.loaded
        if loaded is None or self.slot.state != "ready":
            self.dropped += 1
            return
        try:
            mine = loaded.answer(check_columns(loaded.signature, request))
            self.tally.add(answer, mine, self.tolerance)
        except Problem as problem:
            self.tally.fail(problem.detail)
        except Exception as error:
            # Whatever a version does wrong is a finding about it, and the next request is compared as well.
            self.tally.fail(f"{type(error).__name__}: {error}")

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            **self.target.to_json(),
            "against": self.against.to_json(),
            "percent": self.percent,
            "tolerance": self.tolerance,
            "fence": self.fence,
            "running": self.left > 0,
            "ends_in": round(self.left, 3),
            "ended": self.ended or ("" if self.left else "nobody renewed it"),
            "taken": self.taken,
            "dropped": self.dropped,
            **self.tally.to_json(),
        }


class Shadows:
    """The shadows of a host's models, one each. Everything but the comparing is done on the event loop's thread."""

    def __init__(self) -> None:
        self.sessions: dict[str, Session] = {}
        self._queue: queue.SimpleQueue[tuple[Session, dict[str, Any], Answer] | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def put(self, model: str, session: Session) -> None:
        self.sessions[model] = session
        if self._thread is None:
            self._thread = threading.Thread(target=self._compare_forever, name="shadow", daemon=True)
            self._thread.start()

    def end(self, model: str, why: str) -> None:
        """End the model's shadow, if one goes on."""
        session = self.sessions.get(model)
        if session is not None and session.left:
            session.ended = why

    def end_of(self, model: str, version: str, why: str) -> None:
        """The same, if it is this version's."""
        session = self.sessions.get(model)
        if session is not None and session.target.version == version:
            self.end(model, why)

    def offer(self, model: str, digest: str, id_: str, request: dict[str, Any], answer: Answer) -> None:
        """Mirror a live request that the version `digest` has answered, if it falls into the sample and there is room.
        Never waits."""
        session = self.sessions.get(model)
        if session is None or not session.left or session.against.digest != digest or not session.takes(id_):
            return
        session.taken += 1
        if len(answer.output) > MOST_ROWS or self._queue.qsize() >= MOST_WAITING:
            session.dropped += 1
        else:
            self._queue.put((session, request, answer))

    def close(self) -> None:
        self._closing.set()
        self._queue.put(None)

    def _compare_forever(self) -> None:
        usual = sys.getswitchinterval()
        while (item := self._queue.get()) is not None and not self._closing.is_set():
            session, request, answer = item
            if not session.left:
                session.dropped += 1
                continue
            began = time.perf_counter()
            sys.setswitchinterval(SWITCH_INTERVAL)
            try:
                session.compare(request, answer)
            finally:
                sys.setswitchinterval(usual)
            self._closing.wait(min(LONGEST_REST, REST * (time.perf_counter() - began)))
