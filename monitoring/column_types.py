"""The types that columns of the prediction log have, and how a column of any other Arrow type is kept as one of them.

Numbers, truth values, texts and lists of them are kept as they are. All else would stop whoever reads it later: Parquet
has no empty structures, Python no moment after the year 9999, and PostgreSQL no text with a NUL.
"""

import json

import pyarrow as pa
import pyarrow.compute as pc

NUL, SHOWN_NUL = "\0", "\u2400"
"""PostgreSQL holds no NUL; Unicode has a sign that shows one."""


def kept(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column (rows,) in a type of the prediction log: dictionaries and runs unpacked, decimals as float64, moments
    and bytes as text (bytes that are no UTF-8 in hex), structures, maps and unions as the text of their JSON.

    Raises pyarrow.ArrowException or ValueError for values that have no text.
    """
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return kept(pa.chunked_array([chunk.storage for chunk in column.chunks], kind.storage_type))
    if pa.types.is_dictionary(kind):
        return kept(column.cast(kind.value_type))
    if pa.types.is_run_end_encoded(kind):
        return kept(pa.chunked_array([pc.run_end_decode(chunk) for chunk in column.chunks], kind.value_type))
    if pa.types.is_decimal(kind):
        return column.cast(pa.float64())
    if pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp(kind.unit)).cast(pa.string())
    if pa.types.is_duration(kind):
        return column.cast(pa.int64())
    if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        return column.cast(pa.string())
    if _is_bytes(kind):
        return _without_nul(_decoded(column))
    if is_text(kind):
        return _without_nul(column.cast(pa.string()))
    return column if _is_plain(kind) or _is_plain_list(kind) else _as_json(column)


def _is_bytes(kind: pa.DataType) -> bool:
    return (
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
        or pa.types.is_binary_view(kind)
    )


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of that type holds texts, in whichever layout."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _is_plain(kind: pa.DataType) -> bool:
    return (
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind)
    )


def _is_plain_list(kind: pa.DataType) -> bool:
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return lists and (_is_plain(kind.value_type) or _is_plain_list(kind.value_type))


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return column.cast(pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:
        texts = [None if value is None else value.hex() for value in column.to_pylist()]
        return pa.chunked_array([texts], pa.string())


def _without_nul(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.replace_substring(column, NUL, SHOWN_NUL)


def _as_json(column: pa.ChunkedArray) -> pa.ChunkedArray:
    texts = [None if value is None else json.dumps(value, default=str) for value in column.to_pylist()]
    return pa.chunked_array([texts], pa.string())
