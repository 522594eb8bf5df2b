"""Manifests: what a version is made of, named by digest. The SHA-256 of a manifest's bytes is the version's digest."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from host.problems import ArtifactRefused
from host.strictjson import Reader, canonical, parse_canonical
from host.vocabulary import Architecture, Preprocessing

FORMAT = "lastgood-manifest/1"
COMPONENTS = ("weights", "preprocessing", "config")
OPTIONAL = ("adapter",)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
SHA256 = re.compile(r"[0-9a-f]{64}")
INTEGERS = ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32")
FLOATS = ("FP32", "FP64")
DATATYPES = (*INTEGERS, *FLOATS, "BYTES")


@dataclass(frozen=True)
class File:
    """One file of a component; `size` in bytes."""

    path: str
    sha256: str
    size: int

    def to_json(self) -> dict[str, Any]:
        return {"path": self.path, "sha256": self.sha256, "size": self.size}


def file_of(path: str, data: bytes) -> File:
    return File(path, hashlib.sha256(data).hexdigest(), len(data))


@dataclass(frozen=True)
class Manifest:
    """A manifest that has been read. `inputs` and `outputs` map a name to its datatype, in their written order."""

    model: str
    files: dict[str, File]
    inputs: dict[str, str]
    outputs: dict[str, str]

    def to_bytes(self) -> bytes:
        """The RFC 8785 bytes; for a manifest that was read, the very bytes that were read."""
        return canonical(
            {
                "format": FORMAT,
                "model": self.model,
                "components": {name: [file.to_json()] for name, file in self.files.items()},
                "signature": {
                    "inputs": [{"name": name, "datatype": kind} for name, kind in self.inputs.items()],
                    "outputs": [{"name": name, "datatype": kind} for name, kind in self.outputs.items()],
                },
            }
        )

    def digest(self) -> str:
        """SHA-256 of the manifest's bytes, 64 lowercase hex digits."""
        return hashlib.sha256(self.to_bytes()).hexdigest()


def _read_file(value: Any, where: str) -> File:
    reader = Reader(value, where, ("path", "sha256", "size"))
    path, sha256 = reader.text("path"), reader.text("sha256")
    if not NAME.fullmatch(path):
        raise ArtifactRefused(f"{where}: {path!r} is not a plain file name.")
    if not SHA256.fullmatch(sha256):
        raise ArtifactRefused(f"{where}: 'sha256' must be 64 lowercase hexadecimal digits.")
    return File(path, sha256, reader.positive("size", 2**50))


def _read_signature(value: Any, where: str) -> dict[str, str]:
    if not isinstance(value, list) or not value:
        raise ArtifactRefused(f"{where} must be a list that is not empty.")
    result: dict[str, str] = {}
    for index, item in enumerate(value):
        reader = Reader(item, f"{where} {index}", ("name", "datatype"))
        name, datatype = reader.text("name"), reader.text("datatype")
        if datatype not in DATATYPES:
            raise ArtifactRefused(f"{where} {index}: the datatype {datatype!r} is not one of {', '.join(DATATYPES)}.")
        if name in result:
            raise ArtifactRefused(f"{where} names {name!r} twice.")
        result[name] = datatype
    return result


def read_manifest(data: bytes, model: str) -> Manifest:
    """Read the manifest of a version of `model`. Raises ArtifactRefused for one that this host can't build."""
    where = "The manifest"
    reader = Reader(parse_canonical(data, where), where, ("format", "model", "components", "signature"))
    if reader.text("format") != FORMAT:
        raise ArtifactRefused(f"The manifest's format must be {FORMAT}.")
    if reader.text("model") != model:
        raise ArtifactRefused(f"The manifest is of the model {reader.text('model')!r}, not of {model!r}.")
    declared = reader.mapping("components")
    components = Reader(declared, "The manifest's components", COMPONENTS, OPTIONAL)
    files: dict[str, File] = {}
    for name in (*COMPONENTS, *(name for name in OPTIONAL if name in declared)):
        entries = components.array(name)
        if len(entries) != 1:
            raise ArtifactRefused(f"The component {name!r} must have exactly one file for this host.")
        files[name] = _read_file(entries[0], f"The component {name!r}")
    signature = Reader(reader.mapping("signature"), "The manifest's signature", ("inputs", "outputs"))
    return Manifest(
        model,
        files,
        _read_signature(signature.array("inputs"), "The signature's input"),
        _read_signature(signature.array("outputs"), "The signature's output"),
    )


def check_signature(manifest: Manifest, preprocessing: Preprocessing, architecture: Architecture) -> None:
    """Refuse a signature that is not the one of the declared preprocessing and architecture."""
    kinds: dict[str, tuple[str, ...]] = {item.name: (*INTEGERS, *FLOATS) for item in preprocessing.numeric}
    for item in preprocessing.categorical:
        kinds[item.name] = ("BYTES",) if isinstance(item.codes[0], str) else INTEGERS
    if set(kinds) != set(manifest.inputs):
        odd = ", ".join(sorted(set(kinds) ^ set(manifest.inputs)))
        raise ArtifactRefused(f"The signature's inputs are not those of the preprocessing: {odd}.")
    for name, datatype in manifest.inputs.items():
        if datatype not in kinds[name]:
            raise ArtifactRefused(f"The signature gives {name} the datatype {datatype}, which its values do not have.")
    outputs = architecture.head.outputs()
    if manifest.outputs != outputs:
        wanted = ", ".join(f"{name} {datatype}" for name, datatype in outputs.items())
        raise ArtifactRefused(f"The signature's outputs must be those of the head, in this order: {wanted}.")
