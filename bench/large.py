"""Models of any size, made on the spot: as many bytes as are asked for, in the shape that a figure needs."""

import hashlib
from pathlib import Path
from typing import Any

import rfc8785

from tests.host.artifacts import BINARY, architecture, digest_of, preprocessing, shapes, signature

Made = tuple[bytes, dict[str, Path]]
WIDTH = 4096


def table_model(folder: Path, size: int, *, model: str, seed: int = 1) -> Made:
    """About `size` bytes of float32 in one embedding table, so that an answer costs next to nothing."""
    rows = dimension = max(8, int((size / 4) ** 0.5))
    config = architecture(({"type": "linear", "in": dimension + 3, "out": 1},))
    config["embeddings"]["COLOR"] = {"rows": rows, "dim": dimension}
    steps = preprocessing()
    steps["categorical"][0]["codes"] = list(range(1, rows))
    return _write(folder, model, config, steps, "float32", seed)


def chain_model(folder: Path, parameters: int, *, model: str, dtype: str = "bfloat16", seed: int = 1) -> Made:
    """About `parameters` of them in square layers of WIDTH, as deep as that takes."""
    block = ({"type": "linear", "in": WIDTH, "out": WIDTH}, {"type": "layer_norm", "size": WIDTH}, {"type": "relu"})
    depth = max(1, parameters // WIDTH**2)
    layers = ({"type": "linear", "in": 6, "out": WIDTH}, *(block * depth), {"type": "linear", "in": WIDTH, "out": 1})
    return _write(folder, model, architecture(layers, dict(BINARY)), preprocessing(), dtype, seed)


def _write(folder: Path, model: str, config: dict[str, Any], steps: dict[str, Any], dtype: str, seed: int) -> Made:
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / "weights"
    save_file(_tensors(config, dtype, seed), weights)
    with weights.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    blobs = {sha256: weights.rename(folder / sha256)}
    components = {"weights": [{"path": "weights.safetensors", "sha256": sha256, "size": blobs[sha256].stat().st_size}]}
    for name, path, value in (("preprocessing", "preprocessing.json", steps), ("config", "architecture.json", config)):
        data = rfc8785.dumps(value)
        digest = digest_of(data)
        blobs[digest] = folder / digest
        blobs[digest].write_bytes(data)
        components[name] = [{"path": path, "sha256": digest, "size": len(data)}]
    sign = signature(config)
    manifest = {"format": "lastgood-manifest/1", "model": model, "components": components, "signature": sign}
    return rfc8785.dumps(manifest), blobs


def _tensors(config: dict[str, Any], dtype: str, seed: int) -> dict[str, Any]:
    """One block of random numbers, begun at another place for each tensor: drawing billions would take minutes."""
    import torch

    block = torch.rand(WIDTH * WIDTH + 4099, generator=torch.Generator().manual_seed(seed)) - 0.5
    block = block.to(getattr(torch, dtype))
    tensors = {}
    for number, (name, shape) in enumerate(shapes(config).items()):
        count, begin = torch.Size(shape).numel(), number % 4099
        repeats = -(-count // (WIDTH * WIDTH))
        tensors[name] = block[begin : begin + WIDTH * WIDTH].repeat(repeats)[:count].reshape(shape).contiguous()
    return tensors
