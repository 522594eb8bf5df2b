"""What an erased person wrote, in the rows of incidents: updates, assessments, reviews, action items."""

from collections.abc import Sequence

from audit.erasure import ERASED, Written
from incidents.models import ActionItem, Incident, Review, Update
from incidents.reviews import SECTIONS


def erase(subject: str, written: Sequence[Written]) -> dict[str, int]:
    """Put ERASED for the person's words; counts by table. What others wrote over them since stays."""
    updates = Update.objects.filter(by__pseudonym=subject)
    return {
        "incidents_update": updates.update(conditions=ERASED, actions="", needs=""),
        "incidents_incident": sum(_assessment(one) for one in written if one.event.action == "incident.triage"),
        "incidents_review": sum(_sections(one) for one in written if one.event.action == "review.edit"),
        "incidents_actionitem": sum(_item(one) for one in written if one.event.action == "review.add_action_item"),
    }


def _assessment(one: Written) -> int:
    return Incident.objects.filter(ref=one.event.incident, assessment=one.text).update(assessment=ERASED)


def _sections(one: Written) -> int:
    review = Review.objects.filter(incident__ref=one.event.incident).first()
    theirs = [name for name in SECTIONS if review and getattr(review, name) and getattr(review, name) in one.text]
    return (
        Review.objects.filter(incident__ref=one.event.incident).update(**dict.fromkeys(theirs, ERASED)) if theirs else 0
    )


def _item(one: Written) -> int:
    return ActionItem.objects.filter(review__incident__ref=one.event.incident, text=one.text.strip()).update(
        text=ERASED
    )


def incidents_of(model: str) -> list[str]:
    """References of the incidents about a model (its slug)."""
    return list(Incident.objects.filter(endpoint__model__slug=model).values_list("ref", flat=True))


def incident_ref(typed: str) -> str:
    """The incident's reference where there is such an incident, else empty."""
    return Incident.objects.filter(ref=typed).values_list("ref", flat=True).first() or ""
