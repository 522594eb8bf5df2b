"""The verbs on senders of signed webhooks, and who of them sent a message."""

import base64
import secrets
from collections.abc import Callable
from datetime import timedelta

from django.db import connection, transaction
from django.db.models.functions import Now
from django.utils.translation import gettext

from audit.actions import ANONYMOUS, Actor, Target, record
from audit.clock import database_now
from monitoring.models import WebhookSource
from monitoring.webhooks import SECRET_PREFIX, SYNTHETIC, Message, SignatureRefused, own_secrets
from registry import sealing

SECRET_BYTES = 32
OVERLAP = timedelta(hours=24)
# Nobody's secret, so that each check compares with two.
STAND_IN = SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


class SourceError(ValueError):
    """The change is not made. The message says what is there instead."""


@transaction.atomic
def create_source(*, name: str, actor: Actor) -> tuple[WebhookSource, str]:
    """A sender that signs, and its secret, which is shown once. From now on its name takes no unsigned message.

    Raises SourceError when the name is taken, or Lastgood's own.
    """
    if name == SYNTHETIC:
        raise SourceError(
            gettext("Lastgood sends itself alerts under the name %(name)s. Choose another.") % {"name": name}
        )
    source, created = WebhookSource.objects.get_or_create(name=name)
    if not created:
        raise SourceError(
            gettext("There is a sender %(name)s already. Change its secret, or choose another name.") % {"name": name}
        )
    secret = _new_secret(source)
    record(action="webhook_source.create", target=Target("webhook_source", name), actor=actor)
    return source, secret


@transaction.atomic
def rotate_source(*, source: WebhookSource, actor: Actor) -> str:
    """Another secret, shown once. The one before goes on counting for a day, so that no message is lost meanwhile.

    Raises SourceError where the sender was ended.
    """
    locked = WebhookSource.objects.select_for_update().get(pk=source.pk)
    if locked.ended_at is not None:
        raise SourceError(gettext("The sender %(name)s was ended. Make one of another name.") % {"name": source.name})
    until = database_now() + OVERLAP
    before = sealing.unseal(bytes(locked.secret_sealed), _place(locked, "secret_sealed"))
    kept = sealing.seal(before, _place(locked, "previous_sealed"))
    WebhookSource.objects.filter(pk=locked.pk).update(previous_sealed=kept, previous_until=until)
    secret = _new_secret(locked)
    data = {"previous_until": until.isoformat()}
    record(action="webhook_source.rotate", target=Target("webhook_source", locked.name), actor=actor, data=data)
    return secret


@transaction.atomic
def end_source(*, source: WebhookSource, actor: Actor) -> None:
    """Take no message of the sender's any more. Raises SourceError when it was ended before."""
    if not WebhookSource.objects.filter(pk=source.pk, ended_at=None).update(
        ended_at=Now(), secret_sealed=b"", previous_sealed=b""
    ):
        raise SourceError(gettext("The sender %(name)s was ended before.") % {"name": source.name})
    record(action="webhook_source.end", target=Target("webhook_source", source.name), actor=actor)


Check = Callable[[list[str], float], Message]
"""Takes the secrets of a sender and the time in seconds since 1970; returns its message or raises SignatureRefused."""


def verified(name: str, check: Check) -> Message:
    """A message of the sender of that name. A sender that is not there is refused as a wrong signature is, in the same
    time. Raises SignatureRefused, after putting it on record."""
    source = WebhookSource.objects.filter(name=name, ended_at=None).first()
    secrets_now = secrets_of(source) if source else own_secrets() if name == SYNTHETIC else [STAND_IN, STAND_IN]
    try:
        message = check(secrets_now, database_now().timestamp())
        if source is None and name != SYNTHETIC:
            raise SignatureRefused("signature", "The signature is not that of this sender for this body.")
    except SignatureRefused as refused:
        refuse(name=source.name if source else "unknown", code=refused.code)
        raise
    return message


def refuse(*, name: str, code: str) -> None:
    """Put on record that a message was refused. A name that was made up is in no leaf."""
    record(
        action="webhook.refuse",
        target=Target("webhook_source", name),
        actor=ANONYMOUS,
        data={"why": code},
        outcome="denied",
    )


def signs(name: str) -> bool:
    """Whether the sender of that name signs, or has signed until it was ended, so that nothing unsigned is taken."""
    if name == SYNTHETIC:
        return True
    # Said here and not composed anew for each message: it is asked of every one.
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM monitoring_webhooksource WHERE name = %s)", [name])
        return bool(cursor.fetchone()[0])


def secrets_of(source: WebhookSource) -> list[str]:
    """The secrets that count now, always two."""
    current = sealing.unseal(bytes(source.secret_sealed), _place(source, "secret_sealed"))
    if source.previous_until is None or source.previous_until <= database_now():
        return [current, STAND_IN]
    return [current, sealing.unseal(bytes(source.previous_sealed), _place(source, "previous_sealed"))]


def sealed_secrets(source: WebhookSource) -> list[tuple[bytes, str, str]]:
    """The sealed secrets of a sender, each with the place that it opens in and the RFC 3339 time until which it counts
    (empty: without end)."""
    if source.ended_at is not None:
        return []
    found = [(bytes(source.secret_sealed), _place(source, "secret_sealed"), "")]
    if source.previous_until is not None and source.previous_until > database_now():
        until = source.previous_until.isoformat()
        found.append((bytes(source.previous_sealed), _place(source, "previous_sealed"), until))
    return found


def _new_secret(source: WebhookSource) -> str:
    secret = SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
    sealed = sealing.seal(secret, _place(source, "secret_sealed"))
    WebhookSource.objects.filter(pk=source.pk).update(secret_sealed=sealed)
    return secret


def _place(source: WebhookSource, column: str) -> str:
    return f"monitoring_webhooksource:{column}:{source.pk}"
