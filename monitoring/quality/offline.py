"""What a version's own files make of inputs: its network carried out with NumPy, by code that is not the host's.

`lastgood-architecture/1` is described in docs/host.md. Numbers are float64 here and float32 on a host, so scores agree
to some 1e-6, and not to the last digit.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf, expit, softmax

from registry.tensors import Entry, read_index, values

EPSILON = 1e-5
MOST_BYTES = 256 * 2**20
"""The largest file of weights that is carried out here."""
Floats = NDArray[np.float64]
Tensor = Callable[[str], Floats]
ACTIVATIONS: dict[str, Callable[[Floats], Floats]] = {
    "relu": lambda x: np.maximum(x, 0.0),
    "gelu": lambda x: x * (1 + erf(x / np.sqrt(2))) / 2,
    "tanh": np.tanh,
    "sigmoid": expit,
    "dropout": lambda x: x,
}


class NotCarriedOut(ValueError):
    """The network can't be carried out here. The message says why."""


def answers(
    declared: Mapping[str, Any], weights: Path, adapter: Path | None, inputs: Mapping[str, Floats]
) -> dict[str, NDArray[Any]]:
    """`output`, and `score` where the head has one, of inputs as the network reads them, each of shape (rows,).

    Raises NotCarriedOut, registry.tensors.NotSafetensors, KeyError and ValueError for what is not declared in order.
    """
    if weights.stat().st_size > MOST_BYTES:
        raise NotCarriedOut(f"Its weights are larger than {MOST_BYTES >> 20} MiB.")
    own = _Tensors(weights)
    more = _Tensors(adapter) if adapter else None
    members = [f"members.{k}." for k in range(int(declared["ensemble"]["members"]))] if "ensemble" in declared else [""]
    numbers = [_stack(declared, own, more, prefix, inputs) for prefix in members]
    return dict(_head(declared["head"], np.mean(numbers, axis=0)))


class _Tensors:
    """The tensors of a safetensors file by name, as float64."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.index: dict[str, Entry] = read_index(path)

    def __call__(self, name: str) -> Floats:
        return values(self.path, self.index[name])


def _stack(
    declared: Mapping[str, Any], own: _Tensors, adapter: _Tensors | None, prefix: str, inputs: Mapping[str, Floats]
) -> Floats:
    numeric = [inputs[name][:, None] for name in declared["inputs"]["numeric"]]
    tables = [
        own(f"{prefix}embeddings.{name}.weight")[inputs[name].astype(np.int64)]
        for name in declared["inputs"]["categorical"]
    ]
    x = np.concatenate([*numeric, *tables], axis=1)
    for index, layer in enumerate(declared["layers"]):
        x = _layer(layer, f"{prefix}layers.{index}.", own, adapter, x)
    return x


def _layer(layer: Mapping[str, Any], place: str, own: Tensor, adapter: _Tensors | None, x: Floats) -> Floats:
    kind = layer["type"]
    if kind in ACTIVATIONS:
        return ACTIVATIONS[kind](x)
    if kind not in ("linear", "layer_norm", "batch_norm"):
        raise NotCarriedOut(f"It has a layer of the type {kind}.")
    weight, bias = own(f"{place}weight"), own(f"{place}bias")
    if kind == "linear":
        answer = x @ weight.T + bias
        if adapter is not None and f"{place}down" in adapter.index:
            answer = answer + x @ adapter(f"{place}down").T @ adapter(f"{place}up").T
        return np.asarray(answer)
    if kind == "layer_norm":
        mean, variance = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
    else:
        mean, variance = own(f"{place}running_mean"), own(f"{place}running_var")
    return np.asarray((x - mean) / np.sqrt(variance + EPSILON) * weight + bias)


def _head(head: Mapping[str, Any], x: Floats) -> Iterator[tuple[str, NDArray[Any]]]:
    if head["type"] == "binary":
        score = np.asarray(expit(x[:, 0]))
        yield "score", score
        yield "output", (score >= head["threshold"]).astype(np.float64)
    elif head["type"] == "multiclass":
        shares = softmax(x, axis=1)
        yield "score", np.asarray(shares.max(axis=1))
        yield "output", np.asarray(head["classes"], np.float64)[shares.argmax(axis=1)]
    elif head["type"] == "regression":
        yield "output", x[:, 0]
    else:
        raise NotCarriedOut(f"It has a head of the type {head['type']}.")
