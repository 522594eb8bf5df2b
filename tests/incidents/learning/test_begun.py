"""What reviews begin with: a template by kind of incident, edited by administrators, on record."""

from typing import Any

import pytest

from audit.models import AuditEvent
from incidents import reviews
from incidents.errors import Conflict, GuardFailed, IncidentError
from incidents.learning.begun import set_template
from incidents.learning.models import ReviewTemplate
from tests.incidents.world import World

pytestmark = pytest.mark.usefixtures("built")
ADDRESS = "/incidents/review-templates/"


def kept(world: World, kind: str, seen: int = 0, **texts: str) -> ReviewTemplate:
    return set_template(kind=kind, texts=texts, reason="We forgot to ask.", seen_version=seen, actor=world.actor("ada"))


def test_a_review_begins_with_the_evidence_and_the_template_of_its_kind(world: World) -> None:
    # given a template for accuracy and one for every other kind
    kept(world, "", went_well="What helped?")
    kept(world, "accuracy", went_badly="Which groups were hit?", summary="Who noticed?")
    # when a review is drafted, twice
    incident = world.incident()
    review = reviews.draft(incident_id=incident.pk)
    again = reviews.draft(incident_id=incident.pk)
    # then the kind's own counts, below what the evidence tells
    assert (review.went_badly, review.went_well) == ("Which groups were hit?", "")
    assert review.summary.startswith(f"{incident.title}.")
    assert review.summary.endswith("\n\nWho noticed?")
    assert again.version == review.version
    # and an edited section stays as people wrote it
    reviews.edit(review=again, texts={"went_badly": "Nothing."}, seen_version=again.version, actor=world.actor("rosa"))
    assert reviews.draft(incident_id=incident.pk).went_badly == "Nothing."


def test_a_review_in_which_only_the_template_stands_is_not_published(world: World) -> None:
    kept(world, "", summary="What happened?", causes="Why?")
    review = reviews.draft(incident_id=world.incident().pk)
    reviews.edit(
        review=review, texts={"summary": "It answered worse.", "causes": "Why?"}, seen_version=review.version,
        actor=world.actor("rosa"),
    )  # fmt: skip
    with pytest.raises(GuardFailed, match="beyond what its template begins with"):
        reviews.publish(review=review, actor=world.actor("kofi"))
    review.refresh_from_db()
    reviews.edit(
        review=review, texts={"causes": "Why? A release."}, seen_version=review.version, actor=world.actor("rosa")
    )
    assert reviews.publish(review=review, actor=world.actor("kofi")).state == "published"


def test_two_administrators_at_once_are_a_conflict_and_what_does_not_exist_is_refused(world: World) -> None:
    kept(world, "latency", summary="Where was it slow?")
    with pytest.raises(Conflict):
        kept(world, "latency", summary="Another.")
    assert kept(world, "latency", seen=1, summary="").texts == {}
    refused: list[tuple[dict[str, Any], str]] = [
        ({"kind": "weather"}, "There is no kind weather"),
        ({"texts": {"weather": "x"}}, "no section weather"),
        ({"texts": {"summary": "x" * 4001}}, "at most 4000"),
        ({"reason": " "}, "Say in a sentence why"),
    ]
    for terms, words in refused:
        usual: dict[str, Any] = {"kind": "", "texts": {}, "reason": "x", "seen_version": 0}
        with pytest.raises(IncidentError, match=words):
            set_template(**(usual | terms), actor=world.actor("ada"))
    assert list(ReviewTemplate.objects.values_list("kind", "version")) == [("latency", 2)]
    assert AuditEvent.objects.filter(action="review_template.set").count() == 2


def test_administrators_edit_it_on_its_page_and_everybody_reads_it(world: World) -> None:
    typed = {"version": "0", "summary": "Who <was> hit?", "reason": "We forgot to ask."}
    assert world.client("kofi").post(f"{ADDRESS}?kind=latency", typed).status_code == 403
    ada = world.client("ada")
    assert ada.post(f"{ADDRESS}?kind=latency", typed).status_code == 302
    stale = ada.post(f"{ADDRESS}?kind=latency", typed | {"summary": "Other."})
    assert stale.status_code == 409
    assert "Somebody changed it since you opened it" in stale.content.decode()
    assert ReviewTemplate.objects.get().texts == {"summary": "Who <was> hit?"}
    assert "Who &lt;was&gt; hit?" in world.client("vera").get(f"{ADDRESS}?kind=latency").content.decode()
    assert world.client("vera").get(f"{ADDRESS}?kind=weather").status_code == 404


def test_it_is_read_and_set_over_the_api(world: World) -> None:
    body = {"kind": "", "texts": {"impact": "Who was hit?"}, "version": 0, "reason": "We forgot to ask."}
    sent: dict[str, Any] = {"content_type": "application/json"}
    made = world.client("ada").post("/api/v1/review-templates/", body, **sent)
    assert (made.status_code, made.json()["version"]) == (201, 1)
    assert world.client("ada").post("/api/v1/review-templates/", body, **sent).status_code == 412
    assert [one["texts"] for one in world.client("vera").get("/api/v1/review-templates/").json()] == [body["texts"]]
    assert world.client("kofi").post("/api/v1/review-templates/", body, **sent).status_code == 403
