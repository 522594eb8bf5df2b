"""The prediction store: Parquet files below LASTGOOD_VAR/predictions, named by the rows of PredictionBatch."""

import hashlib
import io
import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from django.conf import settings


class StoreDamaged(Exception):
    """A file of the prediction store is gone or no longer what was written. The message names the file."""


def root() -> Path:
    """The directory of the store."""
    return Path(settings.LASTGOOD_VAR) / "predictions"


def write(relative: str, table: pa.Table) -> str:
    """Write the table as Parquet below the root, durably (fsync, rename), and return the file's SHA-256 in hex.

    Writing the same path again replaces the file whole, so a repeated attempt leaves no half of one.
    """
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    content = sink.getvalue()
    put_back(relative, content)
    return hashlib.sha256(content).hexdigest()


def put_back(relative: str, content: bytes) -> None:
    """Write a file of the store as it was, durably. Raises ValueError for a path that leads out of the store."""
    target = root() / relative
    if not target.resolve().is_relative_to(root().resolve()):
        raise ValueError(f"{relative!r} lies outside of the prediction store.")
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(target)


def column_names(relative: str) -> list[str]:
    """The columns of a stored file. Raises StoreDamaged when it cannot be read."""
    try:
        return list(pq.read_schema(root() / relative).names)
    except (OSError, pa.ArrowException) as error:
        raise StoreDamaged(f"The prediction file {relative} cannot be read: {error}.") from error


def read(relative: str, sha256: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a stored file (only `columns`, where it has them) after checking its SHA-256.

    Raises StoreDamaged when the file is missing or its bytes are not the ones that were written.
    """
    try:
        content = (root() / relative).read_bytes()
    except OSError as error:
        raise StoreDamaged(f"The prediction file {relative} cannot be read: {error.strerror}.") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise StoreDamaged(f"The prediction file {relative} is not the one that was written: its SHA-256 differs.")
    file = pq.ParquetFile(io.BytesIO(content))
    wanted = None if columns is None else [name for name in file.schema_arrow.names if name in set(columns)]
    return file.read(columns=wanted)


def remove(relative: str) -> None:
    """Delete a stored file, and the directories that it leaves empty. One that is gone already is no error."""
    target = root() / relative
    target.unlink(missing_ok=True)
    for directory in target.parents:
        if directory == root() or not directory.is_relative_to(root()):
            return
        try:
            directory.rmdir()
        except OSError:  # something else lies in it, or it is gone
            return
