"""Taking deliveries in: what was committed here before the answer is never lost. Nothing is judged here."""

import hashlib
import logging
import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from django.db import DataError, connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from audit.actions import Actor, Target, record, service_actor
from audit.clock import database_now
from audit.dispatch import gather_on_commit
from monitoring import alerts, reading, store, webhooks
from monitoring.exposition import read_points
from monitoring.inbound import beats, entering, formats, ledger, taking
from monitoring.models import Delivery, DeliveryState, PredictionBatch
from monitoring.series import keep_points
from registry.models import Endpoint, Host

logger = logging.getLogger(__name__)

NEVER_READABLE = (ArithmeticError, LookupError, TypeError, NotImplementedError, RecursionError)
"""What a body can raise in being read, today and tomorrow alike: such a delivery is set aside, not tried for ever."""

PREDICTIONS, LABELS, METRICS = "predictions", "labels", "metrics"


MOST_TOGETHER = 10
"""Deliveries that are read in one transaction. The locks of all their alerts are held to its end."""


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
    received_at: datetime | None = None,
) -> tuple[Delivery, bool]:
    """Store a delivery, commit, and wake the one who reads it. The flag is False when it had come before.

    An empty `key` means a digest of endpoint, host and body, so that a delivery sent twice is stored once.
    `received_at` is given where it came earlier than now. Raises KeyReused when the key came before with another body.
    """
    digest = hashlib.sha256(body).hexdigest()
    key = key or alerts.fingerprint(endpoint.pk if endpoint else "", host.pk if host else "", digest)
    with transaction.atomic():
        delivery = _delivery(
            source=source,
            sender=sender,
            key=key,
            endpoint=endpoint,
            host=host,
            content_type=content_type,
            body=body,
            sent_at=sent_at,
            **({"received_at": received_at} if received_at else {}),
        )
        Delivery.objects.bulk_create([delivery], ignore_conflicts=True)
        kept = Delivery.objects.defer("body").get(source=source, sender=sender, key=key)
        if kept.sha256 != digest:
            raise KeyReused(f"The key {key} came before with another body; give each body a key of its own.")
        created = kept.pk == delivery.pk
        if created:
            gather_on_commit("monitoring.process", [str(kept.pk)], queue="intake")
    return kept, created


def _delivery(*, body: bytes, content_type: str, **fields: Any) -> Delivery:
    digest = hashlib.sha256(body).hexdigest()
    return Delivery(body=body, content_type=content_type[:100], sha256=digest, size=len(body), **fields)


def is_sent_anew(delivery: Delivery, sent_at: datetime) -> bool:
    """Whether a message that came before was signed later this time, as a sender does that had no answer; the same one
    again is a replay. The time is kept."""
    return bool(Delivery.objects.filter(pk=delivery.pk, sent_at__lt=sent_at).update(sent_at=sent_at))


def take_webhook(
    *, source: str, sender: str, key: str, body: bytes, stored_ms: int | None = None, **delivered: Any
) -> tuple[Delivery, bool]:
    """Store a message of a sender of alerts, enter it in the ledger, and wake the one who reads it.

    Without a `key`, a message that tells the whole state of its alerts is its body: the same again is a duplicate,
    until it is so old that it may be news. Any other is a message of its own. Raises KeyReused as `accept` does.
    """
    named = key or (_state_key(body) if source in formats.TELLS_ALL else uuid.uuid4().hex)
    given = {"source": source, "sender": sender, "body": body, "endpoint": None, "host": None} | delivered
    if "received_at" not in delivered and (new := _enter(_delivery(key=named, **given), stored_ms)):
        return new, True
    with transaction.atomic():
        delivery, created = accept(key=named, **given)
        entered = delivered.get("received_at")
        now = entered or database_now()
        if not created and not key and delivery.received_at < now - taking.FIRES_STILL:
            delivery, created = accept(key=_state_key(body, now), **given)
        if entered is None or not delivery.arrivals.filter(spooled=True, received_at=entered).exists():
            ledger.arrived(delivery=delivery, created=created, stored_ms=stored_ms, received_at=entered)
    return delivery, created


def take_vouched(
    *, token: str, source: str, sender: str, key: str, body: bytes, stored_ms: int, content_type: str
) -> Delivery | None:
    """`take_webhook` for a new message that a token (SHA-256, hex) vouches for, in one statement that asks for the
    token too. None, and nothing is stored, for any other, and for one that nothing names: the whole way would store it
    twice where the answer to this statement is lost."""
    if not key and source not in formats.TELLS_ALL:
        return None
    named = key or _state_key(body)
    new = _delivery(source=source, sender=sender, key=named, body=body, content_type=content_type)
    return _enter(new, stored_ms, token=token)


def _enter(new: Delivery, stored_ms: int | None, **vouched: str) -> Delivery | None:
    if not entering.enter(new, stored_ms, **vouched):
        return None
    gather_on_commit("monitoring.process", [str(new.pk)], queue="intake")
    return new


def _state_key(body: bytes, now: datetime | None = None) -> str:
    digest = hashlib.sha256(body).hexdigest()
    span = [int(now.timestamp() // taking.FIRES_STILL.total_seconds())] if now else []
    return alerts.fingerprint("", "", digest, *span)


@transaction.atomic
def refuse(*, source: str, sender: str, key: str, body: bytes, error: str, **delivered: Any) -> None:
    """Keep a webhook that is answered with a refusal, so that people see what was sent. One that came before with the
    same body is there already. Raises KeyReused as `accept` does."""
    delivery, created = accept(source=source, sender=sender, key=key, body=body, endpoint=None, host=None, **delivered)
    if created:
        _set_aside(delivery, error)
    ledger.refused(
        source=source, sender=sender, sha256=delivery.sha256, size=delivery.size, why=error, delivery=delivery
    )


def read_again(*, delivery: Delivery, actor: Actor) -> bool:
    """Have a delivery that could not be read be read once more, as after the program or the registry was mended. What
    was taken of it before is not taken twice. False where it was read meanwhile, or its body is gone."""
    with transaction.atomic():
        again = Delivery.objects.filter(pk=delivery.pk, state=DeliveryState.UNPARSEABLE, body__isnull=False)
        if not again.update(state=DeliveryState.STORED, error="", attempts=0, processed_at=None):
            return False
        ledger.asked_again(delivery)
        record(action="delivery.read_again", target=Target("delivery", str(delivery.pk)), actor=actor)
        gather_on_commit("monitoring.process", [str(delivery.pk)], queue="intake")
    return True


def process_together(delivery_ids: Sequence[str]) -> list[str]:
    """Read those of these deliveries that hold alerts and are as they should be, MOST_TOGETHER in a transaction;
    returns the others, for `process` to find out what is to be said of each."""
    left: list[str] = []
    for first in range(0, len(delivery_ids), MOST_TOGETHER):
        some = delivery_ids[first : first + MOST_TOGETHER]
        done: set[str] = set()
        if len(some) > 1:
            try:
                done = _process_some(some)
            except Exception as error:
                logger.warning("deliveries.together.failed error=%s: %s", type(error).__name__, error)
        left += [one for one in some if one not in done]
    return left


@transaction.atomic
def _process_some(delivery_ids: Sequence[str]) -> set[str]:
    waiting = Delivery.objects.filter(pk__in=delivery_ids, state=DeliveryState.STORED, source__in=formats.READERS)
    claimed = waiting.exclude(sender=webhooks.SYNTHETIC).select_related("endpoint", "host").order_by("received_at")
    told: list[tuple[Delivery, list[formats.AlertRow]]] = []
    marks: set[str] = set()
    for delivery in claimed.select_for_update(of=("self",), skip_locked=True):
        read = formats.read(delivery.source, bytes(delivery.body or b""), delivery.received_at, delivery.pk.hex)
        own = taking.marks_of(delivery, read.rows)
        plain = read.rows and not read.errors and not read.left_out and len(own) == len(read.rows)
        if plain and not own & marks:
            told.append((delivery, read.rows))
        marks |= own
    ledger.decided_each(zip((delivery for delivery, _ in told), taking.take_each(told), strict=True))
    for count in {len(rows) for _, rows in told}:
        alike = [delivery.pk for delivery, rows in told if len(rows) == count]
        stored = Delivery.objects.filter(pk__in=alike, state=DeliveryState.STORED)
        stored.update(processed_at=Now(), state=DeliveryState.PROCESSED, rows=count, body=None)
    return {str(delivery.pk) for delivery, _ in told}


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
                rows, error = _keep(delivery)
        except reading.Unreadable as error:
            _set_aside(delivery, str(error))
        except (DataError, ValueError) as error:
            _set_aside(delivery, f"The database can't hold a value of it: {str(error).splitlines()[0]}")
        except NEVER_READABLE as error:
            _set_aside(delivery, f"It can't be read: {type(error).__name__}: {error}")
        else:
            if error:
                _set_aside(delivery, error, rows=rows)
            else:
                _finish(delivery, state=DeliveryState.PROCESSED, rows=rows, body=None)
    return True


def _keep(delivery: Delivery) -> tuple[int, str]:
    """How many rows of it were kept, and in words what of it could not be."""
    body = bytes(delivery.body or b"")
    if delivery.source in formats.READERS:
        return _keep_alerts(delivery, body)
    if delivery.endpoint is None:
        raise reading.Unreadable("The delivery names no endpoint.")
    if delivery.source == PREDICTIONS:
        return _keep_predictions(delivery, reading.read_predictions(delivery.content_type, body)), ""
    if delivery.source == LABELS:
        return _keep_labels(delivery.endpoint, reading.read_labels(body)), ""
    if delivery.source == METRICS:
        points = read_points(delivery.content_type, body, received_at=delivery.received_at)
        return keep_points(delivery.endpoint, delivery.host, points)
    raise reading.Unreadable(f"Nothing here reads deliveries of the kind {delivery.source}.")


def _keep_alerts(delivery: Delivery, body: bytes) -> tuple[int, str]:
    if delivery.sender == webhooks.SYNTHETIC:
        return beats.take(delivery, body), ""
    read = formats.read(delivery.source, body, delivery.received_at, delivery.pk.hex)
    if read.errors and not read.rows:
        raise reading.Unreadable(read.error)
    found = taking.take(delivery, read.rows)
    left_out = f"Its sender left {read.left_out} alerts out of it." if read.left_out else ""
    ledger.decided(delivery, found, why=read.error or left_out)
    return len(read.rows), read.error


def _set_aside(delivery: Delivery, error: str, rows: int = 0) -> None:
    logger.warning("delivery.unparseable delivery=%s source=%s error=%s", delivery.pk, delivery.source, error)
    _finish(delivery, state=DeliveryState.UNPARSEABLE, error=error[:500], rows=rows)
    if not rows and delivery.source in formats.READERS:
        ledger.unreadable(delivery, error)
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
