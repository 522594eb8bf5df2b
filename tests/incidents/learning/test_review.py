"""Causes by the taxonomy, signatures, and all of it in the export."""

from typing import Any

import pytest

from audit.erasure import ERASED, Written
from incidents import reviews
from incidents.errors import Conflict, GuardFailed, IncidentError
from incidents.learning import actions
from incidents.learning.erasure import erase
from incidents.learning.models import Answer, ContributingCause, Signature
from incidents.models import Review
from incidents.review_export import as_html, as_markdown
from tests.incidents.world import World, events

pytestmark = pytest.mark.usefixtures("built")


def drafted(world: World) -> Review:
    incident = world.incident()
    return Review.objects.create(incident=incident, summary="It answered worse.", causes="A bad release.")


def named(world: World, review: Review, causes: dict[str, str], seen: int | None = None) -> Review:
    return actions.set_causes(
        review=review, causes=causes, seen_version=seen or review.version, actor=world.actor("rosa")
    )


def test_causes_are_named_by_the_taxonomy_and_replaced(world: World) -> None:
    review = drafted(world)
    named(world, review, {"bad_release": "Trained on half the data.", "data_drift": ""})
    named(world, review, {"training_serving_skew": "Another encoder."})
    assert [(one.kind, one.note) for one in ContributingCause.objects.all()] == [
        ("training_serving_skew", "Another encoder.")
    ]
    with pytest.raises(IncidentError, match="There is no cause bad_luck"):
        named(world, review, {"bad_luck": ""})
    assert len(events(review.incident, "review.set_causes")) == 2


def test_causes_named_at_once_are_a_conflict_and_a_published_review_keeps_its_own(world: World) -> None:
    review = drafted(world)
    named(world, review, {"bad_release": ""}, seen=1)
    with pytest.raises(Conflict):
        named(world, review, {"data_drift": ""}, seen=1)
    reviews.publish(review=review, actor=world.actor("kofi"))
    with pytest.raises(GuardFailed):
        named(world, review, {"data_drift": ""})
    assert ContributingCause.objects.get().kind == "bad_release"


def test_a_named_person_accepts_the_state_after_the_rollback(world: World) -> None:
    review = drafted(world)
    vera = world.users["vera"]
    asked = actions.ask(review=review, kind="acceptance", user=vera, actor=world.actor("rosa"))
    assert "Your answer: acceptance of the state" in world.client("vera").get("/").content.decode()
    with pytest.raises(IncidentError, match="alone can answer"):
        actions.answer(signature=asked, accepted=True, words="", user=world.users["rosa"], actor=world.actor("rosa"))
    with pytest.raises(IncidentError, match="not as it should be"):
        actions.answer(signature=asked, accepted=False, words=" ", user=vera, actor=world.actor("vera"))
    answer = world.client("vera").post(
        f"/reviews/{review.incident.ref}/signatures/{asked.pk}/",
        {"accepted": "no", "words": "Letters are wrong still."},
    )
    assert answer.status_code == 302
    said = Signature.objects.get()
    assert (said.answer, said.words) == (Answer.NO, "Letters are wrong still.")
    with pytest.raises(IncidentError, match="answered before"):
        actions.answer(signature=asked, accepted=True, words="", user=vera, actor=world.actor("vera"))


def test_a_review_is_signed_off_once_it_is_published(world: World) -> None:
    review = drafted(world)
    kofi: dict[str, Any] = {"user": world.users["kofi"], "actor": world.actor("kofi")}
    asked = actions.ask(review=review, kind="sign_off", user=world.users["kofi"], actor=world.actor("rosa"))
    with pytest.raises(GuardFailed) as refused:
        actions.answer(signature=asked, accepted=True, words="", **kofi)
    assert refused.value.guard == "review_published"
    reviews.publish(review=review, actor=world.actor("kofi"))
    asked.refresh_from_db()
    actions.answer(signature=Signature.objects.get(pk=asked.pk), accepted=True, words="", **kofi)
    assert Signature.objects.get().answer == Answer.YES


def test_the_export_holds_causes_and_signatures(world: World) -> None:
    review = drafted(world)
    named(world, review, {"upstream_data": "The feed | was empty."})
    asked = actions.ask(review=review, kind="acceptance", user=world.users["vera"], actor=world.actor("rosa"))
    actions.answer(
        signature=asked, accepted=True, words="It is well.", user=world.users["vera"], actor=world.actor("vera")
    )
    for exported in (as_markdown(review), as_html(review)):
        assert "Upstream data: a source was late, wrong or empty: The feed | was empty." in exported
        assert "Vera Example, acceptance of the state after the rollback: accepted (It is well.)" in exported


def test_what_an_erased_person_noted_in_several_lines_goes_too(world: World) -> None:
    review = drafted(world)
    said = {"bad_release": "Anna said\nthat Bob did it.", "data_drift": "x" * 600, "infrastructure": "A cable."}
    named(world, review, said)
    ContributingCause.objects.filter(kind="infrastructure").update(note="that Bob")
    [event] = events(review.incident, "review.set_causes")
    text = "\n".join(said.values())
    assert erase("u-x", [Written(event, text)])["learning_contributingcause"] == 2
    notes = {one.kind: one.note for one in ContributingCause.objects.all()}
    assert notes == {"bad_release": ERASED, "data_drift": ERASED, "infrastructure": "that Bob"}


def test_causes_and_signatures_go_through_pages_and_api(world: World) -> None:
    review = drafted(world)
    ref, rosa = review.incident.ref, world.client("rosa")
    typed = {"version": 1, "is_bad_release": "on", "note_bad_release": "Half the data."}
    assert rosa.post(f"/reviews/{ref}/causes/", typed).status_code == 302
    assert rosa.post(f"/reviews/{ref}/ask/", {"kind": "acceptance", "user": world.users["vera"].pk}).status_code == 302
    html = rosa.get(f"/reviews/{ref}/").content.decode()
    assert "Half the data." in html
    assert "Vera Example: acceptance of the state after the rollback" in html
    sent: dict[str, Any] = {"content_type": "application/json"}
    body = {"version": 2, "causes": [{"kind": "data_drift", "note": ""}]}
    assert rosa.post(f"/api/v1/reviews/{ref}/causes/", body, **sent).json() == [{"kind": "data_drift", "note": ""}]
    asked = Signature.objects.get()
    said = world.client("vera").post(f"/api/v1/reviews/{ref}/signatures/{asked.pk}/", {"accepted": True}, **sent)
    assert said.json()["answer"] == "yes"
