"""How people and teams are reached: enter a way, confirm it, try it, remove it. An address is a person's: it stands in
no event, and nowhere at all once it is removed."""

import datetime
import uuid
from collections.abc import Iterable
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.conf import settings
from django.core import signing
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.urls import reverse
from django.utils.translation import gettext, gettext_noop

from accounts.models import User
from accounts.outgoing import AddressRefused, split_address
from audit.actions import Actor, Target, record
from audit.clock import database_now
from audit.english import in_english, outside
from incidents.errors import IncidentError
from incidents.oncall.models import Contact
from incidents.oncall.rotations import zone_named
from incidents.telling import chat, outbox
from incidents.telling.models import Kind, Message, Subscriber, SubscriberState
from incidents.telling.subscribers import add_receiver, new_secret

PAGERDUTY = "https://events.pagerduty.com/v2/enqueue"
CONFIRM = "oncall.confirm"
CONFIRM_WITHIN = datetime.timedelta(days=3)
MOST = 20
"""Ways of one person, or of one team."""
MOST_LETTERS, LETTERS_WITHIN = 10, datetime.timedelta(hours=1)
"""Addresses that one person or team may enter, and tests of one way, within that time; removed ones count."""


def contacts() -> QuerySet[Contact]:
    """The ways that are not removed."""
    return Contact.objects.exclude(receiver__state=SubscriberState.ENDED).select_related("receiver", "user")


def is_used(contact: Contact, severity: int, moment: datetime.datetime) -> bool:
    """Whether it is used for an incident of the severity at the moment."""
    if contact.receiver.state != SubscriberState.ACTIVE or severity > contact.least_severity:
        return False
    return severity <= contact.quiet_severity or not _is_quiet(contact, moment)


def _is_quiet(contact: Contact, moment: datetime.datetime) -> bool:
    start, until = contact.quiet_from, contact.quiet_until
    if start is None or until is None:
        return False
    try:
        wall = moment.astimezone(ZoneInfo(contact.zone)).time()
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a zone that is known no more has no quiet hours
        return False
    return start <= wall < until if start < until else wall >= start or wall < until


def ways_to(people: Iterable[User], severity: int, moment: datetime.datetime) -> dict[int, list[Contact]]:
    """By person's key, the ways that are used now; the account's own address for who has named no other. Two queries,
    and those that make own ones."""
    found = {person.pk: person for person in people}
    theirs: dict[int, list[Contact]] = {key: [] for key in found}
    for contact in contacts().filter(user__in=found, own=False):
        theirs[contact.user_id].append(contact)
    named = {key for key, ways in theirs.items() if any(w.receiver.state == SubscriberState.ACTIVE for w in ways)}
    ways = {
        key: [way for way in theirs[key] if is_used(way, severity, moment)] if key in named else own_ways(found[key])
        for key in found
    }
    return {key: ways[key] for key in found}


def own_ways(person: User) -> list[Contact]:
    """The address of the person's account as a way to reach them; none where it has no address."""
    known = Contact.objects.select_related("receiver", "user").filter(user=person, own=True).first()
    if not person.email:
        return []
    if known is None:
        receiver = add_receiver(kind=Kind.EMAIL, address=person.email)
        return [Contact.objects.create(receiver=receiver, user=person, name="the account's address", own=True)]
    Subscriber.objects.filter(pk=known.receiver_id).exclude(address=person.email).update(
        address=person.email, state=SubscriberState.ACTIVE
    )
    return [known]


@transaction.atomic
def add_contact(
    *, kind: str, name: str, actor: Actor, user: User | None = None, team: str = "", address: str = "", key: str = "",
    least_severity: int = 4, quiet_from: datetime.time | None = None, quiet_until: datetime.time | None = None,
    quiet_severity: int = 1, zone: str = "UTC",
) -> tuple[Contact, str]:  # fmt: skip
    """Enter a way to reach a person, or a team's channel; returns it, and the secret of a signed webhook, shown once,
    else "". An e-mail address is used once its reader has followed the link that is sent there. Raises
    IncidentError."""
    if (user is None) == (not team.strip()):
        raise IncidentError(gettext("A way is a person's or a team's."))
    if contacts().filter(user=user, team=team.strip(), own=False).count() >= MOST:
        raise IncidentError(gettext("At most %(most)s ways are kept. Remove one first.") % {"most": MOST})
    lately = Contact.objects.filter(user=user, team=team.strip(), own=False, created_at__gt=Now() - LETTERS_WITHIN)
    if kind == Kind.EMAIL and lately.filter(receiver__kind=Kind.EMAIL).count() >= MOST_LETTERS:
        raise IncidentError(
            gettext("%(most_letters)s addresses were entered within an hour. Wait before you enter another.")
            % {"most_letters": MOST_LETTERS}
        )
    if (quiet_from is None) != (quiet_until is None) or (quiet_from is not None and quiet_from == quiet_until):
        raise IncidentError(gettext("Quiet hours have a beginning and another end, or there are none."))
    if not (1 <= least_severity <= 4 and 0 <= quiet_severity <= 4):
        raise IncidentError(gettext("Severities are 1 to 4; 1 is worst."))
    shown, secret = _address(kind, address.strip(), key.strip())
    waits = kind == Kind.EMAIL
    state = SubscriberState.PENDING if waits else SubscriberState.ACTIVE
    made = Contact.objects.create(
        receiver=add_receiver(kind=kind, address=shown, secret=secret, state=state),
        user=user, team=team.strip()[:100], zone=zone_named(zone),
        name=name.strip()[:100] or in_english(Kind(kind).label),
        least_severity=least_severity, quiet_from=quiet_from, quiet_until=quiet_until, quiet_severity=quiet_severity,
    )  # fmt: skip
    _record("contact.add", made, actor, {"kind": kind, "least_severity": least_severity})
    if waits:
        _ask_to_confirm(made)
    return made, secret if kind == Kind.WEBHOOK else ""


def _address(kind: str, address: str, key: str) -> tuple[str, str]:
    """What is shown of it, and what is kept sealed. Raises IncidentError."""
    try:
        if kind == Kind.EMAIL:
            validate_email(address)
            return address, ""
        if kind == Kind.CHAT:
            return chat.shown(address), address
        if kind == Kind.PAGER:
            if not 20 <= len(key) <= 64 or not key.isalnum():
                raise IncidentError(
                    gettext("Give the integration key of PagerDuty's Events API v2: 32 letters and digits.")
                )
            split_address(address or PAGERDUTY)
            return address or PAGERDUTY, key
        if kind == Kind.WEBHOOK:
            split_address(address)
            return address, new_secret()
    except ValidationError:
        raise IncidentError(gettext("Write an e-mail address, such as name@example.org.")) from None
    except (AddressRefused, chat.ChatRefused) as refused:
        raise IncidentError(str(refused)) from refused
    raise IncidentError(
        gettext("Nobody is reached by %(kind)s. Choose %(names)s.")
        % {"kind": f"{kind!r}", "names": ", ".join(Kind.values)}
    )


def _ask_to_confirm(contact: Contact) -> None:
    token = signing.dumps(contact.pk, salt=CONFIRM)
    outbox.note(
        key=f"contact:{contact.pk}:confirm",
        subscriber=contact.receiver,
        words={
            "type": "oncall.confirm",
            **_told(
                gettext_noop("Lastgood: is this your address?"),
                gettext_noop(
                    "Somebody, probably you, asked to be called to incidents at this address. To be, follow this link "
                    "within three days, sign in and confirm. If it was not you, do nothing: nothing more is sent."
                ),
            ),
            "link": f"{settings.LASTGOOD_PUBLIC_URL}{reverse('oncall-confirm', args=[token])}",
        },
    )


@outside()
def _told(subject: str, text: str, **names: str) -> dict[str, str]:
    return {"subject": gettext(subject), "text": gettext(text) % names}


@transaction.atomic
def confirm(*, token: str, user: User, actor: Actor) -> Contact:
    """Use the address from now on. Again, it changes nothing. Raises IncidentError for a link that is too old, or is
    another person's."""
    contact = contact_of_link(token=token, user=user)
    done = Subscriber.objects.filter(pk=contact.receiver_id, state=SubscriberState.PENDING).update(
        state=SubscriberState.ACTIVE, confirmed_at=Now()
    )
    if done:
        _record("contact.confirm", contact, actor, {})
    return contacts().get(pk=contact.pk)


def contact_of_link(*, token: str, user: User) -> Contact:
    """The way that the link in the letter is about. Raises IncidentError."""
    try:
        key = signing.loads(token, salt=CONFIRM, max_age=CONFIRM_WITHIN)
    except signing.BadSignature:
        raise IncidentError(
            gettext("This link is too old, or a part of it is missing. Enter the address again.")
        ) from None
    found = contacts().filter(pk=key).first()
    if found is None or (found.user_id is not None and found.user_id != user.pk):
        raise IncidentError(gettext("This link is for another account, or the address was removed."))
    return found


@transaction.atomic
def test(*, contact: Contact, actor: Actor) -> Message:
    """Send a message that wakes nobody, to see that it comes. Raises IncidentError where it is not confirmed."""
    if contact.receiver.state != SubscriberState.ACTIVE:
        raise IncidentError(gettext("Follow the link in the letter that was sent there first."))
    key = f"contact:{contact.pk}:test:"
    if Message.objects.filter(key__startswith=key, created_at__gt=Now() - LETTERS_WITHIN).count() >= MOST_LETTERS:
        raise IncidentError(
            gettext("It was tested %(most_letters)s times within an hour. Wait before you test it again.")
            % {"most_letters": MOST_LETTERS}
        )
    message = outbox.note(
        key=f"{key}{uuid.uuid4()}",
        subscriber=contact.receiver,
        words={
            "type": "oncall.test",
            **_told(
                gettext_noop("Lastgood: a test"),
                gettext_noop("This is how Lastgood calls you by “%(way)s”. Nothing is wrong."),
                way=contact.name,
            ),
            "link": f"{settings.LASTGOOD_PUBLIC_URL}{reverse('oncall-mine')}",
            "severity": 4,
            "event": "trigger",
            "dedup_key": f"lastgood-test-{contact.pk}",
        },
    )
    _record("contact.test", contact, actor, {})
    return message


@transaction.atomic
def remove_contact(*, contact: Contact, actor: Actor) -> None:
    """Nobody is called by it any more, its address is forgotten, and what waits for it is not sent."""
    if not _end(contact):
        raise IncidentError(gettext("It was removed before."))
    _record("contact.remove", contact, actor, {})


def _end(contact: Contact) -> bool:
    done = (
        Subscriber.objects.filter(pk=contact.receiver_id)
        .exclude(state=SubscriberState.ENDED)
        .update(state=SubscriberState.ENDED, ended_at=Now(), address="", secret=b"")
    )
    if done:
        outbox.cancel_for(contact.receiver)
    return bool(done)


def forget(people: Iterable[User]) -> int:
    """End every way to reach these people, whom nobody calls any more. Returns how many there were."""
    return sum(_end(contact) for contact in contacts().filter(user__in=people))


def unconfirmed(now: datetime.datetime) -> list[int]:
    """E-mail addresses whose link was not followed in time."""
    late = now - CONFIRM_WITHIN - datetime.timedelta(days=1)
    found = Contact.objects.filter(receiver__state=SubscriberState.PENDING, created_at__lt=late)
    return list(found.order_by("pk").values_list("pk", flat=True)[:200])


@transaction.atomic
def forget_unconfirmed(*, contact_id: int, actor: Actor) -> bool:
    """Remove a way that was not confirmed in time, with its address."""
    contact = Contact.objects.select_related("receiver", "user").get(pk=contact_id)
    if contact.pk not in unconfirmed(database_now()) or not _end(contact):
        return False
    _record("contact.remove", contact, actor, {"why": "unconfirmed"})
    return True


def _record(action: str, contact: Contact, actor: Actor, data: dict[str, Any]) -> None:
    whose = {"holder": contact.user.pseudonym} if contact.user else {"team": contact.team}
    record(action=action, target=Target("contact", contact.receiver.ref), actor=actor, data=whose | data)
