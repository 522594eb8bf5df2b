"""The rows behind the figures of quality: the newest of a span, of one version, with the labels and when they came."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa

from monitoring.windows import LABELLED_AT, batches_within, load_predictions, numpy_column, of_labels
from registry.models import Endpoint

MOST_ROWS = 40_000
"""Rows that are read for a page: the newest of the span, where it holds more."""


@dataclass(frozen=True)
class Rows:
    """Predictions of one version from `since` to `until`, oldest first, with `label`; `left_out` are the older ones of
    the span that were not read."""

    table: pa.Table
    since: datetime
    until: datetime
    left_out: int

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def numbers(self, name: str) -> np.ndarray:
        """A column as float64 of shape (rows,); NaN where there is no value, or no such column."""
        if name not in self.table.column_names:
            return np.full(len(self), np.nan)
        values = numpy_column(self.table, name)
        return values.astype(np.float64) if values.dtype.kind in "biuf" else np.full(len(self), np.nan)

    @property
    def known(self) -> np.ndarray:
        """Rows that have a label, boolean (rows,)."""
        return np.logical_not(np.isnan(self.numbers("label")))

    @property
    def right(self) -> np.ndarray:
        """Whether each labelled row was answered right, boolean (labelled,)."""
        known = self.known
        return np.asarray(self.numbers("output")[known] == self.numbers("label")[known])

    @property
    def binary(self) -> bool:
        """Whether every answer and every label is 0 or 1."""
        output, label = self.numbers("output"), self.numbers("label")[self.known]
        return bool(len(output)) and bool(np.isin(output, (0, 1)).all() and np.isin(label, (0, 1)).all())

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """Every input as it was sent, by name."""
        names = [name for name in self.table.column_names if name.startswith("feature.")]
        return {name.removeprefix("feature."): numpy_column(self.table, name) for name in names}


def rows_of(endpoint: Endpoint, since: datetime, until: datetime, version: str, most: int = MOST_ROWS) -> Rows:
    """At most some `most` rows of [since, until), the newest. Raises monitoring.store.StoreDamaged."""
    batches = batches_within(endpoint, since, until).filter(version=version)
    taken, start, left_out = 0, since, 0
    for first_at, rows in batches.order_by("-first_at").values_list("first_at", "rows"):
        if taken and taken + rows > most:
            left_out += rows
            continue
        if left_out:
            left_out += rows
            continue
        taken, start = taken + rows, max(since, first_at)
    begin = start if left_out else since
    return Rows(load_predictions(endpoint, begin, until, [version]), begin, until, left_out)


def label_delays(endpoint: Endpoint, rows: Rows) -> np.ndarray:
    """Seconds from each answer to the moment at which its label became known, shape (rows,); NaN without a label."""
    known = of_labels(endpoint, rows.table.column("id"), LABELLED_AT)
    return np.array(known, np.float64) - answered_at(rows)


def answered_at(rows: Rows) -> np.ndarray:
    """When each row was answered, in seconds of Unix time, shape (rows,)."""
    stamps = rows.table.column("ts").cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    return np.asarray(stamps.to_numpy(), np.float64) / 1_000_000
