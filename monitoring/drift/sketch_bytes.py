"""Sketches as bytes: a head of JSON, then the numbers as they lie in memory, all of it deflated."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from monitoring.drift.sketch import CategoricalSketch, NumericSketch, Sketch

FORMAT = 1
_LENGTH = struct.Struct("<I")
COUNTED = ("n", "missing", "infinite", "invalid")


def packed(columns: Mapping[str, Sketch]) -> bytes:
    """The sketches of a window's columns by name."""
    head: dict[str, Any] = {}
    numbers: list[bytes] = []
    for name, sketch in columns.items():
        if isinstance(sketch, CategoricalSketch):
            counts = [[value, count, sketch.covered.get(value, 0)] for value, count in sketch.counts.items()]
            head[name] = {"counts": counts} | {key: getattr(sketch, key) for key in ("n", "missing", "other", "bound")}
            continue
        counted = all(np.array_equal(bound[0], bound[1]) for bound in (sketch.below, sketch.upto))
        bounds = 1 if counted else 2
        head[name] = {
            "points": len(sketch.values), "bounds": bounds, "single": sketch.single,
            "sums": [sketch.total.hex(), sketch.squares.hex()],
        } | {key: getattr(sketch, key) for key in COUNTED}  # fmt: skip
        numbers.append(sketch.values.astype("<f8").tobytes())
        numbers += [bound[:bounds].astype("<i8").tobytes() for bound in (sketch.below, sketch.upto)]
    text = json.dumps({"format": FORMAT, "columns": head}, separators=(",", ":")).encode()
    return zlib.compress(_LENGTH.pack(len(text)) + text + b"".join(numbers), 6)


def unpacked(content: bytes) -> dict[str, Sketch]:
    """What `packed` was given. Raises ValueError for another format."""
    whole = zlib.decompress(content)
    (length,) = _LENGTH.unpack_from(whole)
    head = json.loads(whole[_LENGTH.size : _LENGTH.size + length])
    if head["format"] != FORMAT:
        raise ValueError(f"Sketches of format {head['format']} can't be read; format {FORMAT} can.")
    place = _LENGTH.size + length
    found: dict[str, Sketch] = {}
    for name, one in head["columns"].items():
        if "counts" in one:
            covered = {value: part for value, _, part in one["counts"] if part}
            counts = {value: count for value, count, _ in one["counts"]}
            found[name] = CategoricalSketch(counts, one["n"], one["missing"], one["other"], one["bound"], covered)
            continue
        size, bounds = one["points"], one["bounds"]
        values = np.frombuffer(whole, "<f8", size, place)
        place += 8 * size
        read = []
        for _ in range(2):
            part = np.frombuffer(whole, "<i8", bounds * size, place).reshape(bounds, size)
            read.append(np.broadcast_to(part, (2, size)) if bounds == 1 else part)
            place += 8 * bounds * size
        total, squares = (float.fromhex(text) for text in one["sums"])
        counted = [one[key] for key in COUNTED]
        found[name] = NumericSketch(values, *read, *counted, total, squares, one["single"])
    return found
