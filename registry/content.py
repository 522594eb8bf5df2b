"""What is inside of the files that are handed in: weights are looked at by content, never by their name alone."""

import io
import pickletools
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from audit import strictjson
from registry.manifest import Manifest, ManifestFile

if TYPE_CHECKING:
    from pyarrow.parquet import FileMetaData

BUNDLED = "bundled"
PICKLE = "application/x-python-pickle"
SAFETENSORS = "application/vnd.safetensors"
JSON = "application/json"
PARQUET = "application/vnd.apache.parquet"
BINARY = "application/octet-stream"
PICKLE_STARTS = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))
ZIP_START = b"PK\x03\x04"
LOOK_BYTES = 2**16
MAX_JSON_BYTES = 16 * 2**20
TEXT_PICKLE_STARTS = frozenset(bytes([code]) for code in b"(ciINFLSVUTX]}lda.0GJKM")
CALLING = frozenset({"GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "REDUCE", "BUILD"})
COMPONENT_FORMATS = {"preprocessing": "lastgood-preprocessing/1", "config": "lastgood-architecture/1"}
PROFILE_FORMAT = "lastgood-profile/1"


class ContentRefused(ValueError):
    """A file holds what Lastgood does not take. The message names the file and what to hand in instead."""


def media_type_of(source: Path | bytes) -> str:
    """What the bytes show. A pickle is found under any name, a torch.save archive (a zip) counts as one; of the old
    text pickles, those that could run code when they are loaded."""
    start = source[:LOOK_BYTES] if isinstance(source, bytes) else _start(source)
    if start.startswith((*PICKLE_STARTS, ZIP_START)) or _is_text_pickle(start):
        return PICKLE
    if start[8:9] == b"{" and start[3:8] == b"\x00" * 5:
        return SAFETENSORS
    return JSON if start.lstrip()[:1] in (b"{", b"[") else BINARY


def _is_text_pickle(start: bytes) -> bool:
    """Protocols 0 and 1 have no mark of their own: they are a program of known codes, and one of these calls."""
    if start[:1] not in TEXT_PICKLE_STARTS:
        return False
    try:
        return any(opcode.name in CALLING for opcode, _, _ in pickletools.genops(start))
    except (ValueError, IndexError, KeyError):
        return False


def check_for_bundled(manifest: Manifest, sources: dict[str, Path | bytes]) -> None:
    """Refuse what the bundled host could not serve: pickles, weights that are not safetensors, unknown vocabularies.

    `sources` maps SHA-256 to the file or its bytes. Raises ContentRefused.
    """
    for file in manifest.files:
        kind = media_type_of(sources[file.sha256])
        if kind not in (PICKLE, SAFETENSORS, JSON):
            raise ContentRefused(f"{file.path} is neither safetensors nor JSON; the bundled host reads nothing else.")
        if kind == JSON and file.size > MAX_JSON_BYTES:
            raise ContentRefused(f"{file.path} is longer than {MAX_JSON_BYTES} bytes, too long for a declaration.")
        if kind == PICKLE:
            raise ContentRefused(f"{file.path} is a pickle or a torch.save archive, which can run code on loading. "
                                 "Write the tensors with safetensors.torch.save_file.")  # fmt: skip
    for component in ("weights", *COMPONENT_FORMATS):
        if len(manifest.component(component)) != 1:
            raise ContentRefused(f"The component {component} must have exactly one file for the bundled host.")
    if len(manifest.component("adapter")) > 1:
        raise ContentRefused("The component adapter must have at most one file for the bundled host.")
    for file in (*manifest.component("weights"), *manifest.component("adapter")):
        _check_safetensors(file, sources[file.sha256])
    for component, form in COMPONENT_FORMATS.items():
        [file] = manifest.component(component)
        if read_json(sources[file.sha256], file.path).get("format") != form:
            raise ContentRefused(f"The format of {file.path} must be {form}.")


def check_profile(data: bytes) -> None:
    """Refuse what is not a reference profile. Raises ContentRefused."""
    profile = read_json(data, "The profile")
    if profile.get("format") != PROFILE_FORMAT or not isinstance(profile.get("columns"), dict):
        raise ContentRefused(f"The profile must have the format {PROFILE_FORMAT}, and columns.")
    importance = profile.get("importance", {})
    weights = importance.get("weights", {}) if isinstance(importance, dict) else None
    if not isinstance(weights, dict) or not all(
        isinstance(weight, int | float) and not isinstance(weight, bool) and 0 <= weight <= 1
        for weight in weights.values()
    ):
        raise ContentRefused("The profile's importance must have weights: a number from 0 to 1 for each column.")


def check_holdout(data: bytes, inputs: Iterable[str]) -> None:
    """Refuse a holdout set that is not Parquet with every input and the column `label`, or has no row with a label as
    far as the file's own figures say. Raises ContentRefused."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(io.BytesIO(data))
    except (pa.ArrowException, OSError) as error:
        raise ContentRefused(f"The holdout set is not Parquet: {error}.") from None
    missing = sorted({*inputs, "label"} - set(file.schema_arrow.names))
    if missing:
        raise ContentRefused(f"The holdout set lacks the columns {', '.join(missing)}.")
    if not file.metadata.num_rows:
        raise ContentRefused("The holdout set has no rows.")
    if _labels_missing(file.metadata) == file.metadata.num_rows:
        raise ContentRefused("No row of the holdout set has a label: the column label is empty.")


def _labels_missing(described: "FileMetaData") -> int:
    """By a Parquet file's own figures, so that nothing is unpacked: rows that it says nothing of count as labelled."""
    groups = [described.row_group(number) for number in range(described.num_row_groups)]
    chunks = [group.column(at) for group in groups for at in range(group.num_columns)]
    figures = [chunk.statistics for chunk in chunks if chunk.path_in_schema == "label"]
    return sum(one.null_count for one in figures if one is not None and one.has_null_count)


def read_json(source: Path | bytes, name: str) -> dict[str, object]:
    """A file's JSON object. Raises ContentRefused."""
    try:
        value = strictjson.parse(source if isinstance(source, bytes) else source.read_bytes())
    except strictjson.NotStrictJson as error:
        raise ContentRefused(f"{name} is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise ContentRefused(f"{name} is not a JSON object.")
    return value


def _start(source: Path) -> bytes:
    with source.open("rb") as file:
        return file.read(LOOK_BYTES)


def _check_safetensors(file: ManifestFile, source: Path | bytes) -> None:
    from safetensors import SafetensorError, deserialize, safe_open

    try:
        if isinstance(source, bytes):
            names = [name for name, _ in deserialize(source)]
        else:
            with safe_open(source, framework="numpy") as opened:
                names = list(opened.keys())
    except (SafetensorError, OSError) as error:
        raise ContentRefused(f"{file.path} is not a safetensors file: {error}.") from None
    if not names:
        raise ContentRefused(f"{file.path} holds no tensors.")
