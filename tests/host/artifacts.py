"""Small models, the same for the same arguments, written the way docs/host.md says artifacts are written."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from typing import Any

import rfc8785

CODES = {"COLOR": [1, 2, 3], "SHAPE": [0, 5]}
DIMENSIONS = {"COLOR": 3, "SHAPE": 2}
HIDDEN = ({"type": "linear", "in": 6, "out": 8}, {"type": "relu"}, {"type": "dropout", "p": 0.1})
BINARY = {"type": "binary", "threshold": 0.5, "output": "label", "score": "score"}


def architecture(
    layers: tuple[dict[str, Any], ...] | None = None, head: dict[str, Any] = BINARY, members: int | None = None
) -> dict[str, Any]:
    """One numeric input AGE, two categorical ones; the default stack is linear, relu, dropout, linear."""
    value: dict[str, Any] = {
        "format": "lastgood-architecture/1",
        "inputs": {"numeric": ["AGE"], "categorical": list(CODES)},
        "embeddings": {name: {"rows": len(CODES[name]) + 1, "dim": DIMENSIONS[name]} for name in CODES},
        "layers": list(layers or (*HIDDEN, {"type": "linear", "in": 8, "out": len(head.get("classes", [1]))})),
        "head": head,
    }
    return value if members is None else {**value, "ensemble": {"members": members}}


def preprocessing(mean: float = 40.5, std: float = 20.25) -> dict[str, Any]:
    return {
        "format": "lastgood-preprocessing/1",
        "numeric": [{"name": "AGE", "op": "standardize", "mean": mean, "std": std}],
        "categorical": [{"name": name, "codes": codes, "unknown": 0} for name, codes in CODES.items()],
    }


def shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The tensors that an architecture declares, worked out independently of the host."""
    stack: dict[str, tuple[int, ...]] = {}
    for name, table in config["embeddings"].items():
        stack[f"embeddings.{name}.weight"] = (table["rows"], table["dim"])
    for index, layer in enumerate(config["layers"]):
        if layer["type"] == "linear":
            stack[f"layers.{index}.weight"] = (layer["out"], layer["in"])
            stack[f"layers.{index}.bias"] = (layer["out"],)
        elif layer["type"] in ("layer_norm", "batch_norm"):
            names = ["weight", "bias"] + (["running_mean", "running_var"] if layer["type"] == "batch_norm" else [])
            stack.update({f"layers.{index}.{name}": (layer["size"],) for name in names})
    if "ensemble" not in config:
        return stack
    members = range(config["ensemble"]["members"])
    return {f"members.{k}.{name}": shape for k in members for name, shape in stack.items()}


def make_tensors(config: dict[str, Any], seed: int, dtype: str = "float32") -> dict[str, Any]:
    """Tensors drawn from the seed; variances are positive."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    return {
        name: (torch.rand(shape, generator=generator) - (0.0 if name.endswith("running_var") else 0.5)).to(
            getattr(torch, dtype)
        )
        for name, shape in shapes(config).items()
    }


def weights_bytes(tensors: dict[str, Any]) -> bytes:
    from safetensors.torch import save

    return save(tensors)


def signature(config: dict[str, Any]) -> dict[str, Any]:
    head = config["head"]
    outputs = [{"name": head["output"], "datatype": "FP64" if head["type"] == "regression" else "INT64"}]
    if head["type"] != "regression":
        outputs.append({"name": head["score"], "datatype": "FP32"})
    inputs = [*config["inputs"]["numeric"], *config["inputs"]["categorical"]]
    return {"inputs": [{"name": name, "datatype": "INT64"} for name in inputs], "outputs": outputs}


def pack(
    folder: Path, model: str, weights: bytes, steps: dict[str, Any] | bytes, config: dict[str, Any] | bytes, sign: Any
) -> tuple[bytes, dict[str, Path]]:
    """Write the files below `folder` by their SHA-256; returns (manifest bytes, SHA-256 -> path)."""
    files = {
        "weights": ("weights.safetensors", weights),
        "preprocessing": ("preprocessing.json", steps if isinstance(steps, bytes) else rfc8785.dumps(steps)),
        "config": ("architecture.json", config if isinstance(config, bytes) else rfc8785.dumps(config)),
    }
    folder.mkdir(parents=True, exist_ok=True)
    components, blobs = {}, {}
    for name, (path, data) in files.items():
        sha256 = hashlib.sha256(data).hexdigest()
        components[name] = [{"path": path, "sha256": sha256, "size": len(data)}]
        blobs[sha256] = folder / sha256
        blobs[sha256].write_bytes(data)
    manifest = {"format": "lastgood-manifest/1", "model": model, "components": components, "signature": sign}
    return rfc8785.dumps(manifest), blobs


def make_model(
    folder: Path,
    seed: int,
    layers: tuple[dict[str, Any], ...] | None = None,
    *,
    model: str = "toy",
    head: dict[str, Any] = BINARY,
    members: int | None = None,
    dtype: str = "float32",
    bias: float | None = None,
) -> tuple[bytes, dict[str, Path]]:
    """A whole version: (manifest bytes, blobs by SHA-256). `bias` sets the last layer's, to make answers foreseeable:
    a version with bias 100 always answers 1, one with -100 always 0."""
    config = architecture(layers, copy.deepcopy(head), members)
    tensors = make_tensors(config, seed, dtype)
    if bias is not None:
        last = max(index for index, layer in enumerate(config["layers"]) if layer["type"] == "linear")
        for name in tensors:
            if name.endswith(f"layers.{last}.bias"):
                tensors[name].fill_(bias)
    return pack(folder, model, weights_bytes(tensors), preprocessing(), config, signature(config))


def digest_of(manifest: bytes) -> str:
    return hashlib.sha256(manifest).hexdigest()


def row(age: int = 30, color: int = 2, shape: int = 5) -> dict[str, list[int]]:
    return {"AGE": [age], "COLOR": [color], "SHAPE": [shape]}
