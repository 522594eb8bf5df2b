"""The table for spreadsheets."""

import csv
import io

import pytest

from audit.verify import COLUMNS, csv_cell, csv_line, csv_row


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("plain", '"plain"'),
        (7, '"7"'),
        ("", '""'),
        ('say "no"', '"say ""no"""'),
        ("a,b;c", '"a,b;c"'),
        ("=1+1", '"\'=1+1"'),
        ("+1", '"\'+1"'),
        ("-1", '"\'-1"'),
        ("@SUM(A1)", '"\'@SUM(A1)"'),
        ("  =1", '"\'  =1"'),
        ('"=1', '"\'""=1"'),
        ("\uff1d1", '"\'\uff1d1"'),
        ("\t=1", '"\\t=1"'),
        ("\r=1", '"\\r=1"'),
        ("two\nlines", '"two\\nlines"'),
        ("a\u202ecba", '"a\\u202ecba"'),
        ("zero\u200bwidth\x00", '"zero\\u200bwidth\\u0000"'),
        ("Zoë Müller 東京", '"Zoë Müller 東京"'),
        (-5, '"\'-5"'),
    ],
)
def test_abuse_29_a_cell_is_quoted_is_no_formula_and_hides_nothing(value: object, cell: str) -> None:
    assert csv_cell(value) == cell


def test_a_row_is_one_line_that_a_csv_reader_reads_back() -> None:
    line = csv_line(["a", 'b"c', "d\ne", "=f"])
    assert line.endswith(b"\r\n")
    assert line.count(b"\n") == 1
    assert next(csv.reader(io.StringIO(line.decode()))) == ["a", 'b"c', "d\\ne", "'=f"]


def test_a_row_of_an_event_has_every_column() -> None:
    record = {
        "occurred_at": "2026-03-01T00:00:00.000000Z",
        "action": "incident.open",
        "outcome": "success",
        "actor": {"kind": "user", "id": "u-alice"},
        "target": {"kind": "incident", "id": "INC-1", "version": ""},
        "data": {"b": 1, "a": "=2"},
        "event_id": "e-1",
    }
    row = next(csv.DictReader(io.StringIO((csv_line(COLUMNS) + csv_row(4, record, "why")).decode())))
    assert (row["leaf_index"], row["actor"], row["reason"]) == ("4", "u-alice", "why")
    assert (row["data"], row["incident"]) == ('{"a":"=2","b":1}', "")
