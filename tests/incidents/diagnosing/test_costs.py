from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.template import Context, Template
from django.test import Client
from django.utils import timezone

from audit.actions import service_actor
from audit.models import AuditEvent
from incidents.diagnosing import costs
from incidents.diagnosing.costs import CostRefused, Terms
from incidents.diagnosing.examine import examine
from incidents.diagnosing.models import CostFormula
from incidents.diagnosing.options import outlook_of
from incidents.intake import take_alert
from incidents.queries import incidents, situation
from incidents.working.reach import estimate
from tests.incidents.world import TEST, World

pytestmark = pytest.mark.usefixtures("built")

TERMS = Terms("EUR", Decimal("2.5"), Decimal("40"), Decimal("300"))


@pytest.fixture
def owner(world: World) -> Any:
    return world.users["ada"]


def test_a_formula_replaces_the_one_before_and_both_stay_on_record(world: World, owner: Any) -> None:
    model = world.endpoint.model
    costs.set_formula(model=model, terms=TERMS, reason="By the accounts.", user=owner, actor=TEST)
    dearer = Terms("EUR", Decimal("3"), Decimal("40"), Decimal("300"))
    costs.set_formula(model=model, terms=dearer, reason="Prices rose.", user=owner, actor=TEST)

    assert costs.in_force(model) == dearer
    assert [(one.number, one.replaced_at is None) for one in CostFormula.objects.all()] == [(2, True), (1, False)]
    noted = AuditEvent.objects.filter(action="diagnosing.cost.set").order_by("pk")
    assert [event.target_version for event in noted] == ["1", "2"]


@pytest.mark.parametrize("terms", [Terms("euro", *[Decimal(1)] * 3), Terms("EUR", Decimal(-1), Decimal(1), Decimal(1))])
def test_a_formula_that_makes_no_sense_is_refused(world: World, owner: Any, terms: Terms) -> None:
    with pytest.raises(CostRefused):
        costs.set_formula(model=world.endpoint.model, terms=terms, reason="Why not.", user=owner, actor=TEST)
    assert not CostFormula.objects.exists()


def test_who_may_not_change_the_registry_sets_no_formula(world: World) -> None:
    with pytest.raises(PermissionDenied):
        costs.set_formula(
            model=world.endpoint.model, terms=TERMS, reason="Why not.", user=world.users["rosa"], actor=TEST
        )
    assert not CostFormula.objects.exists()


def test_waiting_is_priced_by_each_kind_of_error_and_by_the_hour() -> None:
    # given 0.5 answers a second, one in ten wrongly positive and one in fifty wrongly negative beyond the usual
    known = {"per_second": "0.5", "wrong_beyond_usual": "0.12", "wrongly_positive": "0.1", "wrongly_negative": "0.02"}

    # then an hour costs 180 x 2.50 + 36 x 40 + 300
    assert outlook_of(known | {"cost": TERMS.facts()}).until(3600)["priced"] == "about 2,190 EUR"
    assert outlook_of(known).until(3600)["priced"] == ""
    assert outlook_of(known | {"wrong_beyond_usual": "", "cost": TERMS.facts()}).until(3600)["priced"] == ""


def test_an_incidents_options_and_its_estimate_are_priced(world: World, owner: Any) -> None:
    costs.set_formula(model=world.endpoint.model, terms=TERMS, reason="By the accounts.", user=owner, actor=TEST)
    incident = take_alert(alert_id=world.alert().pk)
    assert incident is not None

    examine(incident_id=incident.pk, actor=service_actor("incidents"))

    found = situation(incidents().get(pk=incident.pk))
    outlook = found.data["outlook"]
    both = float(outlook["wrongly_positive"]) + float(outlook["wrongly_negative"])
    assert both == pytest.approx(float(outlook["wrong_beyond_usual"]), abs=0.02)
    wait = next(option for option in found.diagnosis().options if option.name == "Wait")
    assert wait.priced.endswith(" EUR an hour")
    reckoned = estimate(incident, timezone.now())
    assert reckoned is not None
    assert reckoned.priced.endswith(" EUR")


def test_the_owner_sets_the_amounts_on_the_models_page(world: World, owner: Any) -> None:
    client = Client()
    client.force_login(owner)
    slug = world.endpoint.model.slug
    sent = {"currency": "eur", "wrong_positive": "2.5", "wrong_negative": "40", "degraded_hour": "300"}

    refused = client.post(f"/models/{slug}/cost/", sent)
    done = client.post(f"/models/{slug}/cost/", sent | {"reason": "By the accounts."})

    assert (refused.status_code, done.status_code) == (400, 302)
    assert costs.in_force(world.endpoint.model) == TERMS
    page = client.get(f"/models/{slug}/cost/").content.decode()
    assert '<td class="num">2.5 EUR</td>' in page
    panel = Template("{% load costs %}{% cost_panel model %}").render(Context({"model": world.endpoint.model}))
    assert '<td class="num">40</td>' in panel
