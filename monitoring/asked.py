"""What a rule is asked about, rows of one version in one window, and what it answers, with its sentence."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitoring.drift.profile import Profile
from monitoring.drift.sketch import Sketch
from monitoring.models import Answer

ANSWERS = {"drift": Answer.BREACH, "no drift": Answer.OK, "not enough data": Answer.NOT_ENOUGH}


@dataclass(frozen=True)
class Answered:
    """One answer of one rule: for the version as a whole, or for one host of it (by name)."""

    answer: str
    value: float | None
    limit: float | None
    rows: int
    sentence: str
    host: str | None = None
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """What a rule is asked about: the rows of version `version` in one window, and what they are held against.

    `promised` is the accuracy that the version was released with, on `promised_rows` rows. `latencies` are the rows of
    the reference (latency_ms, host) and `latencies_of` says which those are. `holdout` has columns of the version's
    holdout set and `holdout_id` its SHA-256; `errors_before` are the errors (1) of its good windows, oldest first.
    `false_alarms` says how many the rule raises on what it holds the window against, and `tried` what that rests on.
    `signed` has the datatype of each input that the version's signature asks for. `weights` say what the inputs matter
    that are held against the holdout set, where that is known.
    Where `sketches` are given, of all inputs of a fleet's window by their names, `table` holds no inputs: `read` gives
    the rows of some and `sample` some rows of them, drawn at random.
    """

    version: str
    table: pa.Table
    min_rows: int
    params: Mapping[str, float]
    promised: float | None = None
    promised_rows: int | None = None
    inputs: Profile | None = None
    outputs: Profile | None = None
    latencies: pa.Table | None = None
    latencies_of: str = ""
    signed: Mapping[str, str] = field(default_factory=dict)
    holdout: Mapping[str, np.ndarray] = field(default_factory=dict)
    holdout_id: str = ""
    weights: Mapping[str, float] = field(default_factory=dict)
    errors_before: np.ndarray = field(default_factory=lambda: np.zeros(0))
    false_alarms: str = ""
    tried: Mapping[str, Any] = field(default_factory=dict)
    sketches: Mapping[str, Sketch | None] | None = None
    read: Callable[[Sequence[str]], pa.Table] | None = None
    sample: Callable[[Sequence[str]], pa.Table] | None = None

    @property
    def hosts(self) -> list[str]:
        """The names of the hosts that answered."""
        return sorted(name for name in pc.unique(self.table.column("host")).to_pylist() if name)

    def of_host(self, host: str) -> pa.Table:
        return self.table.filter(pc.equal(self.table.column("host"), host))


def nothing_known(asked: Asked, sentence: str) -> Answered:
    """The answer where there is nothing to hold the window against."""
    return Answered(Answer.NOT_ENOUGH, None, None, len(asked.table), sentence)


def on_host(host: str | None) -> str:
    """ " on <name>", within a sentence; empty for the version as a whole."""
    return f" on {host}" if host else ""
