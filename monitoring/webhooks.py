"""Signed webhooks: Standard Webhooks 1.0, symmetric (HMAC-SHA256), https://www.standardwebhooks.com; Grafana's
signature; PagerDuty's routing key.

A sender that signs has a secret of its own here. Its messages count when the signature is right, the time of signing is
within five minutes of ours, and the message was not seen before.
"""

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from django.conf import settings

SECRET_PREFIX = "whsec_"  # noqa: S105 (the public beginning of every secret)
SIGNATURE_PREFIX = "v1,"
TOLERANCE_SECONDS = 300
MAX_ID = 100
MAX_SIGNATURES = 10
GRAFANA_SIGNATURE, GRAFANA_TIMESTAMP = "x-grafana-alerting-signature", "x-grafana-alerting-timestamp"
ROUTING_KEY_CHARACTERS = 32
SYNTHETIC = "lastgood-synthetic"
"""The name under which Lastgood sends itself alerts; nobody else's."""


class SignatureRefused(ValueError):
    """A message is not, or not any more, what a sender with that secret sent. `code` says why in one word."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True)
class Message:
    """A message whose signature is right: its id (empty where it has none), when it was signed (None where that is not
    told), its body."""

    id: str
    sent_at: datetime | None
    body: bytes


def own_secrets() -> list[str]:
    """The secrets with which Lastgood signs what it sends itself, the newest first, always two: from SECRET_KEY and the
    first of SECRET_KEY_FALLBACKS."""
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY][:2]
    digests = (hmac.new(key.encode(), SYNTHETIC.encode(), hashlib.sha256).digest() for key in keys)
    return [SECRET_PREFIX + base64.b64encode(digest).decode() for digest in digests]


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature` for one secret (`whsec_` and base64). Raises ValueError for another secret."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digest = hmac.new(_key(secret), signed, hashlib.sha256).digest()
    return SIGNATURE_PREFIX + base64.b64encode(digest).decode()


def verify(headers: Mapping[str, str], body: bytes, secrets: Iterable[str], now: float | None = None) -> Message:
    """The message that the headers `webhook-id`, `webhook-timestamp` and `webhook-signature` vouch for.

    One right signature under any of the secrets is enough, so that secrets can be changed without a gap. Raises
    SignatureRefused with the code malformed, stale or signature.
    """
    message_id, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    given = [part for part in headers.get("webhook-signature", "").split() if part.startswith(SIGNATURE_PREFIX)]
    readable = 0 < len(message_id) <= MAX_ID and message_id.isprintable() and "." not in message_id
    if not readable or not stamp.isascii() or not stamp.isdecimal() or len(stamp) > 12 or not given:
        raise SignatureRefused("malformed", "Send webhook-id, webhook-timestamp and webhook-signature (v1).")
    expected = [sign(secret, message_id, int(stamp), body) for secret in secrets]
    right = [hmac.compare_digest(one.encode(), other.encode()) for one in expected for other in given[:MAX_SIGNATURES]]
    if not any(right):
        raise SignatureRefused("signature", "The signature is not that of this sender for this body.")
    if abs((time.time() if now is None else now) - int(stamp)) > TOLERANCE_SECONDS:
        raise SignatureRefused("stale", f"The message was not signed within {TOLERANCE_SECONDS} seconds of now.")
    return Message(message_id, datetime.fromtimestamp(int(stamp), UTC), body)


def sign_as_grafana(secret: str, body: bytes, timestamp: str = "") -> str:
    """Lower-case hex of HMAC-SHA256 under the secret as it is written, over the body, or over `timestamp:body`."""
    signed = f"{timestamp}:".encode() + body if timestamp else body
    return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def verify_grafana(
    headers: Mapping[str, str], body: bytes, secrets: Iterable[str], now: float | None = None
) -> Message:
    """The message that Grafana's signature vouches for, with the header X-Grafana-Alerting-Timestamp where it is set up
    to send one. Raises SignatureRefused with the code malformed, stale or signature."""
    stamp, given = headers.get(GRAFANA_TIMESTAMP, ""), headers.get(GRAFANA_SIGNATURE, "")
    if not given or (stamp and not (stamp.isascii() and stamp.isdecimal() and len(stamp) <= 12)):
        raise SignatureRefused("malformed", "Send X-Grafana-Alerting-Signature, and any timestamp in whole seconds.")
    expected = [sign_as_grafana(secret, body, stamp) for secret in secrets]
    if not any(hmac.compare_digest(one.encode(), given.encode()) for one in expected):
        raise SignatureRefused("signature", "The signature is not that of this sender for this body.")
    if stamp and abs((time.time() if now is None else now) - int(stamp)) > TOLERANCE_SECONDS:
        raise SignatureRefused("stale", f"The message was not signed within {TOLERANCE_SECONDS} seconds of now.")
    return Message("", None, body)


def routing_key(secret: str) -> str:
    """What a sender in PagerDuty's format gives as its routing key: 32 characters that follow from its secret."""
    return hmac.new(secret.encode(), b"lastgood routing key", hashlib.sha256).hexdigest()[:ROUTING_KEY_CHARACTERS]


def verify_routing_key(given: object, body: bytes, secrets: Iterable[str]) -> Message:
    """The event whose routing key is the sender's. Raises SignatureRefused with the code malformed or signature."""
    if not isinstance(given, str) or not given:
        raise SignatureRefused("malformed", "The event has no routing_key.")
    if not any(hmac.compare_digest(routing_key(secret).encode(), given.encode()) for secret in secrets):
        raise SignatureRefused("signature", "The routing key is not that of this sender.")
    return Message("", None, body)


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("A webhook's secret is whsec_ and base64.") from None
