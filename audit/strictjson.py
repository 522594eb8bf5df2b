"""JSON from strangers: read so that no two programs take one text for two things, and nothing is too big to hold."""

import json
import math
import re
from typing import Any

MAX_DEPTH = 64
MAX_INTEGER = 2**63 - 1
_OPENING = re.compile(rb"[\[{]")


class NotStrictJson(ValueError):
    """The text is not JSON that is taken here. The message says what is wrong with it."""


def parse(data: bytes) -> Any:
    """The value of UTF-8 JSON text (RFC 8259), narrowed as I-JSON (RFC 7493) is.

    Raises NotStrictJson for keys given twice, NaN and infinities, numbers that overflow (beyond 64 bits, or 1e999),
    lone surrogates, the character NUL, and nesting deeper than 64.
    """
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_integer,
        )
    except RecursionError:
        raise _too_deep() from None
    except UnicodeDecodeError as error:
        raise NotStrictJson(f"it is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise NotStrictJson(f"{error.msg} at line {error.lineno} column {error.colno}") from None
    # Without an escape no text can hold what the decoding above has not refused already.
    if b"\\u" in data or len(_OPENING.findall(data)) > MAX_DEPTH:
        _check(value)
    return value


def _check(value: Any) -> None:
    level, depth = [value], 0
    while level:
        if depth > MAX_DEPTH:
            raise _too_deep()
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += [*item, *item.values()]
            elif isinstance(item, list):
                below += item
            elif isinstance(item, str):
                _check_text(item)
        level, depth = below, depth + 1


def _check_text(text: str) -> None:
    if "\x00" in text:
        raise NotStrictJson("a text in it holds the character NUL")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NotStrictJson("a text in it holds half of a surrogate pair") from None


def _too_deep() -> NotStrictJson:
    return NotStrictJson(f"it is nested more than {MAX_DEPTH} levels deep")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise NotStrictJson(f"the key {twice[:60]!r} appears twice in one object")
    return result


def _no_constant(text: str) -> Any:
    raise NotStrictJson(f"{text} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise NotStrictJson(f"the number {text[:30]} is too large")
    return number


def _integer(text: str) -> int:
    if len(text) > 20 or abs(number := int(text)) > MAX_INTEGER:
        raise NotStrictJson(f"the whole number {text[:30]} does not fit into 64 bits")
    return number
