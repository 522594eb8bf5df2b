"""The synthetic alert: sent every minute through the public address as any sender sends, and followed to its decision.

It is stored, read and decided by the same code, queues and workers as any alert; what it would leave behind (an alert,
its incident, their events) is rolled back in the same transactions. While none has come through lately, the intake is
not well, whatever the reason: the address, the web process, the broker, the worker, the clock or a lag.
"""

import json
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

import httpx
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils.translation import gettext

from audit.clock import database_now
from audit.dispatch import send_on_commit
from monitoring import webhooks
from monitoring.inbound import formats, ledger, taking
from monitoring.inbound.models import Arrival, Beat
from monitoring.models import Delivery

SENDER = webhooks.SYNTHETIC
SUMMARY = "Lastgood's synthetic alert"
PATIENCE_SECONDS = 5.0
MISSED = 3
"""So many spans without one that came through, and the intake is not well."""
KEPT = timedelta(days=1)
AT_ONCE = 100


@dataclass(frozen=True)
class Standing:
    """Whether alerts come through: `ok` is None where the synthetic alert is switched off; `age` in seconds since the
    newest that came through was sent."""

    ok: bool | None
    sentence: str
    age: float | None = None


def due(now: datetime) -> list[object]:
    """The number of the span that has no beat yet."""
    length = settings.LASTGOOD_BEAT_SECONDS
    if not length:
        return []
    number = _number(now)
    return [] if Beat.objects.filter(number=number).exists() else [number]


def _number(now: datetime) -> int:
    return int(now.timestamp() // settings.LASTGOOD_BEAT_SECONDS)


def send(*, number: int) -> bool:
    """Send the synthetic alert of a span, once. False where another sends it, or the span is over."""
    if not settings.LASTGOOD_BEAT_SECONDS or number != _number(database_now()):
        return False
    try:
        with transaction.atomic():
            beat = Beat.objects.create(number=number)
    except IntegrityError:
        return False
    forget()
    error = _post(number)
    if error:
        Beat.objects.filter(pk=beat.pk).update(error=error[:300])
    return True


def _post(number: int) -> str:
    """Send it; why it was not taken, in a sentence, or ""."""
    alert = {"id": f"beat-{number}", "summary": SUMMARY, "severity": "info", "labels": {"alertname": SUMMARY}}
    body = json.dumps(alert).encode()
    name, moment = f"beat-{number}", int(time.time())
    headers = {
        "Content-Type": "application/json",
        "webhook-id": name,
        "webhook-timestamp": str(moment),
        "webhook-signature": webhooks.sign(webhooks.own_secrets()[0], name, moment, body),
    }
    address = f"{settings.LASTGOOD_PUBLIC_URL}/api/v1/ingest/json/{SENDER}/"
    try:
        answer = httpx.post(address, content=body, headers=headers, timeout=PATIENCE_SECONDS)
    except httpx.HTTPError as error:
        return gettext("%(address)s does not answer: %(error)s.") % {
            "address": settings.LASTGOOD_PUBLIC_URL,
            "error": type(error).__name__,
        }
    return (
        ""
        if answer.status_code in (200, 202)
        else gettext("%(address)s answered %(status_code)s.") % {"address": address, "status_code": answer.status_code}
    )


def take(delivery: Delivery, body: bytes) -> int:
    """Read a synthetic alert as any, and take back what that leaves; must be called in a transaction."""
    read = formats.read(delivery.source, body, delivery.received_at, delivery.pk.hex)
    with transaction.atomic():
        taking.take(delivery, read.rows)
        transaction.set_rollback(True)
    ledger.synthetic(delivery)
    for row in read.rows:
        number = row.fingerprint.removeprefix("beat-")
        if number.isdecimal() and Beat.objects.filter(number=number).update(read_at=Now(), delivery=delivery):
            send_on_commit("incidents.take_beat", [int(number)], queue="intake")
    return len(read.rows)


def decided(number: int) -> None:
    """The floor above has decided on it."""
    Beat.objects.filter(number=number, decided_at=None).update(decided_at=Now())


def forget() -> None:
    """Drop what was sent more than a day ago, with what was stored of it."""
    with transaction.atomic():
        old = dict(Beat.objects.filter(sent_at__lt=Now() - KEPT).values_list("pk", "delivery")[:AT_ONCE])
        deliveries = [delivery for delivery in old.values() if delivery is not None]
        Beat.objects.filter(pk__in=old).delete()
        Arrival.objects.filter(delivery__in=deliveries).delete()
        Delivery.objects.filter(pk__in=deliveries, beats=None, arrivals=None).delete()


def standing() -> Standing:
    """Whether alerts come through now."""
    length = settings.LASTGOOD_BEAT_SECONDS
    if not length:
        return Standing(None, gettext("The synthetic alert is switched off (LASTGOOD_BEAT_SECONDS)."))
    now = database_now()
    through = Beat.objects.filter(decided_at__isnull=False).first()
    age = (now - through.sent_at).total_seconds() if through else None
    if through is not None and through.decided_at is not None and age is not None and age <= MISSED * length:
        took = round((through.decided_at - through.sent_at).total_seconds() * 1000)
        said = gettext("Alerts come through: the synthetic one of %(sent_at)s in %(took)s ms.") % {
            "sent_at": _clock(through.sent_at),
            "took": f"{took:,}",
        }
        return Standing(True, said, age)
    last = Beat.objects.first()
    if last is None:
        return Standing(False, gettext("No synthetic alert was ever sent; look at the clock and the worker."))
    since = gettext("since %(sent_at)s") % {"sent_at": _clock(through.sent_at)} if through is not None else "yet"
    return Standing(
        False,
        gettext("No synthetic alert has come through %(since)s: %(last)s")
        % {"since": since, "last": _stuck(last, now, length)},
        age,
    )


def _stuck(last: Beat, now: datetime, length: float) -> str:
    if (now - last.sent_at).total_seconds() > MISSED * length:
        return gettext("none was sent after %(sent_at)s; look at the clock and the worker.") % {
            "sent_at": _clock(last.sent_at)
        }
    if last.error:
        return last.error
    if last.read_at is None:
        return gettext("the last was not read; look at the worker and its queue.")
    return gettext("the last was read and not decided; look at the worker and its queue.")


def _clock(moment: datetime) -> str:
    return f"{moment:%H:%M:%S} UTC"
