"""Arrow streams from strangers: how large they get is known before anything is unpacked.

The layout of the messages: Arrow's Message.fbs and Schema.fbs, read as FlatBuffers say ("Internals").
"""

import struct

import pyarrow as pa
import pyarrow.ipc

DICTIONARY, RECORDS = 2, 3
"""MessageHeader: DictionaryBatch and RecordBatch."""


def is_compressed(body: bytes) -> bool:
    """Whether any batch of the stream is compressed: a few bytes could become any number of them.

    Raises pyarrow.ArrowException, OSError or EOFError for what is no stream, struct.error for a header out of shape.
    """
    messages = pa.ipc.MessageReader.open_stream(pa.BufferReader(body))
    try:
        while True:
            if _names_a_codec(messages.read_next_message().metadata.to_pybytes()):
                return True
    except StopIteration:
        return False


def _names_a_codec(header: bytes) -> bool:
    message = struct.unpack_from("<I", header)[0]
    kind_at, batch_at = _field(header, message, 1), _field(header, message, 2)
    if not kind_at or not batch_at or header[kind_at] not in (DICTIONARY, RECORDS):
        return False
    batch = _follow(header, batch_at)
    if header[kind_at] == DICTIONARY:
        data_at = _field(header, batch, 1)
        if not data_at:
            return False
        batch = _follow(header, data_at)
    return _field(header, batch, 3) != 0


def _field(data: bytes, table: int, number: int) -> int:
    """Where a table's field stands; 0 where the table leaves it out."""
    places = table - struct.unpack_from("<i", data, table)[0]
    if places < 0 or 4 + 2 * number >= struct.unpack_from("<H", data, places)[0]:
        return 0
    offset: int = struct.unpack_from("<H", data, places + 4 + 2 * number)[0]
    return table + offset if offset else 0


def _follow(data: bytes, at: int) -> int:
    return int(at + struct.unpack_from("<I", data, at)[0])
