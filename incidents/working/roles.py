"""Roles that are offered and accepted, so that both sides know of the hand-over, and who has seen the incident."""

from collections.abc import Iterable

from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils.translation import gettext

from accounts.models import User
from accounts.permissions import may_on
from audit.actions import Actor
from incidents.actions import hold_role
from incidents.errors import IncidentError
from incidents.models import Incident, IncidentRole, RoleHolding
from incidents.working.models import OfferState, RoleOffer, Sighting
from incidents.working.notes import put_on_record


@transaction.atomic
def offer_role(*, incident: Incident, role: str, to: User, by: User, note: str = "", actor: Actor) -> RoleOffer:
    """Hold a role out to a person. Whoever holds it goes on to hold it until the offer is accepted.

    Raises IncidentError where the person may not respond, holds it already, or another offer of it is open.
    """
    if role not in IncidentRole.values:
        raise IncidentError(
            gettext("There is no role %(role)s. The roles are: %(names)s.")
            % {"role": role, "names": ", ".join(IncidentRole.values)}
        )
    if not may_on(to, "incident.respond", incident):
        raise IncidentError(
            gettext("%(to)s may not work on incidents. Choose a responder or a commander.") % {"to": to}
        )
    if RoleHolding.objects.filter(incident=incident, role=role, until=None, user=to).exists():
        raise IncidentError(
            gettext("%(to)s is %(name)s already. Nothing was changed.")
            % {"to": to, "name": IncidentRole(role).label.lower()}
        )
    try:
        with transaction.atomic():
            made = RoleOffer.objects.create(incident=incident, role=role, to=to, by=by)
    except IntegrityError:
        raise IncidentError(
            gettext("The role %(name)s is offered to somebody already. Withdraw that offer first.")
            % {"name": IncidentRole(role).label.lower()}
        ) from None
    put_on_record(
        incident, "incident.offer_role", actor, {"offer": made.pk, "role": role, "holder": to.pseudonym}, note
    )
    return made


def open_offer(incident: Incident, role: str) -> RoleOffer:
    """The offer of the role that waits for its answer. Raises IncidentError where none does."""
    found = RoleOffer.objects.select_related("to", "by").filter(incident=incident, role=role, state=OfferState.OFFERED)
    offer = found.first()
    if offer is None:
        raise IncidentError(gettext("That offer was answered or withdrawn before. Nothing was changed."))
    return offer


def _settle(offer: RoleOffer, state: str) -> None:
    settled = RoleOffer.objects.filter(pk=offer.pk, state=OfferState.OFFERED)
    if settled.update(state=state, settled_at=Now()) != 1:
        raise IncidentError(gettext("That offer was answered or withdrawn before. Nothing was changed."))


@transaction.atomic
def accept_role(*, incident: Incident, role: str, user: User, actor: Actor) -> RoleHolding:
    """Take the role that was offered to `user`; it changes hands now.

    Raises IncidentError where it was offered to another, was answered, or somebody took the role over since it was
    offered; Conflict where somebody does at this moment.
    """
    offer = open_offer(incident, role)
    if offer.to_id != user.pk:
        raise IncidentError(
            gettext("It was offered to %(to)s, who alone can accept it. Take the role over instead.") % {"to": offer.to}
        )
    holder = RoleHolding.objects.filter(incident=incident, role=role, until=None).select_related("user").first()
    if holder is not None and holder.since > offer.offered_at:
        raise IncidentError(
            gettext(
                "%(user)s took the role over since it was offered to you. Decline the offer, and speak "
                "with %(user)s first. Nothing was changed."
            )
            % {"user": holder.user}
        )
    _settle(offer, OfferState.ACCEPTED)
    put_on_record(incident, "incident.accept_role", actor, {"offer": offer.pk, "role": role, "by": offer.by.pseudonym})
    return hold_role(
        incident=incident, role=role, user=user, actor=actor, seen_holder=holder.user_id if holder is not None else 0
    )


@transaction.atomic
def refuse_role(*, incident: Incident, role: str, user: User, reason: str = "", actor: Actor) -> RoleOffer:
    """Decline what was offered to `user`, or withdraw what `user` offered, or may as a commander."""
    offer = open_offer(incident, role)
    theirs = offer.to_id == user.pk
    if not theirs and offer.by_id != user.pk and not may_on(user, "incident.command", incident):
        raise IncidentError(
            gettext("%(by)s offered it to %(to)s: one of the two, or a commander, can end that.")
            % {"by": offer.by, "to": offer.to}
        )
    state = OfferState.DECLINED if theirs else OfferState.WITHDRAWN
    _settle(offer, state)
    data = {"offer": offer.pk, "role": role, "holder": offer.to.pseudonym, "answer": str(state)}
    put_on_record(incident, "incident.refuse_role", actor, data, reason)
    return offer


@transaction.atomic
def say_seen(*, incident: Incident, user: User, actor: Actor) -> Sighting:
    """Answer the roll-call: this person has seen the incident as it stands."""
    sighting, _ = Sighting.objects.update_or_create(
        incident=incident, user=user, defaults={"at": Now()}, create_defaults={}
    )
    put_on_record(incident, "incident.seen", actor, {})
    sighting.refresh_from_db()
    return sighting


@transaction.atomic
def call_roll(*, incident: Incident, actor: Actor) -> None:
    """Ask all who work on it to say that they have seen it; what was said before does not count any more."""
    Incident.objects.filter(pk=incident.pk).update(roll_called_at=Now())
    incident.refresh_from_db(fields=["roll_called_at"])
    put_on_record(incident, "incident.call_roll", actor, {})


def roll(
    incident: Incident,
    sightings: Iterable[Sighting],
    holdings: Iterable[RoleHolding],
    offers: Iterable[RoleOffer],
) -> tuple[list[Sighting], list[User]]:
    """Who has seen it since the roll was last called, and who holds a role, or is offered one, and has not said so."""
    called_at = incident.roll_called_at
    seen = [one for one in sightings if called_at is None or one.at >= called_at]
    heard = {one.user_id for one in seen}
    due = {held.user_id: held.user for held in holdings} | {offer.to_id: offer.to for offer in offers}
    return seen, [user for key, user in due.items() if key not in heard]
