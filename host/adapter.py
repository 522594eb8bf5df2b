"""Low-rank adapters, `lastgood-adapter/1`: small changes of named linear layers, in a safetensors file of their own.

A linear layer that an adapter names answers W x + b + up (down x), with `down` of shape (rank, in) and `up` of shape
(out, rank). What scales the change is in `up` already. The weights beside it stay as they are, bit by bit.
"""

from __future__ import annotations

from host.problems import ArtifactRefused
from host.vocabulary import Architecture
from host.weights import Header

ADAPTER = "lastgood-adapter/1"
SIDES = ("down", "up")


def check_adapter(header: Header, architecture: Architecture, where: str) -> None:
    """Refuse an adapter that is not made of whole pairs for linear layers of the architecture, with ArtifactRefused."""
    if header.metadata != {"format": ADAPTER}:
        raise ArtifactRefused(f"{where}: its metadata must be the format {ADAPTER} and nothing else.")
    linear = {
        f"{prefix}layers.{index}": layer.sizes
        for prefix in architecture.prefixes()
        for index, layer in enumerate(architecture.layers)
        if layer.type == "linear"
    }
    for name, (_, shape) in header.tensors.items():
        layer, _, side = name.rpartition(".")
        if layer not in linear or side not in SIDES:
            raise ArtifactRefused(f"{where}: {name!r} is not LAYER.down or LAYER.up of a linear layer.")
        taken, given = linear[layer]
        down, up = (header.tensors.get(f"{layer}.{one}", ("", ()))[1] for one in SIDES)
        if len(down) != 2 or down[0] < 1 or down[1] != taken or up != (given, down[0]):
            raise ArtifactRefused(
                f"{where}: {layer} needs down of shape [rank, {taken}] and up of shape [{given}, rank], "
                f"but {name!r} has {list(shape)}."
            )
