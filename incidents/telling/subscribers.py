"""Who is told: people by e-mail once they have confirmed it, programs by webhook where an administrator entered them.
An address is a person's: it stands in no event, and nowhere at all once the subscription has ended."""

import base64
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.core import signing
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.urls import reverse
from django.utils.translation import gettext

from accounts.outgoing import AddressRefused, split_address
from audit.actions import ANONYMOUS, Actor, Target, record, service_actor
from audit.clock import database_now
from incidents.errors import IncidentError
from incidents.models import StatusComponent, StatusPage
from incidents.status_readers import sends_letters
from incidents.telling import outbox
from incidents.telling.models import Kind, Subscriber, SubscriberState
from registry.sealing import seal, unseal

CONFIRM_WITHIN = timedelta(days=3)
FORGET_AFTER = CONFIRM_WITHIN + timedelta(days=1)
"""After this no link is good any more, even of a letter that lay in the outbox for a while."""
ASK_AGAIN_AFTER = timedelta(hours=1)
"""Whoever asks again so long after a letter that they did not follow is sent another."""
CONFIRM, END = "telling.confirm", "telling.end"
CARRIER = service_actor("telling")
GOING_ON = (SubscriberState.PENDING, SubscriberState.ACTIVE)


class NotTold(IncidentError):
    """A link leads to no subscription: it is too old, or was changed on its way."""


@transaction.atomic
def subscribe(*, page: StatusPage, address: str, components: Sequence[StatusComponent]) -> None:
    """Ask the reader of an e-mail address to confirm that they want to be told. Whoever asks learns nothing of who is
    told already: for an address that is, nothing happens, nor for one that somebody gave within the last hour. Raises
    IncidentError for what is no address, for a page that is not public, and where no mail server is set up."""
    if not page.public:
        raise IncidentError(gettext("Only public pages tell people by e-mail."))
    if not sends_letters():
        raise IncidentError(
            gettext("No mail server is set up here, so no letter would come. Follow the page's feed instead.")
        )
    try:
        validate_email(address.strip())
    except ValidationError:
        raise IncidentError(gettext("Write an e-mail address, such as name@example.org.")) from None
    theirs = Subscriber.objects.filter(page=page, address__iexact=address.strip(), state__in=GOING_ON)
    for one in theirs.filter(state=SubscriberState.PENDING, created_at__lt=database_now() - ASK_AGAIN_AFTER):
        _give_up(one)
    if theirs.exists():
        return
    try:
        with transaction.atomic():
            made = _make(page, Kind.EMAIL, address.strip(), components, SubscriberState.PENDING)
    except IntegrityError:  # the same form was sent twice at once
        return
    _record("status.subscribe", made, ANONYMOUS, {"kind": str(Kind.EMAIL)})
    outbox.ask_to_confirm(made)


def unconfirmed(now: datetime) -> list[int]:
    """Subscriptions that nobody can confirm any more, whose addresses are to be forgotten."""
    found = Subscriber.objects.filter(
        state=SubscriberState.PENDING, page__isnull=False, created_at__lt=now - FORGET_AFTER
    )
    return list(found.order_by("pk").values_list("pk", flat=True)[:200])


@transaction.atomic
def forget_unconfirmed(*, subscriber_id: int) -> bool:
    """End a subscription that was not confirmed in time, and forget its address. False where none is to end."""
    if not Subscriber.objects.filter(pk=subscriber_id, created_at__lt=database_now() - FORGET_AFTER).exists():
        return False
    return _give_up(Subscriber.objects.select_related("page").get(pk=subscriber_id))


def _give_up(one: Subscriber) -> bool:
    return end(subscriber=one, how="unconfirmed", among=(SubscriberState.PENDING,))


def _make(
    page: StatusPage, kind: str, address: str, components: Sequence[StatusComponent], state: str
) -> Subscriber:  # fmt: skip
    if any(one.page_id != page.pk for one in components):
        raise IncidentError(gettext("Choose among the components of this page."))
    made = Subscriber.objects.create(page=page, kind=kind, address=address, state=state)
    made.components.set(components)
    return made


@transaction.atomic
def confirm(*, token: str) -> Subscriber:
    """Begin to tell whoever holds the link of the letter. Doing it again changes nothing. Raises NotTold."""
    found = _named(token, CONFIRM, CONFIRM_WITHIN)
    done = Subscriber.objects.filter(pk=found.pk, state=SubscriberState.PENDING).update(
        state=SubscriberState.ACTIVE, confirmed_at=Now()
    )
    found.refresh_from_db()
    if found.state != SubscriberState.ACTIVE:
        raise NotTold(gettext("This subscription has ended. Subscribe again on the status page."))
    if done:
        _record("status.confirm_subscription", found, ANONYMOUS, {})
    return found


@transaction.atomic
def add_webhook(
    *, page: StatusPage, address: str, components: Sequence[StatusComponent], actor: Actor
) -> tuple[Subscriber, str]:
    """Have posts sent to an address; returns the subscriber, and the secret (`whsec_` and base64) by which its receiver
    knows that they come from here. It is shown once. Raises IncidentError."""
    try:
        split_address(address)
    except AddressRefused as refused:
        raise IncidentError(str(refused)) from refused
    try:
        with transaction.atomic():
            made = _make(page, Kind.WEBHOOK, address, components, SubscriberState.ACTIVE)
    except IntegrityError:
        raise IncidentError(gettext("That address is told already.")) from None
    text = new_secret()
    Subscriber.objects.filter(pk=made.pk).update(secret=seal(text, _place(made)), confirmed_at=Now())
    _record("status.add_webhook", made, actor, {"kind": str(Kind.WEBHOOK)})
    return made, text


def secret_of(subscriber: Subscriber) -> bytes:
    """The key with which calls to a webhook are signed. Raises SealBroken."""
    return base64.b64decode(secret_text(subscriber).removeprefix("whsec_"))


def secret_text(subscriber: Subscriber) -> str:
    """What is kept sealed of a receiver. Raises SealBroken."""
    return unseal(bytes(subscriber.secret), _place(subscriber))


def add_receiver(*, kind: str, address: str, secret: str = "", state: str = SubscriberState.ACTIVE) -> Subscriber:
    """One who is called to incidents, of no page. Call it in the transaction that puts it on record."""
    made = Subscriber.objects.create(kind=kind, address=address[:500], state=state)
    if secret:
        Subscriber.objects.filter(pk=made.pk).update(secret=seal(secret, _place(made)))
    return made


def new_secret() -> str:
    """A secret of Standard Webhooks' form."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


def _place(subscriber: Subscriber) -> str:
    return f"telling_subscriber:secret:{subscriber.pk}"


@transaction.atomic
def end(
    *, subscriber: Subscriber, how: str, actor: Actor = CARRIER, reason: str = "", among: Sequence[str] = GOING_ON
) -> bool:
    """Tell them no more, forget their address, and cancel what waits for them. `how`: link, gone, administrator,
    unconfirmed. False where it is in none of the states `among`."""
    done = Subscriber.objects.filter(pk=subscriber.pk, state__in=among).update(
        state=SubscriberState.ENDED, ended_at=Now(), address="", secret=b""
    )
    if not done:
        return False
    cancelled = outbox.cancel_for(subscriber)
    _record("status.end_subscription", subscriber, actor, {"how": how, "cancelled": cancelled}, reason)
    return True


def page_of_link(*, token: str) -> StatusPage:
    """The page that the link at the end of a letter is about. Raises NotTold."""
    return _named(token, END, None).page


def end_by_link(*, token: str) -> StatusPage:
    """What the link at the end of each letter does; returns the page. Again, it changes nothing. Raises NotTold."""
    found = _named(token, END, None)
    end(subscriber=found, how="link", actor=ANONYMOUS)
    return found.page


@transaction.atomic
def forget(*, address: str, actor: Actor, reason: str) -> int:
    """End every subscription of an address, on all pages, because its owner asks for it. Returns how many there were.
    Raises ValueError without a reason."""
    if not reason.strip():
        raise ValueError(gettext("Say in a sentence why the address is forgotten. Your reason is recorded."))
    theirs = Subscriber.objects.select_related("page").filter(address__iexact=address.strip(), state__in=GOING_ON)
    return sum(end(subscriber=one, how="administrator", actor=actor, reason=reason) for one in theirs)


def _record(action: str, subscriber: Subscriber, actor: Actor, data: dict[str, object], reason: str = "") -> None:
    record(
        action=action,
        target=Target("status_subscriber", subscriber.ref),
        actor=actor,
        data={"page": subscriber.page.slug if subscriber.page else ""} | data,
        reason=reason,
    )


def _named(token: str, salt: str, within: timedelta | None) -> Subscriber:
    try:
        ref = signing.loads(token, salt=salt, max_age=within)
    except signing.BadSignature:
        raise NotTold(
            gettext("This link is too old, or a part of it is missing. Subscribe again on the status page.")
        ) from None
    found = Subscriber.objects.select_related("page").filter(ref=ref, page__isnull=False).first()
    if found is None:
        raise NotTold(gettext("This link leads to no subscription."))
    return found


def confirm_address(subscriber: Subscriber) -> str:
    return _link("status-confirm", subscriber, CONFIRM)


def end_address(subscriber: Subscriber) -> str:
    return _link("status-unsubscribe", subscriber, END)


def _link(name: str, subscriber: Subscriber, salt: str) -> str:
    token = signing.dumps(subscriber.ref, salt=salt)
    return f"{settings.LASTGOOD_PUBLIC_URL}{reverse(name, args=[subscriber.page.slug, token])}"
