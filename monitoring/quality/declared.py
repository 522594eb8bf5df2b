"""What a version declares of itself in files that Lastgood can read: its preprocessing, and its network carried out
without a host."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from django.utils.translation import gettext
from numpy.typing import NDArray

from monitoring.quality.offline import Floats, NotCarriedOut, answers
from registry import store
from registry.models import Version
from registry.tensors import NotSafetensors

PREPROCESSING, ARCHITECTURE = "lastgood-preprocessing/1", "lastgood-architecture/1"
UNFIT = (OSError, LookupError, TypeError, ValueError, NotSafetensors)
"""What files that are not in order raise where they are read or carried out."""


@dataclass(frozen=True)
class Declared:
    """A version whose preprocessing and network can be carried out here. `items` are the inputs as the preprocessing
    lists them, numeric ones first."""

    items: list[dict[str, Any]]
    network: dict[str, Any]
    weights: Path
    adapter: Path | None

    @property
    def names(self) -> list[str]:
        return [str(item["name"]) for item in self.items]

    def read(self, sent: dict[str, NDArray[Any]]) -> dict[str, Floats]:
        """The inputs as the network reads them, from those sent, each of shape (rows,). Raises what UNFIT names."""
        return {item["name"]: read_as_declared(sent[item["name"]], item) for item in self.items}

    def answers(self, inputs: dict[str, Floats]) -> dict[str, NDArray[Any]]:
        """As monitoring.quality.offline.answers."""
        return answers(self.network, self.weights, self.adapter, inputs)


def declared(version: Version) -> Declared:
    """Raises NotCarriedOut where the version declares nothing that Lastgood can carry out, and what UNFIT names."""
    steps, network = component(version, "preprocessing", PREPROCESSING), component(version, "config", ARCHITECTURE)
    if steps is None or network is None:
        raise NotCarriedOut(gettext("it declares no preprocessing and network that Lastgood can carry out."))
    files = {name: _files(version, name) for name in ("weights", "adapter")}
    if len(files["weights"]) != 1 or len(files["adapter"]) > 1:
        raise NotCarriedOut(gettext("its weights are not one file."))
    weights, *adapter = (store.local(sha256) for name in ("weights", "adapter") for sha256 in files[name])
    return Declared([*steps["numeric"], *steps["categorical"]], network, weights, adapter[0] if adapter else None)


def component(version: Version, name: str, wanted: str) -> dict[str, Any] | None:
    """A component's file as JSON, where it is of the format."""
    for sha256 in _files(version, name):
        try:
            with store.open_verified(sha256) as content:
                value = json.loads(content.read())
        except (OSError, ValueError, LookupError):
            return None
        return value if value.get("format") == wanted else None
    return None


def _files(version: Version, name: str) -> list[str]:
    components = json.loads(bytes(version.manifest)).get("components", {})
    return [file["sha256"] for file in components.get(name, [])]


def read_as_declared(sent: NDArray[Any], item: dict[str, Any]) -> Floats:
    """What the declaration makes of a column: float64 of shape (rows,)."""
    if "codes" in item:
        places = {code: place for place, code in enumerate(item["codes"], 1)}
        return np.array([places.get(_plain(value), item["unknown"]) for value in sent.tolist()], np.float64)
    return _number(sent.astype(np.float64), item)


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _number(values: Floats, item: dict[str, Any]) -> Floats:
    if item["op"] == "standardize":
        return np.asarray((values - item["mean"]) / item["std"])
    if item["op"] == "minmax":
        return np.asarray((values - item["min"]) / (item["max"] - item["min"]))
    return values
