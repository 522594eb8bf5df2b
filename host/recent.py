"""What a version answered last to live requests: a bounded memory of rows, from which a reference for drift is made
where no training data is known. It is lost with the process, and probes are not in it."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from host.version import Answer

MOST_ROWS = 2000


@dataclass(frozen=True)
class _Kept:
    at: datetime
    rows: int
    inputs: dict[str, Sequence[Any]]
    outputs: list[dict[str, Any]]


class Recent:
    """The last requests of at most MOST_ROWS rows together; a request of more rows is not kept."""

    def __init__(self) -> None:
        self._kept: deque[_Kept] = deque()
        self._rows = 0
        self._lock = threading.Lock()

    def add(self, columns: dict[str, Sequence[Any]], answer: Answer) -> None:
        rows = len(next(iter(columns.values())))
        if rows > MOST_ROWS:
            return
        with self._lock:
            self._kept.append(_Kept(datetime.now(UTC), rows, columns, answer.outputs))
            self._rows += rows
            while self._rows > MOST_ROWS:
                self._rows -= self._kept.popleft().rows

    def to_json(self) -> dict[str, Any]:
        """`rows` of inputs as sent and outputs as answered, by column, oldest first; when the first and last were."""
        with self._lock:
            kept = [one for one in self._kept if _is_finite(one)]
        inputs: dict[str, list[Any]] = {}
        outputs: dict[str, list[Any]] = {}
        for one in kept:
            for name, values in one.inputs.items():
                inputs.setdefault(name, []).extend(values)
            for output in one.outputs:
                outputs.setdefault(output["name"], []).extend(output["data"])
        return {
            "rows": sum(one.rows for one in kept),
            "since": kept[0].at.isoformat() if kept else None,
            "until": kept[-1].at.isoformat() if kept else None,
            "inputs": inputs,
            "outputs": outputs,
        }


def _is_finite(one: _Kept) -> bool:
    """Whether the answer can be written as JSON: one that could not was none that the asker got."""
    numbers = (value for output in one.outputs for value in output["data"] if isinstance(value, float))
    return all(map(math.isfinite, numbers))
