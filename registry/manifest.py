"""Manifests: what a version is made of. The SHA-256 of a manifest's bytes is the version's identity."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from audit.canonical import CanonicalError, canonical_bytes

FORMAT = "lastgood-manifest/1"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
COMPONENT = re.compile(r"[a-z][a-z0-9_-]{0,39}")
SHA256 = re.compile(r"[0-9a-f]{64}")
DATATYPES = frozenset(
    ["BOOL", "BYTES", "FP16", "FP32", "FP64"] + [f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)]
)


class ManifestRefused(ValueError):
    """A manifest that is not one. The message names the part and what it must be."""


@dataclass(frozen=True)
class ManifestFile:
    """A file that a manifest names: its component, its path in it, SHA-256 in hex, size in bytes."""

    component: str
    path: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """A manifest that has been read. `signature` is its `inputs` and `outputs`, as written."""

    model: str
    files: tuple[ManifestFile, ...]
    signature: dict[str, Any]

    def component(self, name: str) -> list[ManifestFile]:
        return [file for file in self.files if file.component == name]


def read_manifest(data: bytes) -> Manifest:
    """Read a manifest. Raises ManifestRefused, also for bytes that are not the canonical ones (RFC 8785)."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ManifestRefused(f"The manifest is not JSON: {error}.") from None
    _demand(isinstance(value, dict), "The manifest must be an object.")
    try:
        canonical = canonical_bytes(value)
    except CanonicalError as error:
        raise ManifestRefused(str(error)) from None
    _demand(canonical == data, "The manifest is not in canonical form; write it as RFC 8785 says.")
    expected = {"format", "model", "components", "signature"}
    _demand(set(value) == expected, f"The manifest must have exactly {', '.join(sorted(expected))}.")
    _demand(value["format"] == FORMAT, f"The manifest's format must be {FORMAT}.")
    _demand(_is_name(value["model"]), "The manifest's model is not a name.")
    files = tuple(_files(value["components"]))
    _demand(bool(files), "The manifest names no file.")
    places = [(file.component, file.path) for file in files]
    _demand(len(set(places)) == len(places), "The manifest names a path twice in one component.")
    return Manifest(value["model"], files, _signature(value["signature"]))


def _demand(holds: bool, sentence: str) -> None:
    if not holds:
        raise ManifestRefused(sentence)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def _files(components: object) -> Iterator[ManifestFile]:
    if not isinstance(components, dict):
        raise ManifestRefused("The manifest's components must be an object.")
    for component, entries in components.items():
        _demand(COMPONENT.fullmatch(component) is not None, f"{component!r} is not the name of a component.")
        _demand(isinstance(entries, list) and bool(entries), f"The component {component} must list its files.")
        for entry in entries:
            yield _file(component, entry)


def _file(component: str, entry: object) -> ManifestFile:
    if not isinstance(entry, dict) or set(entry) != {"path", "sha256", "size"}:
        raise ManifestRefused(f"A file of {component} must have exactly path, sha256 and size.")
    path, sha256, size = entry["path"], entry["sha256"], entry["size"]
    _demand(_is_name(path), f"{path!r} in {component} is not a file's name; folders are not kept.")
    _demand(
        isinstance(sha256, str) and SHA256.fullmatch(sha256) is not None, f"{path} has no SHA-256 in lowercase hex."
    )
    _demand(type(size) is int and size >= 0, f"{path} has no size in bytes.")
    return ManifestFile(component, path, sha256, size)


def _signature(value: object) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != {"inputs", "outputs"}:
        raise ManifestRefused("The signature must have exactly inputs and outputs.")
    for side, columns in value.items():
        _demand(isinstance(columns, list) and bool(columns), f"The signature's {side} must be a list with entries.")
        for column in columns:
            whole = isinstance(column, dict) and set(column) == {"name", "datatype"} and _is_name(column["name"])
            _demand(whole, f"Each of the signature's {side} must have exactly a name and a datatype.")
            known = column["datatype"] in DATATYPES
            _demand(known, f"{column['name']} has the datatype {column['datatype']!r}, which the protocol lacks.")
        names = [column["name"] for column in columns]
        _demand(len(set(names)) == len(names), f"The signature's {side} name a column twice.")
    return value
