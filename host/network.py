"""A declared architecture as torch operations. The tensors it computes with are the ones its digest is taken from."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as functional
from torch import Tensor

from host.adapter import SIDES
from host.vocabulary import Architecture, Layer

Step = Callable[[Tensor], Tensor]
ACTIVATIONS: dict[str, Step] = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


def _step(layer: Layer, own: Mapping[str, Tensor]) -> Step | None:
    """The layer as a function, or None for dropout, which does nothing when serving."""
    if layer.type == "linear":
        weight, bias = own["weight"], own["bias"]
        if "down" not in own:
            return lambda x: functional.linear(x, weight, bias)
        down, up = own["down"], own["up"]
        return lambda x: functional.linear(x, weight, bias) + functional.linear(functional.linear(x, down), up)
    if layer.type == "layer_norm":
        weight, bias, sizes = own["weight"], own["bias"], list(layer.sizes)
        return lambda x: functional.layer_norm(x, sizes, weight, bias)
    if layer.type == "batch_norm":
        mean, variance, weight, bias = own["running_mean"], own["running_var"], own["weight"], own["bias"]
        return lambda x: functional.batch_norm(x, mean, variance, weight, bias)
    return ACTIVATIONS.get(layer.type)


class Network:
    """The members' stacks, evaluated one after another, their last layers' numbers averaged.

    `tensors` are float32, on the device to compute on, named as `Architecture.tensors` says, and so are those of the
    `adapter`, named as host.adapter says.
    """

    def __init__(
        self, architecture: Architecture, tensors: Mapping[str, Tensor], adapter: Mapping[str, Tensor]
    ) -> None:
        self.members: list[tuple[list[Tensor], list[Step]]] = []
        for prefix in architecture.prefixes():
            tables = [tensors[f"{prefix}embeddings.{name}.weight"] for name in architecture.categorical]
            steps = []
            for index, layer in enumerate(architecture.layers):
                place = f"{prefix}layers.{index}."
                own = {name: tensors[place + name] for name in layer.tensors()}
                own |= {side: adapter[place + side] for side in SIDES if place + side in adapter}
                step = _step(layer, own)
                if step is not None:
                    steps.append(step)
            self.members.append((tables, steps))

    def forward(self, numeric: Tensor, indexes: Tensor) -> Tensor:
        """numeric float32 [n, a] and indexes int64 [b, n] -> float32 [n, width of the head]."""
        total: Tensor | None = None
        for tables, steps in self.members:
            parts = [numeric] if numeric.shape[1] else []
            parts += [functional.embedding(indexes[k], table) for k, table in enumerate(tables)]
            x = torch.cat(parts, 1) if len(parts) > 1 else parts[0]
            for step in steps:
                x = step(x)
            total = x if total is None else total + x
        assert total is not None
        return total / len(self.members) if len(self.members) > 1 else total
