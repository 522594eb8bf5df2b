"""The ledger of arrivals on its page and in the API, and reading a delivery once more."""

import json
import uuid
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from accounts.models import User
from incidents.intake import take_alert
from incidents.models import Incident
from monitoring import intake
from monitoring.inbound.models import Arrival
from monitoring.models import Alert, Delivery
from tests.accounts.people import person, recorded
from tests.accounts.test_approval_pages import browser, text_of
from tests.api.programs import anybody, problem_of

pytestmark = pytest.mark.django_db
PAGE = "/monitoring/arrivals/"


@pytest.fixture
def rita() -> User:
    cache.clear()
    return person("rita", "responder")


def deliver(body: Any, sender: str = "town") -> Delivery:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    delivery, _ = intake.take_webhook(
        source="json", sender=sender, key=uuid.uuid4().hex, body=content, content_type="", stored_ms=3
    )
    intake.process(delivery.pk)
    delivery.refresh_from_db()
    return delivery


def alert(name: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "summary": f"{name} is wrong", "labels": {"alertname": "Slow", "job": "town"}} | more


def test_it_tells_new_from_joined_and_names_the_incident(rita: User) -> None:
    for name in ("a", "b"):
        deliver(alert(name))
        take_alert(alert_id=Alert.objects.latest("pk").pk)
    incident = Incident.objects.get()

    arrivals = Arrival.objects.order_by("pk")
    assert [arrival.decision for arrival in arrivals] == ["new", "joined"]
    text = text_of(browser(rita).get(PAGE))
    assert "Joined an open incident" in text
    assert incident.ref in text
    assert "3 ms" in text
    assert "Everything that senders of alerts sent was read." in text
    found = anybody().ask("GET", f"/api/v1/arrivals/?incident={incident.ref}&decision=joined").json()["results"]
    assert [one["id"] for one in found] == [arrivals[1].pk]
    assert found[0]["alerts"][0]["incident_ref"] == incident.ref
    assert found[0]["sha256"] == Delivery.objects.latest("received_at").sha256


def test_an_alert_of_a_resolved_incident_opens_another(rita: User) -> None:
    deliver(alert("a"))
    take_alert(alert_id=Alert.objects.latest("pk").pk)
    Incident.objects.update(state="resolved")

    deliver(alert("b"))
    take_alert(alert_id=Alert.objects.latest("pk").pk)

    assert Incident.objects.count() == 2
    assert {arrival.decision for arrival in Arrival.objects.all()} == {"new"}


def test_it_is_filtered_and_turned_page_by_page(rita: User) -> None:
    for number in range(51):
        deliver(alert(f"a{number}"), sender="many")
    deliver(alert("one"), sender="few")
    page = browser(rita)

    assert "one is wrong" not in text_of(page.get(f"{PAGE}?sender=many"))
    assert "one is wrong" in text_of(page.get(f"{PAGE}?sender=few&decision=new&source=json"))
    assert "a0 is wrong" in text_of(page.get(f"{PAGE}?sender=many&page=2"))
    assert "Nothing came that matches" in text_of(page.get(f"{PAGE}?decision=refused"))
    assert page.get(f"{PAGE}?decision=nonsense&page=900").status_code == 200


def test_what_could_not_be_read_is_shown_and_read_again_once_it_can_be(rita: User) -> None:
    delivery = deliver([alert("a"), {"nothing": "of an alert"}])
    assert delivery.state == "unparseable"
    assert delivery.error.startswith("1 of 2 alerts could not be read, the others were taken.")
    assert Alert.objects.count() == 1
    page = browser(rita)
    assert "1 delivery could not be read, or not whole." in text_of(page.get(PAGE))
    assert "Read it again" in text_of(page.get(PAGE))
    assert "Read it again" in text_of(page.get("/monitoring/deliveries/"))

    Delivery.objects.update(body=json.dumps([alert("a"), alert("b")]).encode())
    answer = page.post(f"/monitoring/deliveries/{delivery.pk}/read-again/", {"back": "https://elsewhere.example/"})
    assert answer.url == PAGE
    intake.process(delivery.pk)

    delivery.refresh_from_db()
    assert (delivery.state, delivery.error) == ("processed", "")
    assert sorted(Alert.objects.values_list("summary", flat=True)) == ["a is wrong", "b is wrong"]
    assert Arrival.objects.get().decision == "new"
    assert recorded("delivery.read_again")[0]["actor"]["id"] == rita.pseudonym
    assert "There is nothing to read" in text_of(
        page.post(f"/monitoring/deliveries/{delivery.pk}/read-again/", follow=True)
    )


def test_programs_have_it_read_again_and_others_may_not(rita: User) -> None:
    delivery = deliver({"nothing": "of an alert"})
    url = f"/api/v1/deliveries/{delivery.pk}/read-again/"
    assert (
        browser(person("vera", "viewer")).post(f"/monitoring/deliveries/{delivery.pk}/read-again/").status_code == 403
    )
    delivery.refresh_from_db()
    assert delivery.state == "unparseable"

    program = anybody()
    assert program.ask("POST", url).json()["state"] == "stored"
    problem_of(program.ask("POST", url), 409, "nothing-to-read")


def test_it_is_for_those_who_signed_in() -> None:
    assert Client().get(PAGE).status_code == 302
