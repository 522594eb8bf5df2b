"""Retention: what is pruned, and what a hold or an incident keeps."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from audit.actions import service_actor
from audit.holds import lift, place
from audit.models import AuditEvent
from audit.queries import record_of
from incidents.models import Incident, IncidentState
from monitoring import retention, store
from monitoring.inbound import ledger
from monitoring.inbound.models import Arrival
from monitoring.models import Delivery, DeliveryState, Label, PredictionBatch, WindowSketch
from registry.models import Endpoint
from tests.monitoring import world

pytestmark = pytest.mark.django_db
OLD = datetime(2025, 1, 1, tzinfo=UTC)
SETUP = service_actor("test")


@pytest.fixture
def endpoint(settings: Any, tmp_path: Path) -> Endpoint:
    """One with a batch of January 2025 and one of today, each with its labels."""
    settings.LASTGOOD_VAR = tmp_path
    settings.LASTGOOD_PREDICTIONS_DAYS = 400
    endpoint = world.make_endpoint()
    (host,) = world.make_hosts("h1")
    for start in (OLD, timezone.now() - timedelta(hours=1)):
        world.log(endpoint, host, world.answers(world.part(2016, 0, 50), start=start))
    return endpoint


def files() -> int:
    return sum(1 for path in store.root().rglob("*.parquet") if path.is_file())


def due() -> list[int]:
    return retention.due_endpoints(timezone.now())


def test_old_predictions_go_with_their_labels_and_young_ones_stay(endpoint: Endpoint) -> None:
    assert (PredictionBatch.objects.count(), Label.objects.count(), files()) == (2, 100, 2)
    assert due() == [endpoint.pk]
    assert retention.prune(endpoint.pk) == 1
    left = PredictionBatch.objects.get()
    assert left.first_at > OLD + timedelta(days=1)
    assert (Label.objects.count(), files()) == (50, 1)
    told = record_of(AuditEvent.objects.get(action="predictions.prune"))
    assert told["target"] == {"kind": "endpoint", "id": endpoint.slug, "version": ""}
    assert (told["data"]["batches"], told["data"]["rows"], told["data"]["labels"]) == (1, 50, 50)
    assert due() == []
    assert retention.prune(endpoint.pk) == 0
    assert AuditEvent.objects.filter(action="predictions.prune").count() == 1


def test_sketches_of_old_windows_go_with_their_predictions(endpoint: Endpoint) -> None:
    now = timezone.now()
    for start in (OLD, now - timedelta(hours=1)):
        WindowSketch.objects.create(
            endpoint=endpoint, version="1", start=start, end=start + world.WINDOW, rows=50, content=b""
        )
    assert retention.prune(endpoint.pk) == 1
    assert WindowSketch.objects.get().start > OLD
    assert record_of(AuditEvent.objects.get(action="predictions.prune"))["data"]["sketches"] == 1


def test_with_no_limit_nothing_goes(endpoint: Endpoint, settings: Any) -> None:
    settings.LASTGOOD_PREDICTIONS_DAYS = 0
    assert due() == []
    assert retention.prune(endpoint.pk) == 0
    assert files() == 2


def test_a_legal_hold_beats_the_retention_until_it_is_lifted(endpoint: Endpoint) -> None:
    hold = place(kind="model", ref=endpoint.model.slug, reason="case 12", actor=SETUP)
    assert due() == []
    assert retention.prune(endpoint.pk) == 0
    assert (PredictionBatch.objects.count(), files()) == (2, 2)
    lift(hold=hold, reason="settled", actor=SETUP)
    assert due() == [endpoint.pk]


@pytest.mark.parametrize("state", [IncidentState.DETECTED, IncidentState.RESOLVED])
def test_the_evidence_of_an_incident_stays_while_it_is_not_closed(endpoint: Endpoint, state: str) -> None:
    incident = Incident.objects.create(
        number=1, ref="INC-1", title="x", severity=2, endpoint=endpoint, group_key="x", detected_at=OLD, state=state,
        resolved_at=OLD + timedelta(hours=2),
    )  # fmt: skip
    assert due() == []
    assert retention.prune(endpoint.pk) == 0
    Incident.objects.filter(pk=incident.pk).update(state=IncidentState.CLOSED)
    assert due() == [endpoint.pk]
    hold = place(kind="incident", ref="INC-1", reason="case 12", actor=SETUP)
    assert due() == []
    lift(hold=hold, reason="settled", actor=SETUP)
    assert retention.prune(endpoint.pk) == 1


def test_a_file_that_is_gone_already_does_not_stop_the_pruning(endpoint: Endpoint) -> None:
    store.remove(PredictionBatch.objects.order_by("first_at")[0].path)
    assert retention.prune(endpoint.pk) == 1
    assert PredictionBatch.objects.count() == 1


def test_the_body_of_an_old_delivery_that_could_not_be_read_goes_and_its_row_stays(endpoint: Endpoint) -> None:
    kept = Delivery.objects.create(
        source="labels", key="k", endpoint=endpoint, content_type="x", body=b"Jane", sha256="0" * 64, size=4,
        state=DeliveryState.UNPARSEABLE,
    )  # fmt: skip
    assert retention.due_deliveries(timezone.now()) == []
    assert not retention.empty_delivery(kept.pk)
    Delivery.objects.filter(pk=kept.pk).update(received_at=OLD)
    Incident.objects.create(
        number=1, ref="INC-1", title="x", severity=2, endpoint=endpoint, group_key="x", detected_at=OLD,
        state=IncidentState.CLOSED, resolved_at=OLD + timedelta(hours=2),
    )  # fmt: skip
    hold = place(kind="incident", ref="INC-1", reason="case 12", actor=SETUP)
    for said in (endpoint, None):
        Delivery.objects.filter(pk=kept.pk).update(endpoint=said)
        assert retention.due_deliveries(timezone.now()) == []
        assert not retention.empty_delivery(kept.pk), "it came in the time of an incident that is held"
    lift(hold=hold, reason="settled", actor=SETUP)
    assert retention.due_deliveries(timezone.now()) == [kept.pk]
    assert retention.empty_delivery(kept.pk)
    assert Delivery.objects.get(pk=kept.pk).body is None
    assert AuditEvent.objects.get(action="delivery.empty").target_id == str(kept.pk)
    assert not retention.empty_delivery(kept.pk)


def test_the_clock_asks_once_while_there_is_no_old_body_and_as_often_for_many_endpoints_as_for_one(
    endpoint: Endpoint, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(1):
        assert retention.due_deliveries(timezone.now()) == []
    kept = Delivery.objects.create(
        source="labels", key="k", content_type="x", body=b"Jane", sha256="0" * 64, size=4,
        state=DeliveryState.UNPARSEABLE,
    )  # fmt: skip
    Delivery.objects.filter(pk=kept.pk).update(received_at=OLD)
    with CaptureQueriesContext(connection) as one:
        assert retention.due_deliveries(timezone.now()) == [kept.pk]
    for number in range(3):
        Endpoint.objects.create(slug=f"e{number}", model=endpoint.model, environment="staging", min_hosts_serving=1)
    with django_assert_num_queries(len(one)):
        assert retention.due_deliveries(timezone.now()) == [kept.pk]


def test_batches_go_a_few_at_a_time_so_that_a_hold_waits_for_those_alone(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "LOCKED_AT_ONCE", 2)
    host = PredictionBatch.objects.first().host  # type: ignore[union-attr]
    for day in range(1, 5):
        world.log(endpoint, host, world.answers(world.part(2016, 0, 2), start=OLD + timedelta(days=day)))
    assert retention.prune(endpoint.pk) == 5
    told = [record_of(event)["data"]["batches"] for event in AuditEvent.objects.filter(action="predictions.prune")]
    assert sorted(told) == [1, 2, 2]
    assert (PredictionBatch.objects.count(), files()) == (1, 1)


def test_refusals_that_nothing_was_kept_of_go_from_the_ledger_day_by_day(settings: Any) -> None:
    settings.LASTGOOD_PREDICTIONS_DAYS = 400
    for _ in range(4):
        ledger.refused(source="json", sender="unknown", sha256="", size=0, why="It names nobody.")
    first, second, kept, _ = Arrival.objects.order_by("pk")
    delivery = Delivery.objects.create(source="json", sender="town", key="k", sha256="", size=0)
    Arrival.objects.filter(pk=first.pk).update(received_at=OLD)
    Arrival.objects.filter(pk=second.pk).update(received_at=OLD + timedelta(days=1))
    Arrival.objects.filter(pk=kept.pk).update(received_at=OLD, delivery=delivery)

    assert retention.due_refusals(timezone.now()) == ["2025-01-01"]
    assert [retention.forget_refusals("2025-01-01") for _ in range(2)] == [1, 0]
    assert retention.due_refusals(timezone.now()) == ["2025-01-02"]
    assert retention.forget_refusals("2025-01-02") == 1

    assert retention.due_refusals(timezone.now()) == []
    today = timezone.now().date().isoformat()
    assert retention.forget_refusals(today) == 0
    assert Arrival.objects.count() == 2
    told = record_of(AuditEvent.objects.filter(action="arrivals.prune").earliest("pk"))
    assert (told["target"]["id"], told["data"]) == ("2025-01-01", {"rows": 1, "days": 400})
    settings.LASTGOOD_PREDICTIONS_DAYS = 0
    assert retention.due_refusals(timezone.now()) == []
