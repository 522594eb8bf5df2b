"""Where a page leaves it to people, a draft waits for them; its words are the page's own where it has some."""

import pytest
from django.utils import timezone

from incidents import status, status_words
from incidents.errors import IncidentError
from incidents.models import Incident, StatusPage, StatusPost
from incidents.telling import drafts
from incidents.telling.models import Draft, Template
from tests.incidents.world import TEST, World

pytestmark = pytest.mark.usefixtures("built")


def moved(incident: Incident, *states: str) -> None:
    for state in states:
        Incident.objects.filter(pk=incident.pk).update(state=state, mitigated_at=timezone.now())
        status.narrate(incident_id=incident.pk)


def page_of_people(world: World) -> StatusPage:
    page = world.status_page()
    StatusPage.objects.update(by_itself=False)
    return page


def test_each_change_of_state_is_proposed_and_the_newest_waits(world: World) -> None:
    page_of_people(world)
    moved(world.incident(), "triaged", "mitigating")
    assert not StatusPost.objects.exists()
    assert list(Draft.objects.values_list("status", "state")) == [
        ("identified", "open"), ("investigating", "overtaken"),
    ]  # fmt: skip


def test_a_person_sends_it_with_their_own_changes(world: World) -> None:
    page_of_people(world)
    moved(world.incident(), "triaged")
    kofi = world.client("kofi")
    shown = kofi.get(f"/status/services/post/?draft={Draft.objects.get().pk}")
    typed = dict(shown.context["form"].initial) | {"text": "We look into it."}
    assert b"Proposed for INC-" in shown.content
    assert kofi.post("/status/services/post/", typed).status_code == 302
    assert StatusPost.objects.get().text == "We look into it."
    assert Draft.objects.get().state == "sent"


def test_a_person_decides_that_it_is_not_told(world: World) -> None:
    page_of_people(world)
    moved(world.incident(), "triaged")
    draft = Draft.objects.select_related("page", "incident").get()
    assert world.client("kofi").post(f"/status/services/drafts/{draft.pk}/dismiss/").status_code == 302
    with pytest.raises(IncidentError, match="no more"):
        drafts.dismiss(draft=draft, actor=TEST)
    assert Draft.objects.get().state == "dismissed"
    assert not StatusPost.objects.exists()


def test_what_ended_before_anything_was_told_leaves_no_draft_to_be_sent(world: World) -> None:
    page_of_people(world)
    moved(world.incident(), "triaged", "resolved")
    assert list(Draft.objects.values_list("status", "state")) == [("investigating", "overtaken")]
    assert not StatusPost.objects.exists()


def test_a_pages_own_words_are_filled_in_from_what_is_known(world: World) -> None:
    page = world.status_page()
    Template.objects.create(page=None, status="investigating", text="For all.")
    Template.objects.create(page=page, status="investigating", text="Since {since}, {service} is slow. {left}")
    incident = world.incident()
    moved(incident, "triaged")
    since = incident.impact_started_at or incident.detected_at
    assert StatusPost.objects.get().text == f"Since {since:%H:%M} UTC, Letters that offer job support is slow."
    assert status_words.unknown_fields("{service} {host} {since!r}") == ["host", "since"]


@pytest.mark.parametrize(("text", "code"), [("{service} is slow.", 302), ("{host} is slow.", 400), ("{service", 400)])
def test_an_administrator_sets_the_words_and_none_of_what_is_not_known(world: World, text: str, code: int) -> None:
    world.status_page()
    typed = {"status": "investigating", "text": text}
    assert world.client("ada").post("/status/services/words/", typed).status_code == code
    assert Template.objects.count() == (code == 302)
    assert world.client("ada").post("/status/services/words/", typed | {"text": ""}).status_code == 302
    assert not Template.objects.exists()


def test_what_is_not_availability_is_told_beside_it_and_ends_with_the_incident(world: World) -> None:
    page = world.status_page()
    incident = world.incident()
    seen = []
    for state in ("triaged", "monitoring", "resolved"):
        if state == "monitoring":
            world.run(incident, state="switched")
        moved(incident, state)
        seen.append(page.components.get().quality)
    assert seen == ["quality_degraded", "fallback_serving", ""]
