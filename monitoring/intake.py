"""Taking deliveries in: what was committed here before the answer is never lost. Nothing is judged here."""

import hashlib
import logging
import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from django.db import DataError, connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from audit.actions import Target, record, service_actor
from audit.dispatch import send_on_commit
from monitoring import alerts, reading, store
from monitoring.exposition import read_points
from monitoring.models import Delivery, DeliveryState, PredictionBatch
from monitoring.series import keep_points
from registry.models import Endpoint, Host

logger = logging.getLogger(__name__)

NEVER_READABLE = (ArithmeticError, LookupError, TypeError, NotImplementedError, RecursionError)
"""What a body can raise in being read, today and tomorrow alike: such a delivery is set aside, not tried for ever."""

PREDICTIONS, LABELS, METRICS, ALERTMANAGER = "predictions", "labels", "metrics", "alertmanager"


class KeyReused(ValueError):
    """An idempotency key came twice with different bodies: one of them would be lost."""


def accept(
    *,
    source: str,
    key: str,
    endpoint: Endpoint | None,
    host: Host | None,
    content_type: str,
    body: bytes,
    sender: str = "",
    sent_at: datetime | None = None,
) -> tuple[Delivery, bool]:
    """Store a delivery, commit, and wake the one who reads it. The flag is False when it had come before.

    An empty `key` means a digest of endpoint, host and body, so that a delivery sent twice is stored once. Raises
    KeyReused when the key came before with another body.
    """
    digest = hashlib.sha256(body).hexdigest()
    key = key or alerts.fingerprint(endpoint.pk if endpoint else "", host.pk if host else "", digest)
    with transaction.atomic():
        delivery = Delivery(
            source=source,
            sender=sender,
            key=key,
            endpoint=endpoint,
            host=host,
            content_type=content_type[:100],
            body=body,
            sha256=digest,
            size=len(body),
            sent_at=sent_at,
        )
        Delivery.objects.bulk_create([delivery], ignore_conflicts=True)
        kept = Delivery.objects.defer("body").get(source=source, sender=sender, key=key)
        if kept.sha256 != digest:
            raise KeyReused(f"The key {key} came before with another body; give each body a key of its own.")
        created = kept.pk == delivery.pk
        if created:
            send_on_commit("monitoring.process", [str(kept.pk)], queue="intake")
    return kept, created


def is_sent_anew(delivery: Delivery, sent_at: datetime) -> bool:
    """Whether a message that came before was signed later this time, as a sender does that had no answer; the same one
    again is a replay. The time is kept."""
    return bool(Delivery.objects.filter(pk=delivery.pk, sent_at__lt=sent_at).update(sent_at=sent_at))


@transaction.atomic
def refuse(
    *,
    source: str,
    sender: str,
    key: str,
    content_type: str,
    body: bytes,
    error: str,
    sent_at: datetime | None = None,
) -> None:
    """Keep a webhook that is answered with a refusal, so that people see what was sent. One that came before with the
    same body is there already. Raises KeyReused as `accept` does."""
    delivery, created = accept(
        source=source,
        key=key,
        endpoint=None,
        host=None,
        content_type=content_type,
        body=body,
        sender=sender,
        sent_at=sent_at,
    )
    if created:
        _set_aside(delivery, error)


def process(delivery_id: uuid.UUID | str) -> bool:
    """Read a stored delivery and keep what it holds. False when another has it, or it was read before.

    A body that cannot be read is kept, with the reason. Any other failure leaves the delivery stored, and the clock
    brings it back.
    """
    if not Delivery.objects.filter(pk=delivery_id, state=DeliveryState.STORED).update(attempts=F("attempts") + 1):
        return False
    with transaction.atomic():
        delivery = (
            Delivery.objects.select_for_update(of=("self",), skip_locked=True)
            .select_related("endpoint", "host")
            .filter(pk=delivery_id, state=DeliveryState.STORED)
            .first()
        )
        if delivery is None:
            return False
        try:
            with transaction.atomic():
                rows = _keep(delivery)
        except reading.Unreadable as error:
            _set_aside(delivery, str(error))
        except (DataError, ValueError) as error:
            _set_aside(delivery, f"The database can't hold a value of it: {str(error).splitlines()[0]}")
        except NEVER_READABLE as error:
            _set_aside(delivery, f"It can't be read: {type(error).__name__}: {error}")
        else:
            _finish(delivery, state=DeliveryState.PROCESSED, rows=rows, body=None)
    return True


def _keep(delivery: Delivery) -> int:
    body = bytes(delivery.body or b"")
    if delivery.source == ALERTMANAGER:
        return alerts.take_webhook(delivery, reading.read_alertmanager(body))
    if delivery.endpoint is None:
        raise reading.Unreadable("The delivery names no endpoint.")
    if delivery.source == PREDICTIONS:
        return _keep_predictions(delivery, reading.read_predictions(delivery.content_type, body))
    if delivery.source == LABELS:
        return _keep_labels(delivery.endpoint, reading.read_labels(body))
    if delivery.source == METRICS:
        points = read_points(delivery.content_type, body, received_at=delivery.received_at)
        return keep_points(delivery.endpoint, delivery.host, points)[0]
    raise reading.Unreadable(f"Nothing here reads deliveries of the kind {delivery.source}.")


def _set_aside(delivery: Delivery, error: str) -> None:
    logger.warning("delivery.unparseable delivery=%s source=%s error=%s", delivery.pk, delivery.source, error)
    _finish(delivery, state=DeliveryState.UNPARSEABLE, error=error[:500])
    record(
        action="delivery.set_aside",
        target=Target("delivery", str(delivery.pk)),
        actor=service_actor("worker"),
        data={"source": delivery.source, "sha256": delivery.sha256, "size": delivery.size},
        reason=error[:500],
        outcome="failed",
    )


def _finish(delivery: Delivery, **values: Any) -> None:
    Delivery.objects.filter(pk=delivery.pk, state=DeliveryState.STORED).update(processed_at=Now(), **values)


def _keep_predictions(delivery: Delivery, table: pa.Table) -> int:
    batches = []
    for number, (version, digest, part) in enumerate(_by_version(table)):
        first, last = pc.min_max(part.column("ts")).as_py().values()
        path = _path(delivery, version, first, number)
        batches.append(
            PredictionBatch(
                delivery=delivery,
                endpoint=delivery.endpoint,
                host=delivery.host,
                version=version,
                digest=digest,
                first_at=first,
                last_at=last,
                rows=len(part),
                path=path,
                sha256=store.write(path, part),
            )
        )
    PredictionBatch.objects.bulk_create(batches)
    return len(table)


def _by_version(table: pa.Table) -> Iterable[tuple[str, str, pa.Table]]:
    pairs = table.group_by(["version", "digest"]).aggregate([]).to_pylist()
    for pair in pairs:
        version, digest = pair["version"], pair["digest"] or ""
        if not 0 < len(version) <= 40 or "/" in version or version.startswith("."):
            raise reading.Unreadable(f"{version[:60]!r} is not a version's number.")
        if len(digest) > 64:
            raise reading.Unreadable("A digest is longer than 64 characters; it must be SHA-256 in hex.")
        same = pc.and_(pc.equal(table["version"], version), pc.equal(pc.fill_null(table["digest"], ""), digest))
        yield version, digest, table.filter(same)


def _path(delivery: Delivery, version: str, first: datetime, number: int) -> str:
    assert delivery.endpoint is not None
    return f"{delivery.endpoint.slug}/{version}/{first:%Y-%m-%dT%H}/{delivery.pk}-{number}.parquet"


def _keep_labels(endpoint: Endpoint, labels: list[reading.LabelRow]) -> int:
    ordered = sorted(labels, key=lambda label: label.id)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO monitoring_label AS l (endpoint_id, prediction_id, label, at) "
            "SELECT %s, * FROM unnest(%s::text[], %s::float8[], %s::timestamptz[]) "
            "ON CONFLICT (endpoint_id, prediction_id) DO UPDATE SET label = excluded.label, at = excluded.at "
            "WHERE l.at <= excluded.at",
            [endpoint.pk, [x.id for x in ordered], [x.label for x in ordered], [x.at for x in ordered]],
        )
    return len(ordered)
