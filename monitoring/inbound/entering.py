"""A message of a sender of alerts and its row in the ledger, written in one statement: one round trip, one commit."""

from django.db import connection

from monitoring.inbound.models import Decision
from monitoring.models import Delivery

ENTER = """
    WITH made AS (
        INSERT INTO monitoring_delivery
            (id, source, sender, key, content_type, body, sha256, size, state, rows, error, attempts, sent_at)
        VALUES (%(id)s, %(source)s, %(sender)s, %(key)s, %(content_type)s, %(body)s, %(sha256)s, %(size)s, %(state)s,
                0, '', 0, %(sent_at)s)
        ON CONFLICT (source, sender, key) DO NOTHING
        RETURNING id, source, sender, sha256, size
    )
    INSERT INTO monitoring_arrival (source, sender, delivery_id, sha256, size, spooled, decision, why, stored_ms)
    SELECT source, sender, id, sha256, size, false, %(decision)s, '', %(stored_ms)s FROM made
    RETURNING delivery_id
"""
FIELDS = ("id", "source", "sender", "key", "content_type", "body", "sha256", "size", "state", "sent_at")


def enter(delivery: Delivery, stored_ms: int | None) -> bool:
    """Store a delivery that arrives now and enter its arrival. False where one of the same key came before: then
    nothing was written."""
    values = {name: getattr(delivery, name) for name in FIELDS}
    with connection.cursor() as cursor:
        cursor.execute(ENTER, values | {"decision": Decision.WAITING.value, "stored_ms": stored_ms})
        return cursor.fetchone() is not None
