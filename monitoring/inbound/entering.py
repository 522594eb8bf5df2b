"""A message of a sender of alerts and its row in the ledger, written in one statement: one round trip, one commit."""

from django.db import connection

from accounts.authentication import IS_LIVE, LAST_USED_STEP
from monitoring.inbound.models import Decision
from monitoring.models import Delivery

ENTER = """
    WITH made AS (
        INSERT INTO monitoring_delivery
            (id, source, sender, key, content_type, body, sha256, size, state, rows, error, attempts, sent_at)
        SELECT %(id)s, %(source)s, %(sender)s, %(key)s, %(content_type)s, %(body)s, %(sha256)s, %(size)s, %(state)s,
               0, '', 0, %(sent_at)s
        WHERE {vouched}
        ON CONFLICT (source, sender, key) DO NOTHING
        RETURNING id, source, sender, sha256, size
    )
    INSERT INTO monitoring_arrival (source, sender, delivery_id, sha256, size, spooled, decision, why, stored_ms)
    SELECT source, sender, id, sha256, size, false, %(decision)s, '', %(stored_ms)s FROM made
    RETURNING delivery_id
"""
BY_TOKEN = f"""
    EXISTS (
        SELECT FROM accounts_apitoken t JOIN accounts_user o ON o.id = t.owner_id
        WHERE t.sha256 = %(token)s AND {IS_LIVE} AND o.is_active AND t.scopes @> '["ingest"]'
        AND t.last_used_at > statement_timestamp() - %(step)s
    ) AND NOT EXISTS (SELECT FROM monitoring_webhooksource WHERE name = %(sender)s)
"""  # noqa: S608  ours
FIELDS = ("id", "source", "sender", "key", "content_type", "body", "sha256", "size", "state", "sent_at")


def enter(delivery: Delivery, stored_ms: int | None, *, token: str = "") -> bool:
    """Store a delivery that arrives now and enter its arrival. False where one of the same key came before, or where a
    `token` (SHA-256, hex) is given and does not vouch for it: then nothing was written.

    A token vouches that is good, takes data in, was used within the last minute, and speaks for a sender that does not
    sign.
    """
    values = {name: getattr(delivery, name) for name in FIELDS}
    asked = {"token": token, "step": LAST_USED_STEP} if token else {}
    statement = ENTER.format(vouched=BY_TOKEN if token else "true")
    with connection.cursor() as cursor:
        cursor.execute(statement, values | asked | {"decision": Decision.WAITING.value, "stored_ms": stored_ms})
        return cursor.fetchone() is not None
