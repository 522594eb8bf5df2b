"""Weights files: safetensors, checked before anything is allocated, and written the one way a digest can be rebuilt.

The canonical way is `safetensors.torch.save(tensors)` with at most one metadata entry: the library orders tensors by
datatype and name, so the same tensors always give the same bytes. A file written in any other way is refused.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from host.problems import ArtifactRefused
from host.strictjson import parse

if TYPE_CHECKING:
    import torch

MAX_HEADER = 16 * 1024 * 1024
ITEM_BYTES = {"F32": 4, "F16": 2, "BF16": 2}


@dataclass(frozen=True)
class Header:
    """What a weights file declares: tensor name -> (datatype, shape), and its metadata (None: it has none)."""

    tensors: dict[str, tuple[str, tuple[int, ...]]]
    metadata: dict[str, str] | None


def _refuse_length(start: bytes, length: int, where: str) -> None:
    if start.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        raise ArtifactRefused(f"{where} is a pickle or a torch.save archive, which can run code; write safetensors.")
    raise ArtifactRefused(f"{where} is not a safetensors file: it claims a header of {length} bytes.")


def _read_entry(name: str, entry: Any, where: str) -> tuple[str, tuple[int, ...], int, int]:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ArtifactRefused(f"{where}: the tensor {name!r} must have a dtype, a shape and data_offsets.")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if dtype not in ITEM_BYTES:
        raise ArtifactRefused(f"{where}: the tensor {name!r} is {dtype!r}; only F32, F16 and BF16 are served.")
    whole = (
        isinstance(shape, list)
        and isinstance(offsets, list)
        and len(offsets) == 2
        and all(type(number) is int and 0 <= number < 2**48 for number in (*shape, *offsets))
    )
    if not whole:
        raise ArtifactRefused(f"{where}: the tensor {name!r} has a shape or offsets that are not whole numbers.")
    size = ITEM_BYTES[dtype]
    for length in shape:
        size *= length
    if offsets[1] - offsets[0] != size:
        raise ArtifactRefused(f"{where}: the tensor {name!r} claims {offsets[1] - offsets[0]} bytes, its shape {size}.")
    return dtype, tuple(shape), offsets[0], offsets[1]


def read_header(path: Path, where: str) -> Header:
    """Read and check a safetensors header without reading the tensors.

    Raises ArtifactRefused for a pickle, a header longer than the file, keys given twice, datatypes other than
    float32, float16 and bfloat16, and offsets that overlap, leave gaps or run past the end.
    """
    total = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise ArtifactRefused(f"{where} is too short to be a safetensors file.")
        length = struct.unpack("<Q", start)[0]
        if length > min(MAX_HEADER, total - 8):
            _refuse_length(start, length, where)
        text = file.read(length)
    try:
        value = parse(text)
    except ValueError as error:
        raise ArtifactRefused(f"{where} has a header that can't be read: {error}.") from None
    if not isinstance(value, dict):
        raise ArtifactRefused(f"{where} has a header that is not an object.")
    metadata = value.pop("__metadata__", None)
    if metadata is not None and not (
        isinstance(metadata, dict) and len(metadata) <= 1 and all(isinstance(v, str) for v in metadata.values())
    ):
        raise ArtifactRefused(f"{where} has more than one entry of metadata; its bytes could not be rebuilt.")
    entries = {name: _read_entry(name, entry, where) for name, entry in value.items()}
    end = 0
    for name, (_, _, begin, stop) in sorted(entries.items(), key=lambda item: (item[1][2], item[1][3])):
        if begin != end:
            raise ArtifactRefused(f"{where}: the tensor {name!r} overlaps another, or leaves a gap before it.")
        end = stop
    if end != total - 8 - length:
        raise ArtifactRefused(f"{where} holds {total - 8 - length} bytes of tensors, but its header describes {end}.")
    return Header({name: (dtype, shape) for name, (dtype, shape, _, _) in entries.items()}, metadata)


def check_tensors(header: Header, wanted: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Refuse a file whose tensors are not exactly those, in exactly those shapes, that the architecture declares."""
    for name in sorted(set(wanted) - set(header.tensors)):
        raise ArtifactRefused(f"{where} lacks the tensor {name!r}, which the architecture declares.")
    for name in sorted(set(header.tensors) - set(wanted)):
        raise ArtifactRefused(f"{where} has the tensor {name!r}, which the architecture does not declare.")
    for name, shape in wanted.items():
        if header.tensors[name][1] != tuple(shape):
            found = list(header.tensors[name][1])
            raise ArtifactRefused(f"{where}: the tensor {name!r} has the shape {found}, declared is {list(shape)}.")


def file_bytes(tensors: Mapping[str, torch.Tensor], metadata: dict[str, str] | None) -> bytes:
    """The bytes of the weights file that holds these tensors."""
    from safetensors.torch import save

    return save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, metadata)


def read_tensors(path: Path, sha256: str, header: Header, where: str) -> dict[str, torch.Tensor]:
    """Read the tensors, on the CPU and in their stored datatypes.

    Raises ArtifactRefused when the bytes have another SHA-256, were not written the canonical way, or hold numbers
    that are not finite. Needs about twice the file's size of memory for a moment.
    """
    import torch
    from safetensors.torch import load

    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ArtifactRefused(f"{where} is damaged: its SHA-256 is no longer {sha256}.")
    tensors = load(data)
    if file_bytes(tensors, header.metadata) != data:
        raise ArtifactRefused(f"{where} was not written by safetensors.torch.save; its digest could not be rebuilt.")
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ArtifactRefused(f"{where}: the tensor {name!r} holds numbers that are not finite.")
    return tensors
