"""Predictions that no sender of sense would send: each is kept in a type that can be read, or set aside with a reason,
and a window that holds such rows is judged and shown."""

from datetime import date
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from monitoring.models import DeliveryState, Finding, MetricPoint, PredictionBatch, WindowState
from monitoring.reading import Unreadable, read_predictions
from monitoring.windows import load_predictions
from tests.monitoring.stream import judge, play, watch
from tests.monitoring.test_pages import sign_in
from tests.monitoring.world import (
    START,
    WINDOW,
    answers,
    log,
    make_endpoint,
    make_hosts,
    make_version,
    part,
    send,
    stream,
)

ROWS = 200
NOWHERE = pa.timestamp("s", "Mars/Base")
KEPT = {
    "dictionary": (pa.array(["a", "b"]).dictionary_encode(), ["a", "b"]),
    "text in views": (pa.array(["a", None], pa.string_view()), ["a", None]),
    "text with NUL": (pa.array(["a\0b", "c"]), ["a\u2400b", "c"]),
    "bytes": (pa.array([b"a\0", b"b"]), ["a\u2400", "b"]),
    "bytes that are no text": (pa.array([b"\xff\0", None], pa.large_binary()), ["ff00", None]),
    "decimal": (pa.array([Decimal("1.25"), None]), [1.25, None]),
    "date": (pa.array([date(2026, 11, 21), None]), ["2026-11-21", None]),
    "nanoseconds": (pa.array([1, None], pa.timestamp("ns")), ["1970-01-01 00:00:00.000000001", None]),
    "zone that nobody knows": (pa.array([5, None], NOWHERE), ["1970-01-01 00:00:05", None]),
    "duration": (pa.array([2**62, 1], pa.duration("s")), [2**62, 1]),
    "structure": (pa.array([{"a": 1, "b": None}, None]), ['{"a": 1, "b": null}', None]),
    "structure of nothing": (pa.array([{}, {}], pa.struct([])), ["{}", "{}"]),
    "runs": (pa.RunEndEncodedArray.from_arrays([1, 2], [5, 6]), [5, 6]),
    "list": (pa.array([[1.0, 2.0], None]), [[1.0, 2.0], None]),
    "list of texts": (pa.array([["a"], None]), ['["a"]', None]),
    "extension": (pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, 0], pa.int8())), [1, 0]),
    "half precision": (pa.array(np.array([1.5, np.inf], np.float16)), [1.5, np.inf]),
    "union": (pa.UnionArray.from_sparse(pa.array([0, 0], pa.int8()), [pa.array([1, 2])]), ["1", "2"]),
}
SIDES = (("a", "since", 0), ("a", "until", 1), ("b", "since", 1), ("b", "until", 2))


def with_column(name: str, values: pa.Array, rows: int) -> pa.Table:
    table = answers(part(2017, 0, rows)).table
    if name not in table.column_names:
        return table.append_column(name, values)
    return table.set_column(table.column_names.index(name), name, values)


def read(name: str, values: pa.Array) -> pa.Table:
    return read_predictions("application/vnd.apache.arrow.stream", stream(with_column(name, values, len(values))))


@pytest.mark.parametrize("kind", list(KEPT))
def test_a_column_of_any_type_is_kept_as_numbers_texts_or_lists_of_them(kind):
    given, kept = KEPT[kind]

    column = read("feature.AGEP", given).column("feature.AGEP")

    assert column.to_pylist() == kept


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_of_any_clock_are_kept_in_microseconds_of_utc(unit):
    ticks = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    moment = int(START.timestamp()) * ticks + (1 if unit == "ns" else 0)

    at = read("ts", pa.array([moment] * 2, pa.timestamp(unit))).column("ts")

    assert (at.type, at.to_pylist()) == (pa.timestamp("us", "UTC"), [START, START])


@pytest.mark.parametrize(
    ("name", "values", "error"),
    [
        ("ts", pa.array([1_795_262_400] * 2), "The column ts is of type int64; send Arrow's timestamps in UTC."),
        ("ts", pa.array([date(2026, 11, 21)] * 2), "The column ts is of type date32[day]; send Arrow's timestamps"),
        ("ts", pa.array([2**63 - 1] * 2, pa.timestamp("us", "UTC")), "The column ts has a time that is not between"),
        ("ts", pa.array([-1, 0], pa.timestamp("us", "UTC")), "The column ts has a time that is not between the years"),
        ("ts", pa.array(["2026-11-21T12:00:00"] * 2), "The column ts cannot be read as timestamp[us, tz=UTC]: "),
        ("id", pa.array([b"\xff"] * 2), "The column id cannot be read as string: Invalid UTF8"),
        ("host", pa.array(["evil"] * 2), "The predictions have a column host, which is not theirs to say: "),
        ("label", pa.array([1.0] * 2), "The predictions have a column label, which is not theirs to say: "),
        ("feature.a\0b", pa.array([1.0] * 2), "The name of a column holds the character NUL; leave it out."),
        ("output", pa.array([2**64 - 1] * 2, pa.uint64()), "The column output cannot be read as int64: "),
    ],
)
def test_what_can_t_be_kept_says_why(name, values, error):
    with pytest.raises(Unreadable) as refused:
        read(name, values)
    assert str(refused.value).startswith(error)


def test_a_latency_that_no_clock_can_have_measured_is_missing():
    column = read("latency_ms", pa.array([1.5, -1.0, np.inf, -np.inf, np.nan, 1e300, None, 0.0])).column("latency_ms")

    assert column.to_pylist() == [1.5, None, None, None, None, None, None, 0.0]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("feature.SEX", pa.array(["a\0b"] * ROWS)),
        ("feature.SEX", pa.array([5] * ROWS, NOWHERE)),
        ("feature.AGEP", pa.array([1] * ROWS, pa.timestamp("ns"))),
        ("feature.AGEP", pa.array([2**62] * ROWS, pa.duration("s"))),
        ("feature.", pa.array([1.0] * ROWS)),
        ("latency_ms", pa.array([np.inf, -1.0] * (ROWS // 2))),
        ("score", pa.array([np.inf, np.nan] * (ROWS // 2))),
        ("output", pa.array([np.inf, np.nan] * (ROWS // 2))),
        ("id", pa.array(["same"] * ROWS)),
    ],
    ids=["nul", "zone", "nanoseconds", "duration", "no-name", "latency", "score", "output", "ids"],
)
def test_a_window_of_odd_rows_is_judged_and_shown(client, name, values):
    endpoint, [host] = make_endpoint(), make_hosts("gpu-1")
    make_version(endpoint, 1)
    watch(endpoint)
    log(endpoint, host, answers(part(2017, ROWS, ROWS), seed=1))
    assert send("predictions", stream(with_column(name, values, ROWS)), endpoint, host).state == DeliveryState.PROCESSED

    window = judge(endpoint, 0)
    play(endpoint, [host], 1, rows=ROWS)

    assert (window.state, window.rows) == (WindowState.JUDGED, 2 * ROWS)
    assert not Finding.objects.filter(sentence__contains="can't be judged").exists()
    assert all(np.isfinite(value) for value in MetricPoint.objects.values_list("value", flat=True))
    sides = {f"{side}_{end}": f"{START + number * WINDOW:%Y-%m-%dT%H:%M}" for side, end, number in SIDES}
    sign_in(client, "viewer")
    for path in ("charts", "compare", "windows", "quality"):
        assert client.get(f"/monitoring/endpoints/{endpoint.slug}/{path}/", sides).status_code == 200, path
    for path in (f"/monitoring/windows/{window.pk}/", "/api/v1/metrics/", "/api/v1/metrics-by-hour/"):
        assert client.get(path).status_code == 200, path


@pytest.mark.django_db
def test_a_delivery_of_no_rows_is_read_and_leaves_nothing():
    endpoint = make_endpoint()

    delivery = send("predictions", stream(answers(part(2017, 0, 1)).table.slice(0, 0)), endpoint)

    assert (delivery.state, delivery.rows, delivery.error) == (DeliveryState.PROCESSED, 0, "")
    assert not PredictionBatch.objects.exists()
    assert len(load_predictions(endpoint, START, START + WINDOW)) == 0
