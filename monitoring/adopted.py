"""The reference profile of a version of which only its answers are known: of inputs that it was asked, and of what it
answered, under the names that the prediction log has for them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from monitoring.drift.profile import Kind, build_profile
from monitoring.profiles import OUTPUTS

Columns = Mapping[str, Sequence[Any]]


def reference_of(inputs: Columns, outputs: Columns, told: Mapping[str, Any]) -> bytes:
    """A profile as `monitoring.profiles` reads it, with `told` under "captured". Numbers are taken as numbers and all
    else as categories; a whole number that is answered is a class.

    Raises ValueError where no input is a number or a text, or columns differ in length.
    """
    asked = {name: _column(values) for name, values in inputs.items()}
    answered = _own(outputs)
    profile = build_profile(asked, {name: _kind(column) for name, column in asked.items()})
    kinds: dict[str, Kind] = {name: _kind(column) for name, column in answered.items()}
    if "output" in answered and _whole(answered["output"]):
        kinds["output"] = "categorical"
    profile[OUTPUTS] = build_profile(answered, kinds)["columns"]
    return json.dumps(profile | {"captured": dict(told)}, sort_keys=True, allow_nan=False).encode()


def _own(outputs: Columns) -> dict[str, np.ndarray[Any, Any]]:
    """What was answered as the log names it: the class, or a regression's number, is "output"; a number beside a class
    is its "score"."""
    columns = {name: _column(values) for name, values in outputs.items()}
    classes = [column for column in columns.values() if _kind(column) == "categorical" or _whole(column)]
    numbers = [column for column in columns.values() if _kind(column) == "numeric" and not _whole(column)]
    if not classes:
        return {"output": numbers[0]} if numbers else {}
    return {"output": classes[0]} | ({"score": numbers[0]} if numbers else {})


def _column(values: Sequence[Any]) -> np.ndarray[Any, Any]:
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return np.asarray(values)
    return np.asarray([str(value) for value in values], dtype=object)


def _kind(column: np.ndarray[Any, Any]) -> Kind:
    return "numeric" if column.dtype.kind in "iuf" else "categorical"


def _whole(column: np.ndarray[Any, Any]) -> bool:
    return column.dtype.kind in "iu"
