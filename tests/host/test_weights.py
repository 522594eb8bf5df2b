"""A weights file is read once, hashed where its tensors then are, and can be written again from them byte for byte."""

import hashlib
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from host.problems import ArtifactRefused
from host.weights import file_start, read_header, read_tensors, stored_digest

TENSORS = {
    "b": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    'a"ü\n': torch.arange(5, dtype=torch.float16),
    "half": torch.tensor(1.5, dtype=torch.bfloat16),
    "a": torch.ones(3, 1, 2, dtype=torch.float32),
    "empty": torch.zeros(0, 4),
    "B": torch.full((7,), -2.0, dtype=torch.bfloat16),
}


def written(folder: Path, data: bytes) -> tuple[Path, str]:
    path = folder / "weights.safetensors"
    path.write_bytes(data)
    return path, hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"würde": 'a"b\\'}])
def test_the_start_of_a_file_is_what_the_library_writes(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    data = save(TENSORS, metadata)
    path, sha256 = written(tmp_path, data)

    header = read_header(path, "weights")

    assert data.startswith(file_start(header))
    assert stored_digest(TENSORS, header) == (sha256, len(data))


def test_what_is_read_has_the_values_of_what_was_written_and_lies_where_it_was_hashed(tmp_path: Path) -> None:
    data = save(TENSORS)
    path, sha256 = written(tmp_path, data)

    weights = read_tensors(path, sha256, read_header(path, "weights"), "weights")

    assert set(weights.tensors) == set(TENSORS)
    for name, tensor in TENSORS.items():
        found = weights.tensors[name]
        assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(found, tensor)
    assert (weights.sha256, weights.size) == (sha256, len(data))
    assert len({tensor.untyped_storage().data_ptr() for tensor in weights.tensors.values()}) == 1


def test_a_bit_that_fell_over_in_any_piece_of_the_file_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("host.weights.CHUNK", 64)
    data = save({"w": torch.ones(300)})
    path, sha256 = written(tmp_path, data)
    header = read_header(path, "weights")
    assert read_tensors(path, sha256, header, "weights").tensors["w"].sum() == 300

    for place in (len(data) - 1, len(data) // 2, len(data) - 1200):
        changed = bytearray(data)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(ArtifactRefused, match="damaged: its SHA-256"):
            read_tensors(path, sha256, header, "weights")


def test_a_file_that_is_written_in_another_order_is_refused(tmp_path: Path) -> None:
    """By hand, with the wider tensor last: the same numbers, and bytes that nobody could rebuild."""
    text = (
        b'{"h":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}'
    )
    text += b" " * (-len(text) % 8)
    path, sha256 = written(tmp_path, len(text).to_bytes(8, "little") + text + bytes(8))

    with pytest.raises(ArtifactRefused, match=r"not written by safetensors\.torch\.save"):
        read_tensors(path, sha256, read_header(path, "weights"), "weights")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_one_number_that_is_not_finite_is_refused_by_the_name_of_its_tensor(
    tmp_path: Path, value: float, dtype: torch.dtype
) -> None:
    tensors = {"good": torch.ones(4, dtype=dtype), "bad": torch.zeros(99, dtype=dtype)}
    tensors["bad"][57] = value
    path, sha256 = written(tmp_path, save(tensors))

    with pytest.raises(ArtifactRefused, match="'bad' holds numbers that are not finite"):
        read_tensors(path, sha256, read_header(path, "weights"), "weights")


class SlowPath(type(Path())):  # type: ignore[misc]
    """A file on a disk that takes a third of a second for each read."""

    def open(self, *args: Any, **options: Any) -> Any:
        file = super().open(*args, **options)
        if "buffering" not in options:
            return file
        read = file.readinto

        class Slow:
            def __enter__(self) -> "Slow":
                return self

            def __exit__(self, *error: object) -> None:
                file.close()

            def readinto(self, memory: memoryview) -> int:
                time.sleep(0.3)
                return int(read(memory))

        return Slow()


def test_the_time_that_a_digest_takes_is_hashing_and_not_the_disk(tmp_path: Path) -> None:
    path, sha256 = written(tmp_path, save(TENSORS))

    weights = read_tensors(SlowPath(path), sha256, read_header(path, "weights"), "weights")

    assert 0 < weights.seconds < 0.2
