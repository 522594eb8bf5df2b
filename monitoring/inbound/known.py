"""Who may send alerts, kept on disk for the time in which the database is away. Secrets stay sealed there, of tokens
only their digests are known, and whoever was ended or revoked meanwhile is found out when the spool is taken in.
"""

import base64
import json
import logging
import os
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.conf import settings

from accounts.models import ApiToken
from audit.clock import database_now
from monitoring import sources
from monitoring.models import WebhookSource
from registry import sealing

logger = logging.getLogger(__name__)
REFRESH_SECONDS = 15.0
_written = 0.0


class NotVouched(Exception):
    """Who sent it is not known without the database."""


def file() -> Path:
    return Path(settings.LASTGOOD_VAR) / "senders.json"


def refresh() -> None:
    """Write anew who may send, at most every REFRESH_SECONDS in a process. A disk that refuses stops no delivery."""
    global _written
    if time.monotonic() - _written < REFRESH_SECONDS and file().exists():
        return
    _written = time.monotonic()
    try:
        _write(json.dumps({"senders": _senders(), "tokens": _tokens()}).encode())
    except OSError as error:
        logger.warning("intake.senders.not_kept error=%s", error)


def _senders() -> dict[str, Any]:
    return {
        source.name: {
            "sealed": [
                (base64.b64encode(bytes(sealed)).decode(), place, until)
                for sealed, place, until in sources.sealed_secrets(source)
            ],
            "ended": source.ended_at is not None,
        }
        for source in WebhookSource.objects.all()
    }


def _tokens() -> dict[str, str]:
    live = ApiToken.objects.filter(revoked_at=None, owner__is_active=True, scopes__contains=["ingest"])
    now = database_now()
    return {
        token.sha256: token.expires_at.isoformat() if token.expires_at else ""
        for token in live
        if token.expires_at is None or token.expires_at > now
    }


def _write(content: bytes) -> None:
    place = file()
    place.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=place.parent, prefix="senders-")
    try:
        with os.fdopen(handle, "wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        Path(part).replace(place)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def _read() -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(file().read_bytes())
    except (OSError, ValueError) as error:
        raise NotVouched("Who may send is not known while the database is away.") from error
    return found


def secrets_of(name: str) -> list[str]:
    """The secrets of a sender that count now. Raises NotVouched."""
    sender = _read()["senders"].get(name)
    if sender is None or sender["ended"]:
        raise NotVouched(f"{name} is not known as a sender that signs.")
    now = datetime.now(UTC)
    found = [
        sealing.unseal(base64.b64decode(sealed), place)
        for sealed, place, until in sender["sealed"]
        if not until or datetime.fromisoformat(until) > now
    ]
    return found + [sources.STAND_IN] * (2 - len(found))


def vouch_for_token(digest: str, sender: str) -> None:
    """A token of scope `ingest` speaks for a sender that does not sign. Raises NotVouched."""
    known = _read()
    until = known["tokens"].get(digest)
    if until is None or (until and datetime.fromisoformat(until) <= datetime.now(UTC)):
        raise NotVouched("This token is not known, or is no longer good.")
    if sender in known["senders"]:
        raise NotVouched("This sender signs its messages; one without a signature is not taken.")
