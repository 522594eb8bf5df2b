"""Post-incident reviews: drafted from evidence and log, finished by people, published with the log's checkpoint."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils.translation import gettext

from accounts.models import User
from audit import queries as log
from audit.actions import Actor, Target, record, service_actor
from incidents.errors import Conflict, GuardFailed, IncidentError
from incidents.models import ActionItem, Incident, IncidentState, Review, ReviewState

SECTIONS = ("summary", "impact", "causes", "went_well", "went_badly")


@dataclass(frozen=True)
class Interval:
    """A span that is measured in every incident; None where its end was never reached."""

    name: str
    start: datetime | None
    end: datetime | None

    @property
    def seconds(self) -> int | None:
        if self.start is None or self.end is None:
            return None
        return max(0, int((self.end - self.start).total_seconds()))


def intervals(incident: Incident) -> list[Interval]:
    """Times to detect, acknowledge, decide, mitigate and resolve, from the moments that the log's verbs have set."""
    began = incident.impact_started_at
    return [
        Interval(gettext("Time to detect"), began, incident.detected_at),
        Interval(gettext("Time to acknowledge"), incident.detected_at, incident.acknowledged_at),
        Interval(gettext("Time to decide"), incident.acknowledged_at, incident.decided_at),
        Interval(gettext("Time to mitigate"), began, incident.mitigated_at),
        Interval(gettext("Time to resolve"), began, incident.resolved_at),
    ]


@transaction.atomic
def draft(*, incident_id: int) -> Review:
    """Fill the empty sections of a new review from the incident's evidence, and with what the template of its kind
    begins with; what people wrote is never touched."""
    from incidents.learning.begun import texts_for

    incident = Incident.objects.get(pk=incident_id)
    review, _ = Review.objects.select_for_update().get_or_create(incident=incident)
    claims = {claim.kind: claim.claim for claim in incident.evidence.all()}
    found = {
        "summary": " ".join(part for part in (f"{incident.title}.", claims.get("accuracy", "")) if part),
        "impact": " ".join(claims[kind] for kind in ("impact", "groups", "hosts") if kind in claims),
        "causes": " ".join(
            part for part in (incident.assessment, claims.get("drift", ""), claims.get("diagnosis", "")) if part
        ),
    }
    begun = texts_for(incident)
    texts = {name: "\n\n".join(filter(None, (found.get(name, ""), begun.get(name, "")))) for name in SECTIONS}
    fields = {name: text for name, text in texts.items() if text and not getattr(review, name)}
    if fields and review.state == ReviewState.DRAFT:
        Review.objects.filter(pk=review.pk).update(version=F("version") + 1, **fields)
        record(
            action="review.draft",
            target=Target("review", incident.ref),
            actor=service_actor("incidents"),
            incident=incident.ref,
            data={"sections": sorted(fields)},
        )
    review.refresh_from_db()
    return review


@transaction.atomic
def edit(*, review: Review, texts: dict[str, str], seen_version: int, actor: Actor) -> Review:
    """Replace sections. Raises Conflict when somebody else did since `seen_version`."""
    unknown = set(texts) - set(SECTIONS)
    if unknown:
        raise IncidentError(gettext("A review has no section %(names)s.") % {"names": ", ".join(sorted(unknown))})
    if review.state == ReviewState.PUBLISHED:
        raise GuardFailed("review_draft", gettext("A published review is not edited. Add an action item instead."))
    changed = Review.objects.filter(pk=review.pk, version=seen_version, state=ReviewState.DRAFT).update(
        version=F("version") + 1, **texts
    )
    review.refresh_from_db()
    if changed != 1:
        raise Conflict(review.version)
    note(review, "review.edit", actor, {"sections": sorted(texts)}, reason="\n\n".join(texts.values()))
    return review


@transaction.atomic
def add_action_item(*, review: Review, text: str, owner: User | None, due_on: date | None, actor: Actor) -> ActionItem:
    if not text.strip():
        raise IncidentError(gettext("Say in a sentence what is to be done."))
    item = ActionItem.objects.create(review=review, text=text.strip(), owner=owner, due_on=due_on)
    Review.objects.filter(pk=review.pk).update(version=F("version") + 1)
    note(review, "review.add_action_item", actor, {"item": item.pk, "owner": owner.pseudonym if owner else ""}, text)
    return item


@transaction.atomic
def finish_action_item(*, item: ActionItem, actor: Actor) -> None:
    if not ActionItem.objects.filter(pk=item.pk, done_at=None).update(done_at=Now()):
        raise IncidentError(gettext("This action item was done before. Nothing was changed."))
    Review.objects.filter(pk=item.review_id).update(version=F("version") + 1)
    note(item.review, "review.finish_action_item", actor, {"item": item.pk})


@transaction.atomic
def publish(*, review: Review, actor: Actor, seen_version: int | None = None) -> Review:
    """Close the text, keep the log's newest signed checkpoint in it, and move the incident to reviewed."""
    from incidents import actions
    from incidents.learning.begun import texts_for

    begun = texts_for(review.incident)
    if any(not getattr(review, name).replace(begun.get(name, ""), "").strip() for name in ("summary", "causes")):
        raise GuardFailed(
            "review_complete",
            gettext(
                "A review needs at least a summary and the causes, beyond what its template begins with. "
                "Write them, then publish."
            ),
        )
    expected = review.version if seen_version is None else seen_version
    checkpoint = log.checkpoint_at()
    changed = Review.objects.filter(pk=review.pk, version=expected, state=ReviewState.DRAFT).update(
        state=ReviewState.PUBLISHED,
        published_at=Now(),
        checkpoint=checkpoint.note if checkpoint else "",
        version=F("version") + 1,
    )
    review.refresh_from_db()
    if changed != 1:
        raise Conflict(review.version)
    note(review, "review.publish", actor, {"checkpoint_size": checkpoint.size if checkpoint else 0})
    if review.incident.state == IncidentState.RESOLVED:
        actions.move(incident=review.incident, to=IncidentState.REVIEWED, actor=actor)
    return review


def note(review: Review, action: str, actor: Actor, data: dict[str, Any], reason: str = "") -> None:
    """Record what was done to a review, under its incident."""
    ref = review.incident.ref
    record(action=action, target=Target("review", ref), actor=actor, incident=ref, data=data, reason=reason)
