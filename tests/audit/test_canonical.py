import datetime
import hashlib
import json
import uuid
from decimal import Decimal
from enum import Enum

import pytest

from audit.canonical import CanonicalError, canonical_bytes, exact

# cyberphone/json-canonicalization, testdata/input, with the SHA-256 of testdata/output
PUBLISHED = {
    "arrays": (
        '[ 56, { "d": true, "10": null, "1": [ ] } ]',
        "099601b171cafed97c333f8878d68e7f8c8f795412adb34b2fdcf0e7c7beac42",
    ),
    "french": (
        '{"peach": "This sorting order", "péché": "is wrong according to French", "pêche": "but canonicalization MUST",'
        ' "sin": "ignore locale"}',
        "d99d0ebdcb0033cb858cfa830ae46bc0fb3309413b271f1da828c89901a27ed5",
    ),
    "structures": (
        '{"1": {"f": {"f": "hi","F": 5} ,"\\n": 56.0}, "10": { }, "": "empty", "a": { },'
        ' "111": [ {"e": "yes","E": "no" } ], "A": { }}',
        "605f65004ec2db7692522a0852c22f1c989e036d547e88963d1a3143cf3195d5",
    ),
    "unicode": (
        '{"Unnormalized Unicode":"A\\u030a"}',
        "0d99aad92a125196ff887876643fd3206786a84ddce2cee52ba4ad256d2381d3",
    ),
    "values": (
        '{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],'
        ' "string": "\\u20ac$\\u000F\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/", "literals": [null, true, false]}',
        "2d5e01a318d0f0879ab568c4be289c8b1f64ef8921a53c6277d5e069978baacb",
    ),
    "weird": (
        '{"\\u20ac": "Euro Sign", "\\r": "Carriage Return", "\\u000a": "Newline", "1": "One",'
        ' "\\u0080": "Control\\u007f", "\\ud83d\\ude02": "Smiley", "\\u00f6": "Latin Small Letter O With Diaeresis",'
        ' "\\ufb33": "Hebrew Letter Dalet With Dagesh", "</script>": "Browser Challenge"}',
        "6af595a9aa80110b964b4de3f82a05fa6ae7423005019bacfa2620dddc4e94d1",
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_vectors_of_rfc_8785_come_out_byte_for_byte(name: str) -> None:
    source, sha256 = PUBLISHED[name]
    assert hashlib.sha256(canonical_bytes(json.loads(source))).hexdigest() == sha256


@pytest.mark.parametrize(
    "value", [2**53, -(2**53), float("nan"), float("inf"), {1: "a"}, "\ud800", {"\udc00": 1}, {1, 2}]
)
def test_what_json_cannot_say_exactly_has_no_canonical_bytes(value: object) -> None:
    with pytest.raises(CanonicalError):
        canonical_bytes(value)


def test_the_largest_safe_integers_have_canonical_bytes() -> None:
    assert canonical_bytes([2**53 - 1, -(2**53 - 1)]) == b"[9007199254740991,-9007199254740991]"


def test_exact_values_become_text_that_loses_nothing() -> None:
    class Colour(Enum):
        RED = "red"

    moment = datetime.datetime(2026, 3, 1, 16, 5, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))
    given = {
        "decimal": Decimal("1E-7"),
        "moment": moment,
        "day": datetime.date(2026, 3, 1),
        "id": uuid.UUID(int=7),
        "enum": Colour.RED,
        "tuple": (1, True, None),
    }
    assert exact(given) == {
        "decimal": "0.0000001",
        "moment": "2026-03-01T14:05:00.000000Z",
        "day": "2026-03-01",
        "id": "00000000-0000-0000-0000-000000000007",
        "enum": "red",
        "tuple": [1, True, None],
    }


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": [{"b": 0.5}]}, r"data\.a\[0\]\.b is a float"),
        ({"a": datetime.datetime(2026, 3, 1)}, "data.a is a datetime without a time zone"),  # noqa: DTZ001
        ({"a": b"x"}, "data.a is a bytes"),
        ({"a": Decimal("NaN")}, "data.a is NaN"),
        ({3: 1}, "keys are strings"),
    ],
)
def test_what_would_be_rounded_or_guessed_is_refused_by_place(value: object, words: str) -> None:
    with pytest.raises(CanonicalError, match=words):
        exact(value)


def test_endless_nesting_is_refused() -> None:
    value: list[object] = []
    for _ in range(100):
        value = [value]
    with pytest.raises(CanonicalError, match="levels deep"):
        exact(value)
