"""Training-serving skew: what a version's declared preprocessing makes of inputs, and what a host really made of them.

The host logs each input as it was sent and as the network read it. Here the declaration is carried out once more, by
code that is not the host's, and both are held against each other, column by column, in the order of the declaration.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from monitoring.quality.reading import Rows
from monitoring.windows import numpy_column
from registry import store
from registry.models import Version

FORMAT = "lastgood-preprocessing/1"
TOLERANCE = 1e-5
"""How far a float32 may lie from the declared value, as a share of the larger of 1 and the value."""


@dataclass(frozen=True)
class Skewed:
    """One column: rows with another value than declared, of `n`; an input as sent, what the declaration makes of it,
    and what the host read, for the first of them."""

    column: str
    n: int
    other: int
    sent: str
    declared: str
    served: str


@dataclass(frozen=True)
class Skew:
    """What came of it. `columns` are in the declaration's order; `why_not` says why nothing could be held."""

    offline: str
    served: str
    columns: list[Skewed]
    why_not: str = ""

    @property
    def first(self) -> Skewed | None:
        """The first column that differs."""
        return next((one for one in self.columns if one.other), None)

    @property
    def sentence(self) -> str:
        """The first differing column by name, or that there is none."""
        if self.why_not:
            return self.why_not
        one = self.first
        if one is None:
            rows = max((column.n for column in self.columns), default=0)
            return (
                f"Version {self.served} reads its inputs as version {self.offline} declares: no difference in "
                f"{len(self.columns)} columns of {rows:,} rows."
            )
        count = sum(bool(column.other) for column in self.columns)
        return (
            f"{one.column} is the first column that version {self.served} reads otherwise than version {self.offline} "
            f"declares: {one.other:,} of {one.n:,} rows, such as {one.sent}, which becomes {one.served} and not "
            f"{one.declared}; {count} of {len(self.columns)} columns differ."
        )


def skew(rows: Rows, served: str, offline: Version | None) -> Skew:
    """Served rows held against the preprocessing that `offline` declares."""
    number = str(offline.number) if offline else ""
    declared = _declared(offline) if offline else None
    if declared is None:
        whose = f"Version {number}" if number else "The version"
        return Skew(number, served, [], f"{whose} declares no preprocessing that Lastgood can carry out.")
    found = []
    for item in [*declared["numeric"], *declared["categorical"]]:
        name = item["name"]
        if f"feature.{name}" in rows.table.column_names and f"input.{name}" in rows.table.column_names:
            found.append(_column(rows, item))
    if not found:
        return Skew(number, served, [], "The host logs no inputs as the network read them, so nothing can be held.")
    return Skew(number, served, found)


def _declared(version: Version) -> dict[str, Any] | None:
    components = json.loads(bytes(version.manifest)).get("components", {})
    for file in components.get("preprocessing", []):
        try:
            with store.open_verified(file["sha256"]) as content:
                value = json.loads(content.read())
        except (OSError, ValueError, LookupError):
            return None
        return value if value.get("format") == FORMAT else None
    return None


def _column(rows: Rows, item: dict[str, Any]) -> Skewed:
    name = item["name"]
    sent = numpy_column(rows.table, f"feature.{name}")
    read = numpy_column(rows.table, f"input.{name}").astype(np.float64)
    if "codes" in item:
        places = {code: place for place, code in enumerate(item["codes"], 1)}
        made = np.array([places.get(_plain(value), item["unknown"]) for value in sent.tolist()], np.float64)
    else:
        made = _number(sent.astype(np.float64), item)
    gap = np.abs(read - made) > TOLERANCE * np.maximum(np.abs(made), 1.0)
    other = gap | (np.isnan(read) != np.isnan(made))
    if not other.any():
        return Skewed(name, len(sent), 0, "", "", "")
    first = int(np.flatnonzero(other)[0])
    return Skewed(name, len(sent), int(other.sum()), str(sent[first]), f"{made[first]:g}", f"{read[first]:g}")


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _number(values: np.ndarray, item: dict[str, Any]) -> np.ndarray:
    if item["op"] == "standardize":
        return np.asarray((values - item["mean"]) / item["std"])
    if item["op"] == "minmax":
        return np.asarray((values - item["min"]) / (item["max"] - item["min"]))
    return values
