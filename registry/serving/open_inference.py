"""What drivers of engines that speak the Open Inference Protocol have in common: tensors in JSON, metrics in text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from registry.serving.base import Prediction, ServingError
from registry.serving.http import HttpAnswer


def dump(value: Any) -> bytes:
    """Compact JSON. Raises ValueError for a number that JSON does not have."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def datatype_of(name: str, values: Sequence[Any]) -> str:
    """The protocol's datatype of a column. Raises ValueError for values that are not of one kind."""
    kinds = {type(value) for value in values}
    for datatype, allowed in (("INT64", {int}), ("FP64", {int, float}), ("BYTES", {str})):
        if kinds and kinds <= allowed:
            return datatype
    raise ValueError(f"The values of {name} must be whole numbers, numbers or texts, and at least one.")


def tensors(inputs: Mapping[str, Sequence[Any]], metadata: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Columns of n rows as tensors of the datatypes and shapes that a model's metadata (`inputs`) asks for: [n], or
    [n, 1] where it has a second dimension. Raises ServingError for a column that the model does not know."""
    wanted = {str(entry["name"]): entry for entry in metadata.get("inputs", ())}
    found = []
    for name, values in inputs.items():
        if wanted and name not in wanted:
            raise ServingError(f"The model on the host has no input {name}; it has {', '.join(sorted(wanted))}.")
        entry = wanted.get(name, {})
        found.append(
            {
                "name": name,
                "shape": [len(values), *(1 for _ in entry.get("shape", [-1])[1:])],
                "datatype": entry.get("datatype") or datatype_of(name, values),
                "data": list(values),
            }
        )
    return found


def columns(outputs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Output tensors as columns by name; nested lists are flattened, as tensors of [n, 1] may come."""
    return {str(output["name"]): _flat(output["data"]) for output in outputs}


def prediction(answer: HttpAnswer, version: str, digest: str) -> Prediction:
    """What a version answered, from a body with `outputs`. Raises ServingError for one that makes no sense."""
    try:
        return Prediction(version, digest, columns(answer.json()["outputs"]), answer.seconds * 1000)
    except (KeyError, TypeError, ValueError) as error:
        raise ServingError(f"The host's prediction can't be understood: {error!r}.") from error


def _flat(data: list[Any]) -> list[Any]:
    while data and isinstance(data[0], list):
        data = [value for row in data for value in row]
    return data


def samples(text: bytes) -> dict[str, float]:
    """Prometheus' text format: sample name with its labels, as exposed -> value; NaN is left out.

    Raises ServingError for a line that is none.
    """
    found = {}
    for line in text.decode(errors="replace").splitlines():
        name, _, value = line.rpartition(" ")
        if not name or line.startswith("#"):
            continue
        try:
            number = float(value)
        except ValueError:
            raise ServingError(f"The host's metrics can't be understood: {line[:100]!r}.") from None
        if not math.isnan(number):
            found[name] = number
    return found
