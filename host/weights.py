"""Weights files: safetensors, checked before anything is allocated, and written the one way a digest can be rebuilt.

The canonical way is `safetensors.torch.save(tensors)` with at most one metadata entry: the library orders tensors by
datatype and name, so the same tensors always give the same bytes. A file written in any other way is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from host.problems import ArtifactRefused
from host.strictjson import parse

if TYPE_CHECKING:
    import torch

MAX_HEADER = 16 * 1024 * 1024
ITEM_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
TORCH_NAMES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
ORDER = ("F32", "BF16", "F16")
CHUNK = 8 * 2**20


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


def file_start(header: Header) -> bytes:
    """The bytes before the tensors, as `safetensors.torch.save` writes them: length, JSON, spaces to a multiple of 8.

    Tensors are in the order of the file: wider datatypes first, by name where alike.
    """
    entries: dict[str, object] = {} if header.metadata is None else {"__metadata__": header.metadata}
    offset = 0
    for name in in_order(header):
        dtype, shape = header.tensors[name]
        end = offset + ITEM_BYTES[dtype] * math.prod(shape)
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def in_order(header: Header) -> list[str]:
    """The tensors' names in the order in which their bytes stand in the file."""
    return sorted(header.tensors, key=lambda name: (ORDER.index(header.tensors[name][0]), name))


def stored_digest(tensors: Mapping[str, torch.Tensor], header: Header) -> tuple[str, int]:
    """SHA-256 and size of the weights file that holds these tensors, on whatever device, in the header's datatypes.

    One tensor at a time is copied, none where it lies on the CPU in its stored datatype.
    """
    import torch

    start = file_start(header)
    digest, size = hashlib.sha256(start), len(start)
    for name in in_order(header):
        stored = getattr(torch, TORCH_NAMES[header.tensors[name][0]])
        data = tensors[name].detach().to(stored).cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        digest.update(data)
        size += len(data)
    return digest.hexdigest(), size


@dataclass(frozen=True)
class Weights:
    """The tensors of a file on the CPU, in their stored datatypes. `sha256` is of the very memory that holds them, with
    the header before them; hashing it took `seconds`, without waiting for the disk."""

    tensors: dict[str, torch.Tensor]
    sha256: str
    size: int
    seconds: float


def read_tensors(path: Path, sha256: str, header: Header, where: str) -> Weights:
    """Read the file once, hashing in another thread what is in memory already.

    Raises ArtifactRefused when the bytes have another SHA-256, were not written the canonical way, or hold numbers
    that are not finite. Needs the file's size of memory.
    """
    import torch

    size = path.stat().st_size
    whole = torch.empty(size, dtype=torch.uint8)
    found, seconds = _fill(memoryview(whole.numpy()), path, where)
    if found != sha256:
        raise ArtifactRefused(f"{where} is damaged: its SHA-256 is no longer {sha256}.")
    start = file_start(header)
    if bytes(whole[: len(start)].numpy()) != start:
        raise ArtifactRefused(f"{where} was not written by safetensors.torch.save; its digest could not be rebuilt.")
    tensors, begin = {}, len(start)
    for name in in_order(header):
        dtype, shape = header.tensors[name]
        end = begin + ITEM_BYTES[dtype] * math.prod(shape)
        tensors[name] = whole[begin:end].view(getattr(torch, TORCH_NAMES[dtype])).reshape(shape)
        begin = end
    for name, tensor in tensors.items():
        if tensor.numel() and not bool(torch.isfinite(torch.stack(torch.aminmax(tensor))).all()):
            raise ArtifactRefused(f"{where}: the tensor {name!r} holds numbers that are not finite.")
    return Weights(tensors, found, size, seconds)


def _fill(memory: memoryview, path: Path, where: str) -> tuple[str, float]:
    """Read the file into `memory`; the SHA-256 of what is there then, and the seconds that hashing took."""
    digest = hashlib.sha256()
    spent: list[float] = []

    def add(part: memoryview) -> None:
        started = time.monotonic()
        digest.update(part)
        spent.append(time.monotonic() - started)

    with ThreadPoolExecutor(1, "hashing") as hashing, path.open("rb", buffering=0) as file:
        for start in range(0, len(memory), CHUNK):
            part = memory[start : start + CHUNK]
            got = 0
            while got < len(part):
                more = file.readinto(part[got:])
                if not more:
                    raise ArtifactRefused(f"{where} became shorter while it was read.")
                got += more
            hashing.submit(add, part)
    return digest.hexdigest(), sum(spent)
