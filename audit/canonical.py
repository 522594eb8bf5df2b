"""Canonical bytes (RFC 8785, JSON Canonicalization Scheme) of records and of everything else that is hashed."""

import datetime
import enum
import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import rfc8785

MAX_DEPTH = 32


class CanonicalError(ValueError):
    """The value has no canonical form; the message names the place and the reason."""


def canonical_bytes(value: Any) -> bytes:
    """RFC 8785 bytes of a JSON value (dict, list, str, int, float, bool, None), as UTF-8.

    Raises CanonicalError for NaN and infinities, integers beyond +-(2**53 - 1), keys that are not strings, lone
    surrogates, and types JSON does not have. Strings are not normalised.
    """
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError) as error:
        raise CanonicalError(f"No canonical JSON for this value: {error}") from error


def exact(value: Any, where: str = "data", depth: int = 0) -> Any:
    """The same value in JSON types that lose nothing: Decimal, UUID and enum members become strings, aware datetimes
    RFC 3339 UTC with six digits, dates ISO 8601, tuples lists.

    Raises CanonicalError, naming the place, for a float, a naive datetime, bytes, a set or any other type.
    """
    if depth > MAX_DEPTH:
        raise CanonicalError(f"{where} is nested more than {MAX_DEPTH} levels deep.")
    if isinstance(value, enum.Enum):
        return exact(value.value, where, depth)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        raise CanonicalError(f"{where} is a float ({value!r}); pass a Decimal or a string, so that nothing is rounded.")
    if isinstance(value, Decimal):
        return decimal_text(value, where)
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, datetime.datetime):
        return instant(value, where)
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {_key(key, where): exact(item, f"{where}.{key}", depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [exact(item, f"{where}[{index}]", depth + 1) for index, item in enumerate(value)]
    raise CanonicalError(f"{where} is a {type(value).__name__}, which a record cannot hold.")


def instant(moment: datetime.datetime, where: str = "time") -> str:
    """RFC 3339 UTC with six digits, such as ``2026-03-01T14:05:00.000000Z``. Raises CanonicalError when naive."""
    if moment.tzinfo is None:
        raise CanonicalError(f"{where} is a datetime without a time zone.")
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def decimal_text(value: Decimal, where: str = "number") -> str:
    """A decimal as plain digits, never in scientific notation. Raises CanonicalError for NaN and infinities."""
    if not value.is_finite():
        raise CanonicalError(f"{where} is {value}, which is not a number that can be recorded.")
    return format(value, "f")


def _key(key: Any, where: str) -> str:
    if not isinstance(key, str):
        raise CanonicalError(f"{where} has the key {key!r}; keys are strings.")
    return str(key)
