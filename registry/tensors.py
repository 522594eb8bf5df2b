"""How the tensors of two safetensors files differ, read piece by piece: a file larger than memory is no matter."""

import math
import struct
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit import strictjson

MAX_HEADER_BYTES = 64 * 2**20
PIECE_ITEMS = 2**20
PIECE_BYTES = 2**22
NUMPY = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?",
}  # fmt: skip


class NotSafetensors(ValueError):
    """The file is none, or one whose header is not in order; the message says what is wrong."""


@dataclass(frozen=True)
class Entry:
    """A tensor in a file: its datatype's name, its shape, and where its bytes lie in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def items(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class TensorDifference:
    """One tensor in two files. `change`: same, changed, added, removed or reshaped. `relative_norm` is |b - a| / |a|
    (None where a is zero or the change has no number) and `cosine` that of the angle between a and b, both Frobenius
    (the tensors taken as vectors), in float64; `most` is the largest absolute difference of one item."""

    name: str
    change: str
    dtype: str
    shape: tuple[int, ...]
    items: int
    relative_norm: float | None = None
    cosine: float | None = None
    most: float | None = None

    def as_json(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def read_index(path: Path) -> dict[str, Entry]:
    """The tensors of a safetensors file by name, without reading them. Raises NotSafetensors."""
    total = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else -1
        if not 0 < length <= min(MAX_HEADER_BYTES, total - 8):
            raise NotSafetensors("It does not begin with the length of a header that fits.")
        try:
            header = strictjson.parse(file.read(length))
        except strictjson.NotStrictJson as error:
            raise NotSafetensors(f"Its header can't be read: {error}.") from None
    if not isinstance(header, dict):
        raise NotSafetensors("Its header is not an object.")
    header.pop("__metadata__", None)
    return {name: _entry(name, value, 8 + length, total) for name, value in header.items()}


def _entry(name: str, value: Any, base: int, total: int) -> Entry:
    try:
        dtype, shape, (start, stop) = value["dtype"], tuple(value["shape"]), value["data_offsets"]
        size = np.dtype(NUMPY[dtype]).itemsize * math.prod(shape)
    except (KeyError, TypeError, ValueError):
        raise NotSafetensors(f"The tensor {name!r} has no datatype, shape or place that can be read.") from None
    if any(type(number) is not int or number < 0 for number in (*shape, start, stop)):
        raise NotSafetensors(f"The tensor {name!r} has a negative shape or place.")
    if stop - start != size or base + stop > total:
        raise NotSafetensors(f"The tensor {name!r} lies beyond the file, or is not as long as its shape says.")
    return Entry(dtype, shape, base + start, base + stop)


def spliced(base: Path, other: Path, names: Iterable[str]) -> Iterator[bytes]:
    """The bytes of `base` with the named tensors' numbers taken from `other`, piece by piece.

    Each has one datatype and shape in both files, so header and places stay: what was written in the canonical way
    stays so. Raises NotSafetensors for a name that does not.
    """
    before, after = read_index(base), read_index(other)
    chosen = sorted(set(names), key=lambda name: before[name].start if name in before else -1)
    at = 0
    for name in chosen:
        objection = unlike(name, before.get(name), after.get(name))
        if objection:
            raise NotSafetensors(objection)
        if before[name].start < at:
            raise NotSafetensors(f"The tensor {name!r} overlaps another one.")
        yield from _span(base, at, before[name].start)
        yield from _span(other, after[name].start, after[name].stop)
        at = before[name].stop
    yield from _span(base, at, base.stat().st_size)


def unlike(name: str, old: Entry | None, new: Entry | None) -> str:
    """Why one tensor can't stand in for another; "" when it can."""
    if old is None or new is None:
        return f"The tensor {name!r} is in one of the two files only."
    if old.shape != new.shape:
        return f"The tensor {name!r} has the shape {list(old.shape)} in one file and {list(new.shape)} in the other."
    if old.dtype != new.dtype:
        return f"The tensor {name!r} is {old.dtype} in one file and {new.dtype} in the other."
    return ""


def _span(path: Path, start: int, stop: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        while start < stop:
            piece = file.read(min(stop - start, PIECE_BYTES))
            if not piece:
                raise NotSafetensors("The file ended while it was read.")
            start += len(piece)
            yield piece


def differences(left: Path, right: Path) -> Iterator[TensorDifference]:
    """Every tensor of either file, in the order of the left one's names, new ones last. Raises NotSafetensors."""
    before, after = read_index(left), read_index(right)
    for name in [*before, *(name for name in after if name not in before)]:
        old, new = before.get(name), after.get(name)
        shown = new or old
        assert shown is not None
        facts = (shown.dtype, shown.shape, shown.items)
        if old is None or new is None:
            yield TensorDifference(name, "added" if old is None else "removed", *facts)
        elif old.shape != new.shape:
            yield TensorDifference(name, "reshaped", *facts)
        else:
            yield _measured(name, left, old, right, new)


def _measured(name: str, left: Path, old: Entry, right: Path, new: Entry) -> TensorDifference:
    """Sums over pieces: |a|², |b|², a·b, |b - a|²."""
    aa = bb = ab = dd = most = 0.0
    same = old.dtype == new.dtype
    for (raw_a, a), (raw_b, b) in zip(_pieces(left, old), _pieces(right, new), strict=True):
        same = same and raw_a == raw_b
        gap = b - a
        aa, bb, ab = aa + float(a @ a), bb + float(b @ b), ab + float(a @ b)
        dd += float(gap @ gap)
        most = max(most, float(np.abs(gap).max(initial=0.0)))
    change = "same" if same else "changed"
    numbers = [math.sqrt(dd / aa) if aa else None, ab / math.sqrt(aa * bb) if aa and bb else None, most]
    relative, cosine, largest = (None if value is None or not math.isfinite(value) else value for value in numbers)
    return TensorDifference(name, change, new.dtype, new.shape, new.items, relative, cosine, largest)


def values(path: Path, entry: Entry) -> NDArray[np.float64]:
    """A tensor whole, in its shape, as float64. Raises NotSafetensors where the file ends before it."""
    found = [piece for _, piece in _pieces(path, entry)]
    return np.concatenate(found).reshape(entry.shape) if found else np.zeros(entry.shape)


def _pieces(path: Path, entry: Entry) -> Iterator[tuple[bytes, NDArray[np.float64]]]:
    """The tensor's bytes and values, at most PIECE_ITEMS at a time."""
    dtype = np.dtype(NUMPY[entry.dtype])
    with path.open("rb") as file:
        file.seek(entry.start)
        left = entry.stop - entry.start
        while left:
            raw = file.read(min(left, PIECE_ITEMS * dtype.itemsize))
            if not raw:
                raise NotSafetensors("The file ended while it was read.")
            left -= len(raw)
            values = np.frombuffer(raw, dtype)
            if entry.dtype == "BF16":
                values = (values.astype(np.uint32) << 16).view(np.float32)
            yield raw, values.astype(np.float64)
