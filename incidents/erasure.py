"""What an erased person wrote, in the rows of incidents: updates, assessments, reviews, action items.

A post on a status page is what the organisation told the public: it stays when its writer is erased, and goes when its
own event is.
"""

from collections.abc import Sequence

from django.db.models import F, Q
from django.db.models.functions import Now

from audit.dispatch import send_on_commit
from audit.erasure import ERASED, Written
from audit.queries import record_of
from incidents.models import ActionItem, Incident, Review, StatusPage, StatusPost, Update
from incidents.reviews import SECTIONS


def erase(subject: str, written: Sequence[Written]) -> dict[str, int]:
    """Put ERASED for the person's words; counts by table. What others wrote over them since stays."""
    updates = Update.objects.filter(Q(by__pseudonym=subject) | Q(pk__in=_named("incident.post_update", written)))
    return {
        "incidents_update": updates.update(conditions=ERASED, actions="", needs=""),
        "incidents_statuspost": 0 if subject else _posts(_named("status.post", written)),
        "incidents_incident": sum(_assessment(one) for one in written if one.event.action == "incident.triage"),
        "incidents_review": sum(_sections(one) for one in written if one.event.action == "review.edit"),
        "incidents_actionitem": sum(_item(one) for one in written if one.event.action == "review.add_action_item"),
    }


def _named(action: str, written: Sequence[Written]) -> list[int]:
    """Keys of the rows that events of that action made, as their data name them."""
    row = action.rpartition("_")[2].rpartition(".")[2]
    datas = [record_of(one.event)["data"] for one in written if one.event.action == action]
    return [data[row] for data in datas if row in data]


def _posts(keys: list[int]) -> int:
    """Take posts out of the pages and out of their static copies."""
    posts = StatusPost.objects.filter(pk__in=keys)
    for page in StatusPage.objects.filter(posts__in=posts).distinct():
        StatusPage.objects.filter(pk=page.pk).update(version=F("version") + 1, publish_due_at=Now())
        send_on_commit("incidents.publish_page", [page.pk], queue="intake")
    return posts.update(text=ERASED)


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
