"""Golden tests from live answers: rows that were given or made up from a signature, and what a version answers."""

import json
import math
import random
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from registry.golden import FORMAT

ROWS = 8
MOST_ROWS = 5000
GOLDEN_ROWS = 64
WHOLE = frozenset(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64))
REAL = frozenset({"FP16", "FP32", "FP64"})
RELATIVE = Decimal("0.0001")


class NotCaptured(ValueError):
    """No golden test can be made; the message says why and what to give."""


def made_up(signature: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, list[Any]]:
    """ROWS rows of each input's kind, always the same: numbers about zero, small whole numbers, short texts. They are
    no traffic, and say only that the version answers as it did. Raises NotCaptured for inputs that are arrays."""
    found = {}
    for entry in signature["inputs"]:
        name, kind, shape = str(entry["name"]), str(entry["datatype"]), list(entry.get("shape", [-1]))
        if any(size not in (1, -1) for size in shape[1:]) or len(shape) > 2:
            raise NotCaptured(f"{name} takes arrays of the shape {shape}; rows are single values here.")
        if kind in WHOLE:
            found[name] = list(range(ROWS))
        elif kind in REAL:
            found[name] = [round((row - ROWS / 2) / 2, 3) for row in range(ROWS)]
        elif kind == "BOOL":
            raise NotCaptured(f"{name} takes truth values, which rows do not hold here.")
        else:
            found[name] = [chr(ord("a") + row) for row in range(ROWS)]
    return found


def row_count(columns: Mapping[str, Sequence[Any]]) -> int:
    """How many rows columns of one length have."""
    return len(next(iter(columns.values()), ()))


def mixed(columns: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """GOLDEN_ROWS rows of the columns' values, each column drawn by itself and always the same: values as they come in
    traffic, in rows that are nobody's."""
    return {
        name: random.Random(name).sample(list(values), min(GOLDEN_ROWS, len(values)))
        for name, values in columns.items()
    }


def read_rows(data: bytes) -> dict[str, dict[str, list[Any]]]:
    """Rows of a file: {model: {input: [values]}}, of numbers and texts, columns of one length. Raises NotCaptured."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise NotCaptured(f"The file of rows is no JSON: {error}.") from error
    return checked_rows(value)


def checked_rows(value: Any) -> dict[str, dict[str, list[Any]]]:
    """The same of what was read already. Raises NotCaptured."""
    whole = isinstance(value, dict) and all(
        isinstance(columns, dict) and columns and all(isinstance(one, list) and one for one in columns.values())
        for columns in value.values()
    )
    if not whole:
        raise NotCaptured('Rows are an object such as {"model": {"input": [1.5, 2.0]}}.')
    for model, columns in value.items():
        lengths = {len(column) for column in columns.values()}
        if len(lengths) != 1 or max(lengths) > MOST_ROWS:
            raise NotCaptured(f"The columns of {model} must have one length, at most {MOST_ROWS}.")
    return dict(value)


def golden_from(inputs: Mapping[str, Sequence[Any]], outputs: Mapping[str, Sequence[Any]]) -> bytes:
    """A golden test that holds a version to what it answers now. Numbers that are not whole may differ by a
    ten-thousandth of the largest of their own output; whole ones have to be the same.

    Raises NotCaptured where no output is a number, or the answers are not one a row.
    """
    rows = len(next(iter(inputs.values())))
    kept: dict[str, list[Any]] = {}
    tolerances: dict[str, str] = {}
    for name, values in outputs.items():
        if len(values) != rows:
            continue
        if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
            kept[name] = list(values)
        elif all(isinstance(value, int | float) and math.isfinite(value) for value in values):
            largest = max(abs(float(value)) for value in values)
            tolerances[name] = format(RELATIVE * Decimal(repr(largest)), "f")
            kept[name] = [format(Decimal(repr(float(value))), "f") for value in values]
    if not kept:
        raise NotCaptured("The version answers with nothing that is one number a row.")
    whole = {"format": FORMAT, "inputs": {name: list(column) for name, column in inputs.items()}, "outputs": kept}
    return json.dumps(whole | {"tolerance": tolerances}).encode()


def kinds_of(columns: Mapping[str, Sequence[Any]]) -> list[dict[str, str]]:
    """A signature's side from columns of values, for an engine that describes none."""
    found = []
    for name, values in columns.items():
        if all(isinstance(value, int) for value in values):
            kind = "INT64"
        else:
            kind = "FP64" if all(isinstance(value, int | float) for value in values) else "BYTES"
        found.append({"name": name, "datatype": kind})
    return found
