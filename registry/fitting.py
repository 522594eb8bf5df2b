"""Whether the parts of a version fit together, found out from its declarations: the bundled host's vocabularies
`lastgood-preprocessing/1`, `lastgood-architecture/1` and `lastgood-adapter/1`, as docs/host.md describes them.

A host would refuse what does not fit; this says so before anything is written, and by whose part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext

from registry.tensors import Entry

Json = Mapping[str, Any]
Shapes = dict[str, tuple[int, ...]]


class DoesNotFit(ValueError):
    """Two parts don't fit together; the message names the first thing in which they differ."""


@dataclass(frozen=True)
class Part:
    """A part as it is declared, and what it is called in sentences: `name` is such as "the weights of version 2"."""

    name: str
    declared: Json


def check_fit(
    *,
    signature: Json,
    preprocessing: Part,
    config: Part,
    weights: tuple[str, Mapping[str, Entry]],
    adapter: tuple[str, Mapping[str, Entry]] | None = None,
) -> None:
    """Raises DoesNotFit. `weights` and `adapter` are a name for sentences and the tensors of the file by name."""
    try:
        _same_inputs(preprocessing, config)
        _codes_fit(preprocessing, config)
        _same_tensors(config, *weights)
        _same_signature(signature, preprocessing, config)
        if adapter is not None:
            _adapter_fits(config, *adapter)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise DoesNotFit(
            gettext("%(config)s or %(preprocessing)s is not declared in order: %(error)r.")
            % {"config": _big(config.name), "preprocessing": preprocessing.name, "error": error}
        ) from None


def _same_inputs(preprocessing: Part, config: Part) -> None:
    for kind in ("numeric", "categorical"):
        given = [str(entry["name"]) for entry in preprocessing.declared[kind]]
        taken = [str(name) for name in config.declared["inputs"][kind]]
        for name in given:
            if name not in taken:
                sentence = gettext("%(preprocessing)s gives %(name)s (%(kind)s), which %(config)s does not take.") % {
                    "preprocessing": _big(preprocessing.name),
                    "name": name,
                    "kind": kind,
                    "config": config.name,
                }
                raise DoesNotFit(sentence)
        for name in taken:
            if name not in given:
                sentence = gettext("%(config)s takes %(name)s (%(kind)s), which %(preprocessing)s does not give.") % {
                    "config": _big(config.name),
                    "name": name,
                    "kind": kind,
                    "preprocessing": preprocessing.name,
                }
                raise DoesNotFit(sentence)


def _codes_fit(preprocessing: Part, config: Part) -> None:
    for entry in preprocessing.declared["categorical"]:
        rows, codes = int(config.declared["embeddings"][entry["name"]]["rows"]), len(entry["codes"])
        if codes + 1 > rows:
            raise DoesNotFit(
                gettext(
                    "%(preprocessing)s maps %(codes)s codes of %(name)s and the unknown one, but %(config)s has only "
                    "%(rows)s rows for them."
                )
                % {
                    "preprocessing": _big(preprocessing.name),
                    "codes": codes,
                    "name": entry["name"],
                    "config": config.name,
                    "rows": rows,
                }
            )


def _same_tensors(config: Part, name: str, held: Mapping[str, Entry]) -> None:
    declared = declared_tensors(config.declared)
    for tensor, shape in declared.items():
        if tensor not in held:
            raise DoesNotFit(
                gettext("%(config)s declares the tensor %(tensor)s, which %(name)s lack.")
                % {"config": _big(config.name), "tensor": tensor, "name": name}
            )
        if held[tensor].shape != shape:
            raise DoesNotFit(
                gettext("%(config)s declares %(tensor)s as %(shape)s, but %(name)s hold it as %(held)s.")
                % {
                    "config": _big(config.name),
                    "tensor": tensor,
                    "shape": _times(shape),
                    "name": name,
                    "held": _times(held[tensor].shape),
                }
            )
    for tensor in held:
        if tensor not in declared:
            raise DoesNotFit(
                gettext("%(name)s hold the tensor %(tensor)s, which %(config)s does not declare.")
                % {"name": _big(name), "tensor": tensor, "config": config.name}
            )


def declared_tensors(config: Json) -> Shapes:
    """Name -> shape of every tensor that an architecture declares. Raises DoesNotFit for a layer that is unknown."""
    stack: Shapes = {
        f"embeddings.{name}.weight": (int(table["rows"]), int(table["dim"]))
        for name, table in config["embeddings"].items()
    }
    for index, layer in enumerate(config["layers"]):
        stack |= {f"layers.{index}.{name}": shape for name, shape in _layer_tensors(layer).items()}
    if "ensemble" not in config:
        return stack
    members = range(int(config["ensemble"]["members"]))
    return {f"members.{member}.{name}": shape for member in members for name, shape in stack.items()}


def _layer_tensors(layer: Json) -> Shapes:
    kind = layer["type"]
    if kind == "linear":
        return {"weight": (int(layer["out"]), int(layer["in"])), "bias": (int(layer["out"]),)}
    if kind in ("layer_norm", "batch_norm"):
        names = ["weight", "bias", *(["running_mean", "running_var"] if kind == "batch_norm" else [])]
        return dict.fromkeys(names, (int(layer["size"]),))
    if kind in ("relu", "gelu", "tanh", "sigmoid", "dropout"):
        return {}
    raise DoesNotFit(gettext("The layer %(kind)r is not in the architecture's vocabulary.") % {"kind": kind})


def _same_signature(signature: Json, preprocessing: Part, config: Part) -> None:
    given = {str(entry["name"]) for kind in ("numeric", "categorical") for entry in preprocessing.declared[kind]}
    for entry in signature["inputs"]:
        if entry["name"] not in given:
            raise DoesNotFit(
                gettext("The signature's input %(name)s is not read by %(preprocessing)s.")
                % {"name": entry["name"], "preprocessing": preprocessing.name}
            )
    head = config.declared["head"]
    for role in ("output", "score"):
        if role in head and head[role] not in [entry["name"] for entry in signature["outputs"]]:
            raise DoesNotFit(
                gettext("%(config)s answers with %(head)s, which the signature does not name.")
                % {"config": _big(config.name), "head": head[role]}
            )


def _adapter_fits(config: Part, name: str, held: Mapping[str, Entry]) -> None:
    """`<layer>.down` (rank, in) and `<layer>.up` (out, rank), in pairs, of linear layers that the architecture has."""
    declared = declared_tensors(config.declared)
    for tensor, entry in held.items():
        layer, _, side = tensor.rpartition(".")
        shape = declared.get(f"{layer}.weight", ())
        pair = held.get(f"{layer}.{'up' if side == 'down' else 'down'}")
        if side not in ("down", "up") or pair is None or len(entry.shape) != 2 or len(pair.shape) != 2:
            raise DoesNotFit(
                gettext("%(name)s holds %(tensor)s, which is not one of a pair LAYER.down and LAYER.up.")
                % {"name": _big(name), "tensor": tensor}
            )
        down, up = (entry.shape, pair.shape) if side == "down" else (pair.shape, entry.shape)
        if f"{layer}.bias" not in declared or shape != (up[0], down[1]) or up[1] != down[0]:
            raise DoesNotFit(
                gettext("%(name)s changes %(layer)s, which is no linear layer of that size in %(config)s.")
                % {"name": _big(name), "layer": layer, "config": config.name}
            )


def same_signature(base: Json, other: Json, names: Sequence[str]) -> None:
    """Refuse two versions that take or give different columns. Raises DoesNotFit naming the first one."""
    for side, word in (("inputs", "takes"), ("outputs", "gives")):
        mine = {str(entry["name"]): entry["datatype"] for entry in base[side]}
        theirs = {str(entry["name"]): entry["datatype"] for entry in other[side]}
        for name in [*mine, *theirs]:
            if mine.get(name) != theirs.get(name):
                raise DoesNotFit(
                    gettext(
                        "%(one)s %(word)s %(name)s as %(mine)s, %(other)s as %(theirs)s. Parts can be exchanged only "
                        "between versions of one signature."
                    )
                    % {
                        "one": _big(names[0]),
                        "word": word,
                        "name": name,
                        "mine": mine.get(name, "nothing"),
                        "other": names[1],
                        "theirs": theirs.get(name, "nothing"),
                    }
                )


def _times(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape)) or gettext("a single number")


def _big(text: str) -> str:
    return text[:1].upper() + text[1:]
