"""Pruning: predictions and what can't be read go when their time has passed, unless a hold or an open incident keeps
them."""

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, Max, Min, OuterRef, Q, QuerySet, Sum

from audit import holds
from audit.actions import Target, record, service_actor
from audit.canonical import instant
from audit.clock import database_now
from monitoring import store
from monitoring.inbound.models import Arrival, Decision
from monitoring.models import Delivery, DeliveryState, Label, PartialSketch, PredictionBatch, WindowSketch
from registry.models import Endpoint

AT_ONCE = 200
LOCKED_AT_ONCE = 10
"""Batches whose files are read and removed while holds are settled."""
Span = tuple[datetime, datetime]
Keeper = Callable[[Iterable[Endpoint]], Iterable[tuple[int, Span]]]
"""Takes endpoints and returns the spans whose predictions must stay, whatever their age, each with its endpoint's key.
It is asked by the clock, so it asks the database once, however many endpoints there are."""

_keepers: list[Keeper] = []


def register_keeper(keeper: Keeper) -> None:
    """Have `keeper` asked before anything is pruned; for ``AppConfig.ready`` of the floors above."""
    if keeper not in _keepers:
        _keepers.append(keeper)


def cutoff(now: datetime) -> datetime | None:
    """What is older goes: LASTGOOD_PREDICTIONS_DAYS before now. None where everything is kept (0)."""
    days = settings.LASTGOOD_PREDICTIONS_DAYS
    return now - timedelta(days=days) if days else None


def prunable(endpoint: Endpoint, now: datetime) -> QuerySet[PredictionBatch]:
    """The endpoint's batches whose time has passed and that nothing keeps."""
    before = cutoff(now)
    if before is None or holds.on_model(endpoint.model.slug):
        return PredictionBatch.objects.none()
    # A batch begins before it ends: the index is by its beginning.
    found = PredictionBatch.objects.filter(endpoint=endpoint, first_at__lt=before, last_at__lt=before)
    for _, (start, end) in kept_spans([endpoint]):
        found = found.exclude(first_at__lte=end, last_at__gte=start)
    return found.order_by("last_at", "pk")


def kept_spans(endpoints: Iterable[Endpoint]) -> list[tuple[int, Span]]:
    """The spans that something keeps, each with its endpoint's key."""
    return [found for keeper in _keepers for found in keeper(endpoints)]


def due_endpoints(now: datetime) -> list[int]:
    """Ids of the endpoints that have something to prune."""
    before = cutoff(now)
    if before is None:
        return []
    old = PredictionBatch.objects.filter(endpoint=OuterRef("pk"), first_at__lt=before)
    endpoints = Endpoint.objects.filter(Exists(old)).select_related("model")
    return [endpoint.pk for endpoint in endpoints if prunable(endpoint, now).exists()]


def prune(endpoint_id: int) -> int:
    """Delete some of an endpoint's old predictions: files, index rows, and the labels of those predictions; on record.

    Returns how many batches went. The file goes first: killed in between, the next turn finds the row and goes on.
    """
    endpoint = Endpoint.objects.select_related("model").get(pk=endpoint_id)
    gone = 0
    while gone < AT_ONCE and (some := _prune_some(endpoint)):
        gone += some
    return gone


def _prune_some(endpoint: Endpoint) -> int:
    """A few batches in a transaction of their own: whoever places a hold or erases waits for no more than these."""
    now = database_now()
    with transaction.atomic():
        holds.settle(shared=True)
        batches = list(prunable(endpoint, now).select_for_update(of=("self",), skip_locked=True)[:LOCKED_AT_ONCE])
        if not batches:
            return 0
        chosen = PredictionBatch.objects.filter(pk__in=[batch.pk for batch in batches])
        facts = chosen.aggregate(rows=Sum("rows"), first=Min("first_at"), last=Max("last_at"))
        labels = sum(_remove(batch) for batch in batches)
        sketches = sum(_made_of(kind, endpoint, facts["last"]).delete()[0] for kind in (WindowSketch, PartialSketch))
        chosen.delete()
        record(
            action="predictions.prune",
            target=Target("endpoint", endpoint.slug),
            actor=service_actor("retention"),
            data={
                "batches": len(batches),
                "rows": facts["rows"],
                "labels": labels,
                "sketches": sketches,
                "first": instant(facts["first"]),
                "last": instant(facts["last"]),
                "days": settings.LASTGOOD_PREDICTIONS_DAYS,
            },
        )
    return len(batches)


def _made_of(
    kind: type[WindowSketch] | type[PartialSketch], endpoint: Endpoint, last: datetime
) -> QuerySet[WindowSketch] | QuerySet[PartialSketch]:
    """What was made of predictions up to and at `last`, but for the spans that something keeps."""
    found = kind.objects.filter(endpoint=endpoint, start__lte=last)
    for _, (start, end) in kept_spans([endpoint]):
        found = found.exclude(start__lte=end, end__gt=start)
    return found


def _remove(batch: PredictionBatch) -> int:
    """Delete the file and the labels that were joined to its rows; the number of labels."""
    try:
        ids = store.read(batch.path, batch.sha256, ["id"]).column("id").to_pylist()
    except store.StoreDamaged:
        ids = []
    labels = Label.objects.filter(endpoint=batch.endpoint_id, prediction_id__in=ids).delete()[0] if ids else 0
    store.remove(batch.path)
    return labels


def due_deliveries(now: datetime) -> list[object]:
    """Deliveries that could not be read, whose bodies have been kept for their time."""
    before = cutoff(now)
    if before is None:
        return []
    if not _bodies(before).exists():
        return []
    return list(_old_bodies(before).values_list("pk", flat=True)[:AT_ONCE])


def _bodies(before: datetime) -> QuerySet[Delivery]:
    return Delivery.objects.filter(state=DeliveryState.UNPARSEABLE, body__isnull=False, received_at__lt=before)


def _old_bodies(before: datetime) -> QuerySet[Delivery]:
    """Those of them that nothing keeps."""
    kept = _bodies(before)
    models = [hold.ref for hold in holds.active().filter(kind="model")]
    kept = kept.exclude(endpoint__model__slug__in=models)
    # What can't be read may be of any endpoint, where it does not say of which.
    for endpoint, span in kept_spans(Endpoint.objects.all()):
        kept = kept.exclude(Q(endpoint=endpoint) | Q(endpoint=None), received_at__range=span)
    return kept


def empty_delivery(delivery_id: object) -> bool:
    """Delete the body of an old delivery that could not be read; on record. False where it is gone or kept."""
    before = cutoff(database_now())
    with transaction.atomic():
        holds.settle(shared=True)
        if before is None or not _old_bodies(before).filter(pk=delivery_id).update(body=None):
            return False
        record(
            action="delivery.empty",
            target=Target("delivery", str(delivery_id)),
            actor=service_actor("retention"),
            data={"days": settings.LASTGOOD_PREDICTIONS_DAYS},
        )
    return True


def due_refusals(now: datetime) -> list[str]:
    """The oldest day (UTC, RFC 3339) of which the ledger has refusals that nothing was kept of and whose time has
    passed."""
    oldest = _refusals(cutoff(now)).order_by("received_at").values_list("received_at", flat=True).first()
    return [oldest.astimezone(UTC).date().isoformat()] if oldest else []


def forget_refusals(day: str) -> int:
    """Delete from the ledger the day's refusals that nothing was kept of, those whose time has passed; on record.

    Returns how many went. Raises ValueError for what is no day.
    """
    start = datetime.combine(date.fromisoformat(day), time(), UTC)
    old = _refusals(cutoff(database_now())).filter(received_at__gte=start, received_at__lt=start + timedelta(days=1))
    with transaction.atomic():
        gone = old.delete()[0]
        if gone:
            record(
                action="arrivals.prune",
                target=Target("arrivals", day),
                actor=service_actor("retention"),
                data={"rows": gone, "days": settings.LASTGOOD_PREDICTIONS_DAYS},
            )
    return gone


def _refusals(before: datetime | None) -> QuerySet[Arrival]:
    refused = Arrival.objects.filter(decision=Decision.REFUSED, delivery=None)
    return refused.filter(received_at__lt=before) if before else refused.none()
