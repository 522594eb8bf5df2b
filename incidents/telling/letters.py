"""One message on its way: as an e-mail, or as a signed webhook (Standard Webhooks 1). What comes back is kept."""

import base64
import hashlib
import hmac
import json
import smtplib
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import EmailMessage
from django.utils.translation import gettext

from accounts.outgoing import AddressRefused, FetchFailed, ask
from audit.english import outside
from incidents.models import ComponentState, StatusPost
from incidents.status_json import component_json, incident_json, iso
from incidents.status_readers import sends_letters
from incidents.status_render import WORDS, Picture, address, headline
from incidents.telling import chat, notes
from incidents.telling.models import Kind, Message
from incidents.telling.subscribers import confirm_address, end_address, secret_of, secret_text
from registry.sealing import SealBroken

SECONDS = 8.0
PERMANENT = 500
"""From this SMTP status on, a mail server's refusal is meant for good (RFC 5321, 4.2.1)."""
OURS = (
    smtplib.SMTPAuthenticationError,
    smtplib.SMTPConnectError,
    smtplib.SMTPHeloError,
    smtplib.SMTPSenderRefused,
)
"""Refusals that are about us, not about a letter: once the settings are mended, the same letter is taken."""


@dataclass(frozen=True)
class Outcome:
    """What came of an attempt. `final`: no other attempt is made; `gone`: the receiver wants nothing more; `after`:
    the seconds that it asked us to wait."""

    taken: bool
    answer: str
    final: bool = False
    gone: bool = False
    after: int = 0


def send(message: Message) -> Outcome:
    """Make one attempt. Raises nothing that a receiver or a network can cause."""
    if message.subscriber.kind == Kind.EMAIL:
        return _mail(message)
    if message.subscriber.kind == Kind.CHAT:
        return _say(message)
    return _call(message)


def _mail(message: Message) -> Outcome:
    page = message.subscriber.page
    if page is not None and not page.public:
        return Outcome(False, "The page is not for everybody any more.", final=True)
    if not sends_letters():
        return Outcome(False, "No mail server is set up: EMAIL_HOST is empty.")
    try:
        taken = letter(message).send()
    except smtplib.SMTPRecipientsRefused as error:
        code, words = next(iter(error.recipients.values()), (0, b""))
        return Outcome(False, f"{code} {_text(words)}", final=code >= PERMANENT)
    except OURS as error:
        return Outcome(False, f"{error.smtp_code} {_text(error.smtp_error)}")
    except smtplib.SMTPResponseException as error:
        return Outcome(False, f"{error.smtp_code} {_text(error.smtp_error)}", final=error.smtp_code >= PERMANENT)
    except (OSError, smtplib.SMTPException, ValueError) as error:
        return Outcome(False, type(error).__name__)
    return Outcome(True, "The mail server took it.") if taken else Outcome(False, "There is no address.", final=True)


def _text(words: object) -> str:
    # A server may repeat the address in its answer, and answers are kept for longer than addresses.
    said = words.decode(errors="replace") if isinstance(words, bytes) else str(words)
    return " ".join("(address)" if "@" in word else word for word in said.split())


@outside()
def letter(message: Message) -> EmailMessage:
    """The e-mail: plain text; one click ends the subscription (RFC 8058), and no machine answers it (RFC 3834)."""
    subscriber, page = message.subscriber, message.subscriber.page
    host = urlsplit(settings.LASTGOOD_PUBLIC_URL).hostname
    headers = {"Message-ID": f"<{message.pk}@{host}>", "Auto-Submitted": "auto-generated"}
    if message.words is not None:
        return notes.letter(message.words, subscriber.address, headers)
    headers["Precedence"] = "list"
    if message.post is None:
        subject = gettext("%(page)s: do you want to be told?") % {"page": page.name}
        asked = gettext("Somebody, probably you, asked to be told by e-mail what is told on %(page)s.")
        lines = [
            asked % {"page": page.name},
            gettext("To be told, follow this link within three days and confirm:"),
            confirm_address(subscriber),
            "",
            gettext("If it was not you, do nothing: nothing more is sent."),
        ]
    else:
        subject = f"{page.name}: {headline(message.post)}"
        lines = [
            message.post.text,
            "",
            *_next(message.post),
            gettext("Read more: %(address)s") % {"address": f"{address(page)}#post-{message.post.pk}"},
            "",
            gettext("To be told no more: %(address)s") % {"address": end_address(subscriber)},
        ]
        headers |= {
            "List-Unsubscribe": f"<{end_address(subscriber)}>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
            "List-Id": f"<{page.slug}.status.{host}>",
        }
    to = [subscriber.address] if subscriber.address else []
    return EmailMessage(" ".join(subject.split())[:200], "\n".join(lines), to=to, headers=headers)


def _next(post: StatusPost) -> list[str]:
    if post.next_update_at is None:
        return []
    return [gettext("Next update by %(time)s UTC.") % {"time": f"{post.next_update_at:%Y-%m-%d %H:%M}"}]


def _say(message: Message) -> Outcome:
    try:
        answer = chat.say(secret_text(message.subscriber), message.words or {})
    except SealBroken as error:
        return Outcome(False, str(error))
    return Outcome(answer.taken, answer.said, final=answer.final)


def _call(message: Message) -> Outcome:
    pager = message.subscriber.kind == Kind.PAGER
    try:
        if pager:
            body = notes.for_pager(message.words or {}, secret_text(message.subscriber))
            headers = {"Content-Type": "application/json", "User-Agent": "Lastgood"}
        else:
            body = payload(message) if message.words is None else notes.for_webhook(message.words)
            headers = signed(message, secret_of(message.subscriber), body, int(time.time()))
        got = ask(
            "POST", message.subscriber.address, networks=settings.LASTGOOD_TELLING_NETWORKS, content=body,
            headers=headers, seconds=SECONDS, limit=2**16, setting="LASTGOOD_TELLING_NETWORKS",
        )  # fmt: skip
    except (AddressRefused, FetchFailed, SealBroken) as error:
        return Outcome(False, str(error))
    if 200 <= got.status < 300:
        return Outcome(True, str(got.status))
    after = got.headers.get("retry-after", "")
    # PagerDuty asks never to send again what it answered 400 to.
    never = got.status == 410 or (pager and got.status == 400)
    return Outcome(False, str(got.status), final=never, gone=got.status == 410 and not pager,
                   after=int(after) if after.isascii() and after.isdigit() and len(after) < 7 else 0)  # fmt: skip


def signed(message: Message, secret: bytes, body: bytes, now: int) -> dict[str, str]:
    """Headers of Standard Webhooks: the id stays the same at each attempt, the time is the attempt's."""
    said = hmac.new(secret, f"{message.pk}.{now}.".encode() + body, hashlib.sha256).digest()
    return {
        "Content-Type": "application/json",
        "User-Agent": "Lastgood",
        "webhook-id": str(message.pk),
        "webhook-timestamp": str(now),
        "webhook-signature": f"v1,{base64.b64encode(said).decode()}",
    }


def payload(message: Message) -> bytes:
    """What Statuspage's subscriber webhooks send of an incident or a maintenance, with Standard Webhooks' type."""
    post, subscriber = message.post, message.subscriber
    if post is None:
        return json.dumps({"type": "status.test", "timestamp": iso(message.created_at)}).encode()
    picture = Picture(subscriber.page)
    indicator, description = WORDS[ComponentState(picture.state)]
    told = {
        "type": "status.maintenance" if post.maintenance_id else "status.incident",
        "timestamp": iso(post.at),
        "meta": {
            "unsubscribe": end_address(subscriber),
            "documentation": address(subscriber.page),
            "generated_at": iso(picture.now),
        },
        "page": {"id": subscriber.page.slug, "status_indicator": indicator, "status_description": str(description)},
        "incident": incident_json(picture, post),
        "components": _named(picture, post),
    }
    return json.dumps(told).encode()


def _named(picture: Picture, post: StatusPost) -> list[dict[str, object]]:
    named = {int(one["id"]) for one in post.affected}
    return [component_json(picture, one) for one in picture.components if one.pk in named]
