"""The holdout set of a version: the labelled rows that came with it and that it was not trained on."""

from collections.abc import Sequence
from functools import lru_cache, reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from monitoring.windows import numpy_column
from registry.models import Version
from registry.store import open_verified

LABEL = "label"
MOST_COMPARED = 10_000
"""Rows that windows are held against."""


def holdout_rows(version: Version, limit: int) -> pa.Table | None:
    """At most `limit` rows of the version's holdout set, evenly spaced through the file; None when it has none.

    Raises what registry.store raises when it is not what was stored.
    """
    return evenly(_read(version.holdout_id), limit) if version.holdout_id else None


def labelled_rows(version: Version, names: Sequence[str], limit: int) -> pa.Table:
    """The columns `names` and the label of at most `limit` rows that have all of them, evenly spaced; empty without a
    holdout set. Raises KeyError for a column that it lacks, and as holdout_rows."""
    if not version.holdout_id:
        return pa.table({name: pa.array([], pa.float64()) for name in (*names, LABEL)})
    table = _read(version.holdout_id).select([*names, LABEL]).drop_null()
    floats = [column for column in table.columns if pa.types.is_floating(column.type)]
    broken = [pc.invert(pc.is_finite(column)) for column in floats]
    return evenly(table.filter(pc.invert(reduce(pc.or_, broken))) if broken else table, limit)


def evenly(table: pa.Table, limit: int) -> pa.Table:
    """At most `limit` rows, evenly spaced, so that the choice needs no random numbers and is the same each time."""
    if len(table) <= limit:
        return table
    return table.take(np.linspace(0, len(table) - 1, limit).astype(np.int64))


def holdout_columns(version: Version) -> dict[str, np.ndarray]:
    """The columns of at most MOST_COMPARED rows by name, shape (rows,); empty without a holdout set. Raises as
    holdout_rows."""
    return _columns(version.holdout_id) if version.holdout_id else {}


@lru_cache(maxsize=8)
def _columns(sha256: str) -> dict[str, np.ndarray]:
    table = evenly(_read(sha256), MOST_COMPARED)
    return {name: numpy_column(table, name) for name in table.column_names}


def _read(sha256: str) -> pa.Table:
    with open_verified(sha256) as file:
        return pq.read_table(file)
