"""A low-rank adapter beside the weights: what it changes, how it reads back, and what is refused."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rfc8785
import torch
from safetensors.torch import save

from host.manifest import read_manifest
from host.problems import ArtifactRefused
from host.version import LoadedVersion, read_parts
from tests.host import artifacts
from tests.host.fixtures import HostProcess

FORMAT = {"format": "lastgood-adapter/1"}
COLUMNS = {"AGE": [20, 41, 77], "COLOR": [1, 2, 3], "SHAPE": [0, 5, 0]}


def low_rank(rank: int = 2, **changed: Any) -> dict[str, torch.Tensor]:
    """An adapter of the first linear layer of the default stack, which takes 6 numbers and gives 8."""
    generator = torch.Generator().manual_seed(9)
    tensors = {
        "layers.0.down": torch.rand((rank, 6), generator=generator) - 0.5,
        "layers.0.up": torch.rand((8, rank), generator=generator) - 0.5,
    }
    return {name: tensor for name, tensor in (tensors | changed).items() if tensor is not None}


def with_adapter(
    folder: Path, adapter: dict[str, torch.Tensor], metadata: dict[str, str] | None = None
) -> tuple[bytes, dict[str, Path]]:
    """The default version with an adapter: (manifest bytes, blobs)."""
    made, blobs = artifacts.make_model(folder, 1)
    data = save(adapter, FORMAT if metadata is None else metadata)
    sha256 = hashlib.sha256(data).hexdigest()
    (folder / sha256).write_bytes(data)
    manifest = json.loads(made)
    entry = {"path": "adapter.safetensors", "sha256": sha256, "size": len(data)}
    manifest["components"]["adapter"] = [entry]
    return rfc8785.dumps(manifest), blobs | {sha256: folder / sha256}


def loaded(made: tuple[bytes, dict[str, Path]]) -> LoadedVersion:
    parts = read_parts(read_manifest(made[0], "toy"), lambda sha256: made[1][sha256])
    return LoadedVersion("1", parts, torch.device("cpu"))


def test_it_answers_as_the_weights_with_the_product_added_would(tmp_path: Path) -> None:
    # given
    adapter = low_rank()
    config = artifacts.architecture()
    merged = artifacts.make_tensors(config, 1)
    merged["layers.0.weight"] = merged["layers.0.weight"] + adapter["layers.0.up"] @ adapter["layers.0.down"]
    whole = artifacts.pack(
        tmp_path / "merged", "toy", artifacts.weights_bytes(merged), artifacts.preprocessing(), config,
        artifacts.signature(config),
    )  # fmt: skip

    # when
    version = loaded(with_adapter(tmp_path / "adapted", adapter))

    # then
    expected, plain = loaded(whole), loaded(artifacts.make_model(tmp_path / "plain", 1))
    score = version.answer(COLUMNS).score
    np.testing.assert_allclose(score, expected.answer(COLUMNS).score, atol=1e-6)
    assert np.abs(score - plain.answer(COLUMNS).score).max() > 1e-3


def test_what_is_in_memory_reads_back_as_its_digest_and_a_changed_adapter_does_not(tmp_path: Path) -> None:
    made = with_adapter(tmp_path, low_rank())
    version = loaded(made)

    assert version.read_back().digest() == artifacts.digest_of(made[0])
    version.adapter["layers.0.up"][0, 0] += 1.0
    assert version.read_back().digest() != artifacts.digest_of(made[0])


@pytest.mark.parametrize(
    ("adapter", "metadata", "sentence"),
    [
        (low_rank(), {}, "its metadata must be the format lastgood-adapter/1"),
        (low_rank(**{"layers.0.up": None}), None, "layers.0 needs down of shape"),
        (low_rank(**{"layers.0.up": torch.zeros(8, 3)}), None, "layers.0 needs down of shape"),
        (low_rank(**{"layers.1.up": torch.zeros(8, 3)}), None, "'layers.1.up' is not LAYER.down or LAYER.up"),
        (low_rank(**{"layers.0.weight": torch.zeros(8, 6)}), None, "'layers.0.weight' is not LAYER.down"),
    ],
)
def test_what_is_no_adapter_of_that_architecture_is_refused(
    tmp_path: Path, adapter: dict[str, torch.Tensor], metadata: dict[str, str] | None, sentence: str
) -> None:
    with pytest.raises(ArtifactRefused, match=sentence.replace("/", ".")):
        loaded(with_adapter(tmp_path, adapter, metadata))


@pytest.mark.faults
def test_a_host_serves_a_version_with_an_adapter(host_process: Any, tmp_path: Path) -> None:
    process: HostProcess = host_process()
    made = with_adapter(tmp_path, low_rank())

    digest = process.serve("1", made, fence=1)

    answer = process.infer(COLUMNS).json()
    assert answer["parameters"]["digest"] == digest
    score = next(output["data"] for output in answer["outputs"] if output["name"] == "score")
    np.testing.assert_allclose(score, loaded(made).answer(COLUMNS).score, atol=1e-6)
