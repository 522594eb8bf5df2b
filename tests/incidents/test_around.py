"""What is read in one query is what the tables hold."""

from typing import Any

import pytest
from django.db import connection
from django.db.models import Model
from django.test.utils import CaptureQueriesContext

from incidents import actions
from incidents.around import around
from incidents.models import Evidence, RoleHolding, Update
from incidents.working.models import RoleOffer, Sighting
from incidents.working.roles import offer_role, refuse_role, say_seen
from tests.incidents.world import World

pytestmark = pytest.mark.usefixtures("built")


def columns(row: Model) -> dict[str, Any]:
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


def test_everything_around_an_incident_is_read_in_one_query_with_its_people(world: World) -> None:
    # given an incident that two people work on, and another of which nothing may show
    kofi, rosa = world.users["kofi"], world.users["rosa"]
    incident = world.incident()
    for number in range(4):
        report = {"conditions": f"Report {number}", "actions": "", "needs": ""}
        actions.post_update(incident=incident, user=kofi, actor=world.actor("kofi"), **report)
    actions.hold_role(incident=incident, role="commander", user=rosa, actor=world.actor("rosa"))
    actions.hold_role(incident=incident, role="commander", user=kofi, actor=world.actor("kofi"))
    for role in ("scribe", "operations"):
        offer_role(incident=incident, role=role, to=kofi, by=rosa, actor=world.actor("rosa"))
    refuse_role(incident=incident, role="operations", user=kofi, reason="I command.", actor=world.actor("kofi"))
    say_seen(incident=incident, user=rosa, actor=world.actor("rosa"))
    Evidence.objects.create(
        incident=incident, kind="accuracy", claim="It fell.", data={"low": 0.1, "of": [1, None]}, sha256="0" * 64
    )

    # when
    with CaptureQueriesContext(connection) as asked:
        found = around(incident)
        named = [
            *(held.user for held in found.holdings), *(one for offer in found.offers for one in (offer.to, offer.by)),
            *(one.user for one in found.sightings), *(update.by for update in found.updates),
        ]  # fmt: skip

    # then
    assert len(asked) == 1
    assert [columns(row) for row in found.holdings] == [
        columns(row) for row in RoleHolding.objects.filter(incident=incident, until=None).order_by("pk")
    ]
    assert [columns(row) for row in found.offers] == [columns(RoleOffer.objects.get(role="scribe"))]
    assert [columns(row) for row in found.sightings] == [columns(Sighting.objects.get())]
    assert [columns(row) for row in found.evidence] == [columns(row) for row in Evidence.objects.all()]
    assert [columns(row) for row in found.updates] == [columns(row) for row in Update.objects.all()[:3]]
    assert named[-6:] == [kofi, rosa, rosa, kofi, kofi, kofi]
    assert str(named[-1]) == str(kofi)


def test_an_incident_of_which_nobody_has_said_anything_has_nothing_around_it(world: World) -> None:
    incident = world.incident()
    Evidence.objects.all().delete()
    RoleHolding.objects.all().delete()

    found = around(incident)

    assert (found.holdings, found.offers, found.sightings, found.evidence, found.updates) == ([], [], [], [], [])
