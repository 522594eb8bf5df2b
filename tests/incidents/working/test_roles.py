"""Roles offered, accepted, declined and withdrawn; the roll-call."""

from datetime import timedelta

import pytest
from django.db.models import F

from accounts.models import User
from incidents import actions
from incidents.around import around
from incidents.errors import IncidentError
from incidents.models import Incident, RoleHolding
from incidents.working.models import OfferState, RoleOffer
from incidents.working.roles import accept_role, call_roll, offer_role, refuse_role, roll, say_seen
from tests.incidents.world import World, events

pytestmark = pytest.mark.usefixtures("built")


def offered(world: World, incident: Incident, role: str = "scribe") -> RoleOffer:
    rosa, kofi = world.users["rosa"], world.users["kofi"]
    return offer_role(incident=incident, role=role, to=kofi, by=rosa, actor=world.actor("rosa"))


def test_only_one_offer_of_a_role_is_open(world: World) -> None:
    incident = world.incident()
    offered(world, incident)
    with pytest.raises(IncidentError, match="Withdraw that offer first"):
        offered(world, incident)
    assert RoleOffer.objects.count() == 1


def test_only_whom_it_was_offered_to_accepts(world: World) -> None:
    incident = world.incident()
    offered(world, incident)
    with pytest.raises(IncidentError, match="who alone can accept"):
        accept_role(incident=incident, role="scribe", user=world.users["rosa"], actor=world.actor("rosa"))
    assert not RoleHolding.objects.exists()
    assert RoleOffer.objects.get().state == OfferState.OFFERED


def test_a_role_that_was_taken_over_meanwhile_is_not_taken_back_by_an_old_offer(world: World) -> None:
    incident = world.incident()
    rosa, kofi = world.users["rosa"], world.users["kofi"]
    RoleOffer.objects.filter(pk=offered(world, incident).pk).update(offered_at=F("offered_at") - timedelta(hours=1))
    actions.hold_role(incident=incident, role="scribe", user=rosa, actor=world.actor("rosa"))
    with pytest.raises(IncidentError, match="took the role over since"):
        accept_role(incident=incident, role="scribe", user=kofi, actor=world.actor("kofi"))
    assert RoleHolding.objects.get(until=None).user == rosa
    assert RoleOffer.objects.get().state == OfferState.OFFERED


def test_an_offer_is_declined_and_can_be_made_again(world: World) -> None:
    incident = world.incident()
    offered(world, incident)
    kofi = world.users["kofi"]
    refuse_role(incident=incident, role="scribe", user=kofi, reason="I drive.", actor=world.actor("kofi"))
    assert RoleOffer.objects.get().state == OfferState.DECLINED
    with pytest.raises(IncidentError, match="answered or withdrawn"):
        accept_role(incident=incident, role="scribe", user=kofi, actor=world.actor("kofi"))
    offered(world, incident)
    assert [(offer.role, offer.to) for offer in around(incident).offers] == [("scribe", kofi)]


def test_who_may_not_respond_is_offered_nothing(world: World) -> None:
    incident = world.incident()
    with pytest.raises(IncidentError, match="may not work on incidents"):
        offer_role(
            incident=incident, role="scribe", to=world.users["vera"], by=world.users["rosa"], actor=world.actor("rosa")
        )
    assert events(incident, "incident.offer_role") == []


def names(people: list[User]) -> list[str]:
    return [one.username for one in people]


def test_the_roll_says_who_has_seen_it_and_who_has_not(world: World) -> None:
    # given Kofi, who commands, and Vera, who looks in
    incident = world.incident()
    kofi, vera = world.users["kofi"], world.users["vera"]
    held = actions.hold_role(incident=incident, role="commander", user=kofi, actor=world.actor("kofi"))
    say_seen(incident=incident, user=vera, actor=world.actor("vera"))
    seen, unseen = roll(incident, around(incident).sightings, [held], [])
    assert (names([one.user for one in seen]), names(unseen)) == (["vera"], ["kofi"])
    # when the roll is called, everybody is asked anew
    call_roll(incident=incident, actor=world.actor("kofi"))
    assert roll(incident, around(incident).sightings, [held], []) == ([], [kofi])
    say_seen(incident=incident, user=kofi, actor=world.actor("kofi"))
    seen, unseen = roll(incident, around(incident).sightings, [held], [])
    assert (names([one.user for one in seen]), unseen) == (["kofi"], [])
    assert len(events(incident, "incident.seen")) == 2


def test_anybody_who_may_look_says_to_have_seen_it(world: World) -> None:
    incident = world.incident()
    assert world.client("vera").post(f"/incidents/{incident.ref}/seen/").status_code == 302
    html = world.client("rosa").get(f"/incidents/{incident.ref}/").content.decode()
    assert "Vera Example" in html.partition("Seen by")[2].partition("</section>")[0]


def test_a_role_is_offered_and_accepted_over_the_api(world: World) -> None:
    incident = world.incident()
    body = {"role": "scribe", "to": "kofi", "note": "Please."}
    rosa, kofi = world.client("rosa"), world.client("kofi")
    made = rosa.post(f"/api/v1/incidents/{incident.ref}/offers/", body, content_type="application/json")
    assert (made.status_code, made.json()["state"]) == (201, "offered")
    answer = kofi.post(
        f"/api/v1/incidents/{incident.ref}/offers/accept/", {"role": "scribe"}, content_type="application/json"
    )
    assert answer.status_code == 204
    assert RoleHolding.objects.get().user == world.users["kofi"]
