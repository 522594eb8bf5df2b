"""The closed vocabularies in which an artifact declares its preprocessing and its architecture.

`lastgood-preprocessing/1` and `lastgood-architecture/1` are described in docs/host.md. Whatever is outside of them is
refused with `ArtifactRefused`. Each object writes itself back with `to_json`, which is what the digest of a loaded
version is rebuilt from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from host.problems import ArtifactRefused
from host.strictjson import Reader

PREPROCESSING = "lastgood-preprocessing/1"
ARCHITECTURE = "lastgood-architecture/1"
ACTIVATIONS = frozenset({"relu", "gelu", "tanh", "sigmoid"})
MAX_MEMBERS = 10_000

NUMERIC_PARAMETERS: dict[str, tuple[str, ...]] = {
    "identity": (),
    "standardize": ("mean", "std"),
    "minmax": ("min", "max"),
}


@dataclass(frozen=True)
class Numeric:
    """A numeric input x becomes (x - shift) / scale: the mean and std, or the minimum and the span."""

    name: str
    op: str
    parameters: tuple[float, ...]

    @property
    def shift(self) -> float:
        return self.parameters[0] if self.parameters else 0.0

    @property
    def scale(self) -> float:
        if self.op == "minmax":
            return self.parameters[1] - self.parameters[0]
        return self.parameters[1] if self.parameters else 1.0

    def to_json(self) -> dict[str, Any]:
        names = NUMERIC_PARAMETERS[self.op]
        return {"name": self.name, "op": self.op, **dict(zip(names, self.parameters, strict=True))}


@dataclass(frozen=True)
class Categorical:
    """A code map: the k-th listed code becomes index k + 1, anything else index 0."""

    name: str
    codes: tuple[int | str, ...]

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "codes": list(self.codes), "unknown": 0}


@dataclass(frozen=True)
class Preprocessing:
    """How an inference's inputs become what the first layer reads."""

    numeric: tuple[Numeric, ...]
    categorical: tuple[Categorical, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "format": PREPROCESSING,
            "numeric": [item.to_json() for item in self.numeric],
            "categorical": [item.to_json() for item in self.categorical],
        }


def _read_numeric(value: Any, where: str) -> Numeric:
    op = value.get("op") if isinstance(value, dict) else None
    if not isinstance(op, str) or op not in NUMERIC_PARAMETERS:
        raise ArtifactRefused(f"{where}: the operation {op!r} is not one of {', '.join(NUMERIC_PARAMETERS)}.")
    names = NUMERIC_PARAMETERS[op]
    reader = Reader(value, where, ("name", "op", *names))
    item = Numeric(reader.text("name"), op, tuple(reader.number(name) for name in names))
    if not item.scale > 0:
        raise ArtifactRefused(f"{where}: {names[-1]!r} must be greater, since the values are divided by their spread.")
    return item


def _read_categorical(value: Any, where: str) -> Categorical:
    reader = Reader(value, where, ("name", "codes", "unknown"))
    codes = reader.array("codes")
    whole = all(isinstance(code, int) and not isinstance(code, bool) for code in codes)
    if not codes or not (whole or all(isinstance(code, str) for code in codes)):
        raise ArtifactRefused(f"{where}: 'codes' must list whole numbers, or texts.")
    if len(set(codes)) != len(codes):
        raise ArtifactRefused(f"{where}: 'codes' lists a code twice.")
    if value["unknown"] != 0 or isinstance(value["unknown"], bool):
        raise ArtifactRefused(f"{where}: 'unknown' must be 0, the index of any code that is not listed.")
    return Categorical(reader.text("name"), tuple(codes))


def read_preprocessing(value: Any, where: str) -> Preprocessing:
    """Read `preprocessing.json`; `where` names the file in the sentence of `ArtifactRefused`."""
    reader = Reader(value, where, ("format", "numeric", "categorical"))
    if value["format"] != PREPROCESSING:
        raise ArtifactRefused(f"{where}: the format must be {PREPROCESSING}.")
    numeric = tuple(_read_numeric(item, f"{where}, numeric {i}") for i, item in enumerate(reader.array("numeric")))
    categorical = tuple(
        _read_categorical(item, f"{where}, categorical {i}") for i, item in enumerate(reader.array("categorical"))
    )
    names = [item.name for item in numeric] + [item.name for item in categorical]
    if len(set(names)) != len(names):
        raise ArtifactRefused(f"{where} names an input twice.")
    return Preprocessing(numeric, categorical)


@dataclass(frozen=True)
class Embedding:
    """A table of `rows` vectors of `dim` numbers; row 0 is the unknown code's."""

    rows: int
    dim: int


@dataclass(frozen=True)
class Layer:
    """One layer; `sizes` is (in, out) for linear, (size,) for the norms, empty otherwise. `p` is dropout's."""

    type: str
    sizes: tuple[int, ...] = ()
    p: float = 0.0

    def to_json(self) -> dict[str, Any]:
        if self.type == "linear":
            return {"type": "linear", "in": self.sizes[0], "out": self.sizes[1]}
        if self.type in ("layer_norm", "batch_norm"):
            return {"type": self.type, "size": self.sizes[0]}
        if self.type == "dropout":
            return {"type": "dropout", "p": self.p}
        return {"type": self.type}

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """The layer's tensors: name -> shape."""
        if self.type == "linear":
            return {"weight": (self.sizes[1], self.sizes[0]), "bias": (self.sizes[1],)}
        if self.type == "layer_norm":
            return {"weight": self.sizes, "bias": self.sizes}
        if self.type == "batch_norm":
            return dict.fromkeys(("weight", "bias", "running_mean", "running_var"), self.sizes)
        return {}


@dataclass(frozen=True)
class Head:
    """How the last layer's numbers become an answer. `classes` is multiclass's, `threshold` binary's."""

    type: str
    output: str
    score: str = ""
    threshold: float = 0.5
    classes: tuple[int, ...] = ()

    @property
    def width(self) -> int:
        return len(self.classes) if self.type == "multiclass" else 1

    def outputs(self) -> dict[str, str]:
        """The outputs of an inference: name -> datatype."""
        if self.type == "regression":
            return {self.output: "FP64"}
        return {self.output: "INT64", self.score: "FP32"}

    def to_json(self) -> dict[str, Any]:
        if self.type == "regression":
            return {"type": self.type, "output": self.output}
        common = {"type": self.type, "output": self.output, "score": self.score}
        if self.type == "binary":
            return {**common, "threshold": self.threshold}
        return {**common, "classes": list(self.classes)}


@dataclass(frozen=True)
class Architecture:
    """A stack of layers over [numeric inputs, embeddings in the order of `categorical`]; `members` such stacks when
    it is an ensemble (`None`: a single stack whose tensors carry no prefix)."""

    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    embeddings: dict[str, Embedding]
    layers: tuple[Layer, ...]
    head: Head
    members: int | None = None

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {
            "format": ARCHITECTURE,
            "inputs": {"numeric": list(self.numeric), "categorical": list(self.categorical)},
            "embeddings": {name: {"rows": e.rows, "dim": e.dim} for name, e in self.embeddings.items()},
            "layers": [layer.to_json() for layer in self.layers],
            "head": self.head.to_json(),
        }
        if self.members is not None:
            value["ensemble"] = {"members": self.members}
        return value

    def prefixes(self) -> tuple[str, ...]:
        """The prefix of each member's tensor names."""
        return ("",) if self.members is None else tuple(f"members.{k}." for k in range(self.members))

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Every tensor that the weights must hold, no more and no less: name -> shape."""
        stack: dict[str, tuple[int, ...]] = {}
        for name, table in self.embeddings.items():
            stack[f"embeddings.{name}.weight"] = (table.rows, table.dim)
        for index, layer in enumerate(self.layers):
            stack.update({f"layers.{index}.{name}": shape for name, shape in layer.tensors().items()})
        return {prefix + name: shape for prefix in self.prefixes() for name, shape in stack.items()}


def _read_layer(value: Any, where: str) -> Layer:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "linear":
        reader = Reader(value, where, ("type", "in", "out"))
        return Layer("linear", (reader.positive("in"), reader.positive("out")))
    if kind in ("layer_norm", "batch_norm"):
        return Layer(kind, (Reader(value, where, ("type", "size")).positive("size"),))
    if kind == "dropout":
        p = Reader(value, where, ("type", "p")).number("p")
        if not 0 <= p < 1:
            raise ArtifactRefused(f"{where}: 'p' must be at least 0 and less than 1.")
        return Layer("dropout", p=p)
    if kind in ACTIVATIONS:
        Reader(value, where, ("type",))
        return Layer(kind)
    raise ArtifactRefused(f"{where}: the layer type {kind!r} is not in {ARCHITECTURE}.")


def _read_head(value: Any, where: str) -> Head:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "regression":
        return Head("regression", Reader(value, where, ("type", "output")).text("output"))
    if kind == "binary":
        reader = Reader(value, where, ("type", "threshold", "output", "score"))
        head = Head("binary", reader.text("output"), reader.text("score"), threshold=reader.number("threshold"))
    elif kind == "multiclass":
        reader = Reader(value, where, ("type", "classes", "output", "score"))
        classes = reader.array("classes")
        whole = all(isinstance(item, int) and not isinstance(item, bool) for item in classes)
        if len(classes) < 2 or not whole or len(set(classes)) != len(classes):
            raise ArtifactRefused(f"{where}: 'classes' must list at least two different whole numbers.")
        head = Head("multiclass", reader.text("output"), reader.text("score"), classes=tuple(classes))
    else:
        raise ArtifactRefused(f"{where}: the head type {kind!r} is not binary, multiclass or regression.")
    if head.output == head.score:
        raise ArtifactRefused(f"{where}: 'output' and 'score' must have different names.")
    return head


def _check_widths(architecture: Architecture, where: str) -> None:
    width = len(architecture.numeric) + sum(architecture.embeddings[name].dim for name in architecture.categorical)
    for index, layer in enumerate(architecture.layers):
        if layer.sizes and layer.sizes[0] != width:
            raise ArtifactRefused(
                f"{where}, layer {index}: it takes {layer.sizes[0]} numbers, but what comes before gives {width}."
            )
        width = layer.sizes[-1] if layer.sizes else width
    if width != architecture.head.width:
        raise ArtifactRefused(
            f"{where}: the last layer gives {width} numbers, but the head takes {architecture.head.width}."
        )


def read_architecture(value: Any, where: str) -> Architecture:
    """Read `architecture.json`; `where` names the file in the sentence of `ArtifactRefused`."""
    reader = Reader(value, where, ("format", "inputs", "embeddings", "layers", "head"), ("ensemble",))
    if value["format"] != ARCHITECTURE:
        raise ArtifactRefused(f"{where}: the format must be {ARCHITECTURE}.")
    inputs = Reader(value["inputs"], f"{where}, inputs", ("numeric", "categorical"))
    categorical = inputs.names("categorical")
    embeddings = {}
    for name, item in reader.mapping("embeddings").items():
        entry = Reader(item, f"{where}, embedding {name}", ("rows", "dim"))
        embeddings[name] = Embedding(entry.positive("rows"), entry.positive("dim"))
    if set(embeddings) != set(categorical):
        raise ArtifactRefused(f"{where}: the embeddings must be exactly those of the categorical inputs.")
    members = None
    if "ensemble" in value:
        members = Reader(value["ensemble"], f"{where}, ensemble", ("members",)).positive("members", MAX_MEMBERS)
    layers = tuple(_read_layer(item, f"{where}, layer {i}") for i, item in enumerate(reader.array("layers")))
    head = _read_head(value["head"], f"{where}, head")
    architecture = Architecture(inputs.names("numeric"), categorical, embeddings, layers, head, members)
    if not any(layer.type == "linear" for layer in layers):
        raise ArtifactRefused(f"{where} has no linear layer.")
    _check_widths(architecture, where)
    return architecture


def check_together(preprocessing: Preprocessing, architecture: Architecture) -> None:
    """Refuse a preprocessing that gives other inputs than the architecture takes, or indexes past its embeddings."""
    given = ({item.name for item in preprocessing.numeric}, {item.name for item in preprocessing.categorical})
    taken = (set(architecture.numeric), set(architecture.categorical))
    for kind, left, right in zip(("numeric", "categorical"), given, taken, strict=True):
        if left != right:
            odd = ", ".join(sorted(left ^ right))
            raise ArtifactRefused(f"The preprocessing and the architecture disagree on the {kind} inputs: {odd}.")
    for item in preprocessing.categorical:
        rows = architecture.embeddings[item.name].rows
        if len(item.codes) + 1 > rows:
            raise ArtifactRefused(
                f"The preprocessing maps {len(item.codes)} codes of {item.name} and the unknown, "
                f"but its embedding has {rows} rows."
            )
