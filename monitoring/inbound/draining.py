"""Taking the spool into the database when it is back. The file goes last: killed in between, it is taken in again and
found to be there."""

import logging
from datetime import datetime

from django.db import DataError, connection, transaction
from django.db.models import Q

from accounts.models import ApiToken
from monitoring import intake
from monitoring.inbound import ledger, spool
from monitoring.models import WebhookSource

logger = logging.getLogger(__name__)
LOCK = 7_104_202


def due_files(now: datetime) -> list[object]:
    """The names of the deliveries that wait on disk."""
    return list(spool.waiting())


def take_spooled(name: str) -> bool:
    """Take one delivery from disk into the database, once, as of when it arrived. False where another did, and where
    it can never be taken: its file is put aside."""
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [LOCK, name])
            found = spool.load(name)
            if found is None:
                return False
            _take(*found)
    except (spool.SpoolDamaged, DataError) as error:
        logger.error("intake.spool.damaged file=%s error=%s", name, str(error).splitlines()[0])
        spool.put_aside(name)
        return False
    spool.remove(name)
    return True


def _take(about: spool.Spooled, body: bytes) -> None:
    if why := _refused(about):
        ledger.refused(source=about.source, sender=about.sender, sha256=about.sha256, size=len(body), why=why)
        return
    try:
        intake.take_webhook(
            source=about.source,
            sender=about.sender,
            key=about.key,
            body=body,
            content_type=about.content_type,
            sent_at=datetime.fromisoformat(about.sent_at) if about.sent_at else None,
            received_at=about.arrived_at,
        )
    except intake.KeyReused as reused:
        ledger.refused(source=about.source, sender=about.sender, sha256=about.sha256, size=len(body), why=str(reused))


def _refused(about: spool.Spooled) -> str:
    """Why the sender was not to be believed when the delivery came; empty where it was."""
    then = about.arrived_at
    if about.token:
        good = ApiToken.objects.filter(Q(expires_at=None) | Q(expires_at__gt=then), sha256=about.token)
        if not good.filter(Q(revoked_at=None) | Q(revoked_at__gt=then)).exists():
            return "The token that it came with was not good any more."
        return ""
    live = WebhookSource.objects.filter(Q(ended_at=None) | Q(ended_at__gt=then), name=about.sender)
    return "" if live.exists() else f"The sender {about.sender} had been ended."
