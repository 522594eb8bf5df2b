import json
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audit.models import AuditEvent
from monitoring import due, intake, store
from monitoring.models import Delivery, DeliveryState, Label, MetricPoint, PredictionBatch
from monitoring.reading import ARROW
from tests.monitoring.world import START, answers, make_endpoint, make_hosts, part, send, stream

pytestmark = pytest.mark.django_db


def test_predictions_become_one_parquet_file_per_version(tmp_path):
    endpoint, [host] = make_endpoint(), make_hosts("gpu-1")
    one, two = answers(part(2017, 0, 30), version=1), answers(part(2017, 30, 12), version=2)

    delivery = send("predictions", stream(pa.concat_tables([one.table, two.table])), endpoint, host)

    assert (delivery.state, delivery.rows, delivery.body) == (DeliveryState.PROCESSED, 42, None)
    batches = list(PredictionBatch.objects.order_by("version"))
    assert [(b.version, b.digest, b.rows, b.host) for b in batches] == [
        ("1", f"{1:064x}", 30, host),
        ("2", f"{2:064x}", 12, host),
    ]
    assert batches[0].path.startswith("employment-production/1/2026-11-21T12/")
    assert (batches[0].first_at, batches[0].last_at) == (START, START + timedelta(seconds=58))
    kept = pq.read_table(store.root() / batches[1].path)
    assert kept.column("id").to_pylist() == two.ids
    assert kept.column("feature.AGEP").to_pylist() == part(2017, 30, 12)["AGEP"].tolist()


def test_a_delivery_read_twice_is_kept_once():
    endpoint, [host] = make_endpoint(), make_hosts("gpu-1")
    delivery = send("predictions", stream(answers(part(2017, 0, 30)).table), endpoint, host)

    again = intake.process(delivery.pk)

    assert again is False
    assert PredictionBatch.objects.count() == 1


def test_predictions_may_come_as_json_lines():
    endpoint = make_endpoint()
    lines = [
        {"id": "a", "ts": "2026-11-21T12:00:01Z", "version": "3", "output": 1, "score": 0.75, "feature.AGEP": 41},
        {"id": "b", "ts": "2026-11-21T13:00:02+01:00", "version": "3", "output": 0, "score": 0.25, "feature.AGEP": 17},
    ]
    delivery, _ = intake.accept(
        source="predictions",
        key="",
        endpoint=endpoint,
        host=None,
        content_type="application/x-ndjson",
        body="\n".join(map(json.dumps, lines)).encode(),
    )

    intake.process(delivery.pk)

    batch = PredictionBatch.objects.get()
    assert (batch.version, batch.rows, batch.host) == ("3", 2, None)
    assert batch.last_at == datetime(2026, 11, 21, 12, 0, 2, tzinfo=UTC)
    assert pq.read_table(store.root() / batch.path).column("feature.AGEP").to_pylist() == [41, 17]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"not arrow at all", "The body is not an Arrow stream: "),
        (stream(pa.table({"id": ["a"]})), "The predictions lack the column ts; id, ts, version and output are needed."),
        (
            stream(answers(part(2017, 0, 2)).table.set_column(0, "id", pa.array(["a", None]))),
            "The column id has 1 rows without a value.",
        ),
        (
            stream(answers(part(2017, 0, 2)).table.set_column(2, "version", pa.array(["../../etc", "1"]))),
            "'../../etc' is not a version's number.",
        ),
        (
            stream(answers(part(2017, 0, 2)).table.set_column(1, "ts", pa.array(["noon", "one"]))),
            "The column ts cannot be read as timestamp[us, tz=UTC]: ",
        ),
    ],
)
def test_predictions_that_cannot_be_read_are_kept_with_the_reason(body, error):
    endpoint = make_endpoint()

    delivery = send("predictions", body, endpoint)

    assert delivery.state == DeliveryState.UNPARSEABLE
    assert delivery.error.startswith(error)
    assert bytes(delivery.body) == body
    assert not PredictionBatch.objects.exists()
    event = AuditEvent.objects.get()
    assert (event.action, event.outcome, event.target_id) == ("delivery.set_aside", "failed", str(delivery.pk))


def test_a_truncated_arrow_stream_is_kept_with_the_reason():
    body = stream(answers(part(2017, 0, 200)).table)

    delivery = send("predictions", body[: len(body) // 2], make_endpoint())

    assert delivery.state == DeliveryState.UNPARSEABLE
    assert not PredictionBatch.objects.exists()


def label_line(identity, label, at):
    return json.dumps({"id": identity, "label": label, "ts": at.isoformat()}).encode()


def test_a_later_label_replaces_an_earlier_one_and_never_the_other_way_round():
    endpoint = make_endpoint()
    send("labels", label_line("a", 1, START) + b"\n" + label_line("b", 0, START), endpoint)

    send("labels", label_line("a", 0, START + timedelta(seconds=5)), endpoint)
    send("labels", label_line("a", 1, START + timedelta(seconds=2)), endpoint)

    assert dict(Label.objects.values_list("prediction_id", "label")) == {"a": 0.0, "b": 0.0}


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (
            b'{"id": "a", "label": "yes", "ts": "2026-11-21T12:00:00Z"}',
            'Line 1 has no "label" that is a finite number.',
        ),
        (b'{"label": 1, "ts": "2026-11-21T12:00:00Z"}', 'Line 1 has no "id" of 1 to 64 characters.'),
        (
            b'{"id": "a", "label": 1, "ts": "2026-11-21T12:00:00"}',
            "In line 1 the time '2026-11-21T12:00:00' has no offset",
        ),
        (b"[1]", "Line 1 is not a JSON object."),
    ],
)
def test_a_delivery_with_one_bad_label_keeps_none_of_them(line, error):
    endpoint = make_endpoint()

    delivery = send("labels", line + b"\n" + label_line("b", 0, START), endpoint)

    assert delivery.state == DeliveryState.UNPARSEABLE
    assert delivery.error.startswith(error)
    assert not Label.objects.exists()


def test_metric_points_are_kept_by_series_and_a_second_value_for_an_instant_replaces_the_first():
    endpoint, [host] = make_endpoint(), make_hosts("gpu-1")
    at = "2026-11-21T12:00:00Z"
    lines = [
        {"name": "queue_depth", "ts": at, "value": 3, "host": "gpu-1", "unit": "requests"},
        {"name": "queue_depth", "ts": at, "value": 4.5, "host": "gpu-1"},
        {"name": "queue_depth", "ts": at, "value": 7},
    ]

    delivery = send("metrics", "\n".join(map(json.dumps, lines)).encode(), endpoint)

    assert (delivery.state, delivery.rows) == (DeliveryState.PROCESSED, 3)
    points = MetricPoint.objects.order_by("value").values_list("series__host", "value", "n")
    assert list(points) == [(host.pk, 4.5, 1), (None, 7.0, 1)]


def test_a_value_that_the_database_cannot_hold_sets_the_delivery_aside_instead_of_coming_back_for_ever():
    endpoint = make_endpoint()
    table = answers(part(2017, 0, 2)).table
    named = table.set_column(table.column_names.index("version"), "version", pa.array(["1\0"] * 2))

    delivery = send("predictions", stream(named), endpoint)

    assert delivery.state == DeliveryState.UNPARSEABLE
    assert delivery.error.startswith("The database can't hold a value of it: ")
    assert not PredictionBatch.objects.exists()


def test_a_failure_of_ours_leaves_the_delivery_for_the_clock(monkeypatch):
    endpoint = make_endpoint()
    delivery, _ = intake.accept(
        source="predictions",
        key="",
        endpoint=endpoint,
        host=None,
        content_type=ARROW,
        body=stream(answers(part(2017, 0, 5)).table),
    )

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "write", full)
    with pytest.raises(OSError, match="No space left"):
        intake.process(delivery.pk)
    monkeypatch.undo()

    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts) == (DeliveryState.STORED, 1)
    received = delivery.received_at
    assert due.deliveries(received + timedelta(seconds=15)) == []
    assert due.deliveries(received + timedelta(seconds=25)) == [delivery.pk]
    assert intake.process(delivery.pk) is True
    assert Delivery.objects.get().state == DeliveryState.PROCESSED


@pytest.mark.parametrize(
    ("source", "body"),
    [
        ("labels", b'{"id": "a", "label": 1' + b"0" * 400 + b', "ts": "2026-11-21T12:00:00Z"}'),
        ("labels", b'{"id": "a", "label": 1, "ts": "0001-01-01T00:00:00+14:00"}'),
        ("labels", b'{"id": ' + b"[" * 100_000 + b"}"),
        ("predictions", b'{"id": ' + b"[" * 100_000 + b"}"),
    ],
    ids=["too-large", "before-time", "too-deep", "too-deep-predictions"],
)
def test_a_body_that_no_attempt_can_read_is_set_aside_at_the_first(source, body):
    endpoint = make_endpoint()
    delivery, _ = intake.accept(
        source=source, key="", endpoint=endpoint, host=None, content_type="application/x-ndjson", body=body
    )

    assert intake.process(delivery.pk)

    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts, bytes(delivery.body)) == (DeliveryState.UNPARSEABLE, 1, body)
    assert due.deliveries(datetime.now(UTC) + timedelta(days=1)) == []
