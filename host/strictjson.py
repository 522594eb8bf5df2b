"""JSON read strictly (no duplicate keys, no NaN) and, for artifacts, only in its RFC 8785 form.

An artifact's JSON must be canonical, because a version's digest is later rebuilt from the objects in memory.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from typing import Any

import rfc8785

from host.problems import ArtifactRefused


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} appears twice")
    return result


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a JSON number")


def parse(data: bytes | str) -> Any:
    """Parse JSON; duplicate keys, NaN and infinities, and nesting too deep to read raise ValueError."""
    try:
        return json.loads(data, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def canonical(value: Any) -> bytes:
    """RFC 8785 bytes of a JSON value. Raises ValueError for what has no canonical form."""
    try:
        return rfc8785.dumps(value)
    except rfc8785.CanonicalizationError as error:
        raise ValueError(str(error)) from None


def parse_canonical(data: bytes, where: str) -> Any:
    """Parse an artifact's JSON and refuse it, naming `where`, unless its bytes are the RFC 8785 form of its value."""
    try:
        value = parse(data)
        same = canonical(value) == data
    except ValueError as error:
        raise ArtifactRefused(f"{where} is not JSON that can be read: {error}.") from None
    if not same:
        raise ArtifactRefused(f"{where} is not canonical JSON (RFC 8785); write it with a JCS library.")
    return value


class Reader:
    """Reads one JSON object of a closed vocabulary; unknown or missing keys and wrong types raise ArtifactRefused."""

    def __init__(self, value: Any, where: str, required: Collection[str], optional: Collection[str] = ()) -> None:
        if not isinstance(value, dict):
            raise ArtifactRefused(f"{where} must be an object.")
        for key in sorted(value):
            if key not in required and key not in optional:
                raise ArtifactRefused(f"{where} has {key!r}, which its vocabulary does not know.")
        for key in required:
            if key not in value:
                raise ArtifactRefused(f"{where} lacks {key!r}.")
        self.value = value
        self.where = where

    def text(self, key: str) -> str:
        value = self.value[key]
        if not isinstance(value, str) or not value:
            raise ArtifactRefused(f"{self.where}: {key!r} must be a text that is not empty.")
        return value

    def number(self, key: str) -> float:
        value = self.value[key]
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ArtifactRefused(f"{self.where}: {key!r} must be a number.")
        return float(value)

    def positive(self, key: str, limit: int = 2**31) -> int:
        value = self.value[key]
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= limit:
            raise ArtifactRefused(f"{self.where}: {key!r} must be a whole number from 1 to {limit}.")
        return value

    def array(self, key: str) -> list[Any]:
        value = self.value[key]
        if not isinstance(value, list):
            raise ArtifactRefused(f"{self.where}: {key!r} must be a list.")
        return value

    def mapping(self, key: str) -> dict[str, Any]:
        value = self.value[key]
        if not isinstance(value, dict):
            raise ArtifactRefused(f"{self.where}: {key!r} must be an object.")
        return value

    def names(self, key: str) -> tuple[str, ...]:
        values = self.array(key)
        if any(not isinstance(value, str) or not value for value in values) or len(set(values)) != len(values):
            raise ArtifactRefused(f"{self.where}: {key!r} must be a list of different names.")
        return tuple(values)
