"""Reviews: drafted from the evidence, finished by people, published with the log's checkpoint."""

from typing import Any

import pytest

from incidents import actions, reviews
from incidents.errors import Conflict, GuardFailed, IncidentError
from incidents.models import ActionItem, Incident, IncidentState, Review, ReviewState
from tests.incidents.world import World, events


@pytest.fixture
def review(world: World) -> Review:
    """The drafted review of a resolved incident."""
    incident = actions.resolve(incident=world.incident(), reason="Back.", actor=world.actor("kofi"))
    return reviews.draft(incident_id=incident.pk)


def test_a_review_is_drafted_from_the_frozen_evidence(world: World, review: Review) -> None:
    claims = {piece.kind: piece.claim for piece in review.incident.evidence.all()}
    assert claims["accuracy"] in review.summary
    assert claims["impact"] in review.impact
    assert len(events(review.incident, "review.draft")) == 1


def test_drafting_again_never_touches_what_a_person_wrote(world: World, review: Review) -> None:
    texts = {"summary": "Mine.", "causes": "Codes were swapped."}
    reviews.edit(review=review, texts=texts, seen_version=review.version, actor=world.actor("kofi"))
    again = reviews.draft(incident_id=review.incident_id)
    assert (again.summary, again.causes) == ("Mine.", "Codes were swapped.")


def test_an_edit_of_what_somebody_changed_is_refused_and_both_texts_are_shown(world: World, review: Review) -> None:
    seen = review.version
    reviews.edit(review=review, texts={"summary": "Theirs."}, seen_version=seen, actor=world.actor("rosa"))
    with pytest.raises(Conflict):
        reviews.edit(review=review, texts={"summary": "Mine."}, seen_version=seen, actor=world.actor("kofi"))
    answer = world.client("kofi").post(
        f"/reviews/{review.incident.ref}/edit/", {"version": seen, "summary": "Mine.", "causes": ""}
    )
    assert answer.status_code == 409
    assert "Mine." in answer.content.decode()
    assert "Theirs." in answer.content.decode()
    assert Review.objects.get().summary == "Theirs."


def test_a_review_without_causes_is_not_published(world: World, review: Review) -> None:
    Review.objects.update(causes="")
    review.refresh_from_db()
    with pytest.raises(GuardFailed) as refused:
        reviews.publish(review=review, actor=world.actor("kofi"))
    assert refused.value.guard == "review_complete"
    assert Review.objects.get().state == ReviewState.DRAFT
    assert Incident.objects.get().state == IncidentState.RESOLVED


def test_a_published_review_is_not_edited_and_its_incident_is_reviewed(world: World, review: Review) -> None:
    reviews.edit(review=review, texts={"causes": "C."}, seen_version=review.version, actor=world.actor("kofi"))
    reviews.publish(review=review, actor=world.actor("kofi"))
    assert Incident.objects.get().state == IncidentState.REVIEWED
    with pytest.raises(GuardFailed):
        reviews.edit(review=review, texts={"causes": "D."}, seen_version=review.version, actor=world.actor("kofi"))
    assert Review.objects.get().causes == "C."
    with pytest.raises(Conflict):
        reviews.publish(review=review, actor=world.actor("kofi"))
    assert len(events(review.incident, "review.publish")) == 1


def test_a_published_review_carries_the_logs_signed_checkpoint(committed_db: Any, settings: Any, tmp_path: Any) -> None:
    from tests.audit.log import sequence_all, sequencer_in
    from tests.incidents import world as worlds

    settings.LASTGOOD_VAR = tmp_path
    world = worlds.build()
    incident = actions.resolve(incident=world.incident(), reason="Back.", actor=world.actor("kofi"))
    review = reviews.draft(incident_id=incident.pk)
    Review.objects.update(causes="C.")
    review.refresh_from_db()
    sequence_all(sequencer_in(tmp_path))
    reviews.publish(review=review, actor=world.actor("kofi"))
    assert review.checkpoint.startswith(settings.LASTGOOD_LOG_ORIGIN)
    assert review.checkpoint in world.client("vera").get(f"/reviews/{incident.ref}/export.md").content.decode()


def test_action_items_are_added_and_done_once(world: World, review: Review) -> None:
    with pytest.raises(IncidentError):
        reviews.add_action_item(review=review, text=" ", owner=None, due_on=None, actor=world.actor("kofi"))
    item = reviews.add_action_item(
        review=review, text="Compare codebooks.", owner=world.users["rosa"], due_on=None, actor=world.actor("kofi")
    )
    done = f"/reviews/{review.incident.ref}/action-items/{item.pk}/done/"
    for _ in range(2):
        assert world.client("rosa").post(done).status_code == 302
    assert ActionItem.objects.get().done_at is not None
    assert len(events(review.incident, "review.finish_action_item")) == 1


@pytest.mark.parametrize("path", ["edit/", "action-items/", "publish/"])
def test_who_may_only_look_changes_nothing_in_a_review(world: World, review: Review, path: str) -> None:
    typed = {"version": review.version, "summary": "x", "text": "x"}
    assert world.client("vera").post(f"/reviews/{review.incident.ref}/{path}", typed).status_code == 403
    now = Review.objects.get()
    assert (now.version, now.state) == (review.version, ReviewState.DRAFT)
    assert not ActionItem.objects.exists()


def test_an_export_has_the_sections_the_times_and_the_timeline_from_the_log(world: World, review: Review) -> None:
    reviews.edit(
        review=review, texts={"causes": "Pipes | and <b>tags</b>."}, seen_version=review.version,
        actor=world.actor("kofi"),
    )  # fmt: skip
    client, ref = world.client("vera"), review.incident.ref
    markdown = client.get(f"/reviews/{ref}/export.md").content.decode()
    html = client.get(f"/reviews/{ref}/export.html").content.decode()
    assert markdown.startswith(f"# Review of {ref}: ")
    assert "## Timeline" in markdown
    assert "Incident opened: Employment" in markdown
    assert "| Time to detect | 1" in markdown
    assert "Pipes | and &lt;b&gt;tags&lt;/b&gt;." in html
    assert client.get(f"/reviews/{ref}/export.docx").status_code == 404
