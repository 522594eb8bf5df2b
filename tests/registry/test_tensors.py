"""How two files of weights differ: against numpy on whole arrays, and on files that are not what they should be."""

import json
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from registry import tensors
from registry.tensors import NotSafetensors, TensorDifference, differences, read_index


def written(path: Path, **arrays: Any) -> Path:
    save_file({name: np.asarray(array) for name, array in arrays.items()}, path)
    return path


def found(left: Path, right: Path) -> dict[str, TensorDifference]:
    return {row.name: row for row in differences(left, right)}


def test_each_tensor_is_measured_as_numpy_measures_it_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "PIECE_ITEMS", 7)
    draw = np.random.default_rng(5)
    a, b = draw.normal(size=(6, 9)).astype(np.float32), draw.normal(size=(6, 9)).astype(np.float32)
    left = written(tmp_path / "a", w=a, kept=a[0], gone=a[1])
    right = written(tmp_path / "b", w=b, kept=a[0], new=a[2])

    rows = found(left, right)

    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    assert rows["w"].change == "changed"
    assert rows["w"].relative_norm == pytest.approx(np.linalg.norm(y - x) / np.linalg.norm(x), rel=1e-12)
    assert rows["w"].cosine == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y), rel=1e-12)
    assert rows["w"].most == np.abs(y - x).max()
    assert (rows["kept"].change, rows["kept"].relative_norm, rows["kept"].most) == ("same", 0.0, 0.0)
    assert rows["kept"].cosine == pytest.approx(1, rel=1e-12)
    assert (rows["gone"].change, rows["new"].change) == ("removed", "added")
    assert rows["new"].relative_norm is None


def test_bfloat16_is_read_as_what_it_stands_for(tmp_path: Path) -> None:
    def bf16(path: Path, values: list[float]) -> Path:
        raw = (np.array(values, np.float32).view(np.uint32) >> 16).astype("<u2").tobytes()
        entry = {"dtype": "BF16", "shape": [len(values)], "data_offsets": [0, len(raw)]}
        header = json.dumps({"w": entry}).encode()
        path.write_bytes(struct.pack("<Q", len(header)) + header + raw)
        return path

    row = found(bf16(tmp_path / "a", [3.0, 4.0]), bf16(tmp_path / "b", [3.0, -1.0]))["w"]

    assert (row.relative_norm, row.most) == (1.0, 5.0)
    assert row.cosine == pytest.approx((9 - 4) / (5 * 10**0.5))


def test_zeros_and_numbers_that_are_not_finite_have_no_measure(tmp_path: Path) -> None:
    left = written(tmp_path / "a", zero=np.zeros(3), wild=np.array([1.0, np.inf]), empty=np.zeros((0, 4)))
    right = written(tmp_path / "b", zero=np.ones(3), wild=np.array([1.0, 2.0]), empty=np.zeros((0, 4)))

    rows = found(left, right)

    assert (rows["zero"].relative_norm, rows["zero"].cosine, rows["zero"].most) == (None, None, 1.0)
    assert (rows["wild"].relative_norm, rows["wild"].cosine, rows["wild"].most) == (None, None, None)
    assert (rows["empty"].change, rows["empty"].items) == ("same", 0)


def test_another_shape_is_not_measured(tmp_path: Path) -> None:
    row = found(written(tmp_path / "a", w=np.ones((2, 3))), written(tmp_path / "b", w=np.ones((3, 2))))["w"]
    assert (row.change, row.shape, row.relative_norm) == ("reshaped", (3, 2), None)


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        ({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, "is not as long as its shape says"),
        ({"w": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}}, "lies beyond the file"),
        ({"w": {"dtype": "F32", "shape": [-2], "data_offsets": [0, -8]}}, "negative"),
        ({"w": {"dtype": "Q7", "shape": [2], "data_offsets": [0, 8]}}, "no datatype"),
        (["w"], "not an object"),
    ],
)
def test_a_header_that_is_not_in_order_is_refused(tmp_path: Path, header: Any, sentence: str) -> None:
    text = json.dumps(header).encode()
    (tmp_path / "w").write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 8)

    with pytest.raises(NotSafetensors, match=sentence):
        read_index(tmp_path / "w")


@given(start=st.binary(max_size=64))
def test_no_bytes_make_it_allocate_or_fail_otherwise(start: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "drawn"
    path.write_bytes(start)
    with suppress(NotSafetensors):
        assert isinstance(read_index(path), dict)
