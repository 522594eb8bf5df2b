"""What is done with a review beside its text: causes named, people asked to sign and answering, owners reminded."""

import logging
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import IntegrityError, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from accounts.models import User
from accounts.permissions import may
from audit.actions import Actor, Target, record, service_actor
from incidents.errors import Conflict, GuardFailed, IncidentError
from incidents.learning.models import NOTE_LENGTH, Answer, Cause, ContributingCause, Reminder, Signature, SignatureKind
from incidents.models import ActionItem, Review, ReviewState

log = logging.getLogger(__name__)

SOON = timedelta(days=3)
PAUSES = (timedelta(minutes=1), timedelta(minutes=10), timedelta(hours=1), timedelta(hours=6), timedelta(days=1))
"""So long after a reminder was put on record its letter is tried again, where it did not go out."""


def _note(review: Review, action: str, actor: Actor, data: dict[str, Any], reason: str = "") -> None:
    ref = review.incident.ref
    record(action=action, target=Target("review", ref), actor=actor, incident=ref, data=data, reason=reason)


@transaction.atomic
def set_causes(*, review: Review, causes: Mapping[str, str], seen_version: int, actor: Actor) -> Review:
    """Name the contributing causes, each with what is said of it; those not named are taken off. Raises Conflict."""
    unknown = set(causes) - set(Cause.values)
    if unknown:
        raise IncidentError(
            f"There is no cause {', '.join(sorted(unknown))}. The causes are: {', '.join(Cause.values)}."
        )
    changed = Review.objects.filter(pk=review.pk, version=seen_version, state=ReviewState.DRAFT)
    if changed.update(version=F("version") + 1) != 1:
        review.refresh_from_db()
        if review.state == ReviewState.PUBLISHED:
            raise GuardFailed("review_draft", "A published review is not edited. Add an action item instead.")
        raise Conflict(review.version)
    review.refresh_from_db()
    review.contributing.all().delete()
    ContributingCause.objects.bulk_create(
        ContributingCause(review=review, kind=kind, note=note.strip()[:NOTE_LENGTH]) for kind, note in causes.items()
    )
    said = "\n".join(note.strip() for note in causes.values() if note.strip())
    _note(review, "review.set_causes", actor, {"causes": sorted(causes)}, said)
    return review


@transaction.atomic
def ask(*, review: Review, kind: str, user: User, actor: Actor) -> Signature:
    """Ask a named person to sign the review off, or to accept how the service answers since the rollback."""
    if kind not in SignatureKind.values:
        raise IncidentError(f"One is asked for {' or '.join(SignatureKind.values)}, not for {kind}.")
    if not user.is_active or not may(user, "view"):
        raise IncidentError(f"{user} may not look at reviews. Choose somebody with a role.")
    try:
        with transaction.atomic():
            made = Signature.objects.create(review=review, kind=kind, user=user)
    except IntegrityError:
        raise IncidentError(f"{user} was asked already. Nothing was changed.") from None
    _note(review, "review.ask", actor, {"signature": made.pk, "kind": kind, "person": user.pseudonym})
    return made


@transaction.atomic
def answer(*, signature: Signature, accepted: bool, words: str, user: User, actor: Actor) -> Signature:
    """What the asked person says; a no needs words. A review is signed off as it was published."""
    if signature.user_id != user.pk:
        raise IncidentError(f"{signature.user} was asked, and alone can answer.")
    if not accepted and not words.strip():
        raise IncidentError("Say in a sentence what is not as it should be.")
    review = signature.review
    if signature.kind == SignatureKind.SIGN_OFF and review.state != ReviewState.PUBLISHED:
        raise GuardFailed("review_published", "The review may change still. Sign it off once it is published.")
    said = Answer.YES if accepted else Answer.NO
    open_ = Signature.objects.filter(pk=signature.pk, answer=Answer.ASKED)
    if open_.update(answer=said, words=words.strip()[:1000], answered_at=Now()) != 1:
        raise IncidentError("You have answered before. Nothing was changed.")
    data = {"signature": signature.pk, "kind": signature.kind, "answer": str(said)}
    _note(review, "review.answer", actor, data, words.strip())
    signature.refresh_from_db()
    return signature


def asked_of(user: User) -> QuerySet[Signature]:
    """What the person has still to answer."""
    found = Signature.objects.filter(user=user, answer=Answer.ASKED)
    return found.select_related("review__incident").order_by("pk")


def items_of(user: User) -> QuerySet[ActionItem]:
    """Action items of the person that are not done, the soonest due first."""
    found = ActionItem.objects.filter(owner=user, done_at=None).select_related("review__incident")
    return found.order_by("due_on", "pk")


def _stage(due_on: date, today: date) -> str:
    return "overdue" if due_on < today else "soon"


def unreminded(now: datetime) -> list[int]:
    """Open action items within SOON of their day, or past it, whose owner was not reminded of that yet, or whose
    letter did not go out."""
    today = now.date()
    late = Q(due_on__lt=today) & _owed("overdue", now)
    near = Q(due_on__range=(today, today + SOON)) & _owed("soon", now)
    found = ActionItem.objects.filter(late | near, done_at=None, owner__isnull=False)
    return list(found.order_by("pk").values_list("pk", flat=True)[:100])


def _owed(stage: str, now: datetime) -> Q:
    reminded = Reminder.objects.filter(item=OuterRef("pk"), stage=stage)
    return ~Exists(reminded) | Exists(reminded.filter(_again(now)))


def _again(now: datetime) -> Q:
    """Reminders whose letter did not go out, and is to be tried now."""
    due = Q(attempts=0)
    for attempts, pause in enumerate(PAUSES, start=1):
        due |= Q(attempts=attempts, at__lte=now - pause)
    return due & Q(sent_at=None)


def remind(*, item_id: int, now: datetime) -> bool:
    """Put the reminder on record, once for each stage, then send it to the owner; whether a letter went out.

    A letter that fails is tried again after each of PAUSES; one may go out twice where we die right after it.
    """
    item = ActionItem.objects.select_related("owner", "review__incident").get(pk=item_id)
    if item.done_at is not None or item.owner is None or item.due_on is None:
        return False
    with transaction.atomic():
        stage = _stage(item.due_on, now.date())
        reminder, made = Reminder.objects.get_or_create(item=item, stage=stage)
        if made:
            data = {"item": item.pk, "stage": stage, "owner": item.owner.pseudonym, "due": item.due_on.isoformat()}
            _note(item.review, "review.remind", service_actor("incidents"), data)
    mine = Reminder.objects.filter(_again(now), pk=reminder.pk, attempts=reminder.attempts)
    if mine.update(attempts=F("attempts") + 1) != 1:
        return False
    try:
        _letter(item, stage).send()
    except OSError as error:
        log.warning(
            "the letter of action item %s did not go out, attempt %s: %s", item.pk, reminder.attempts + 1, error
        )
        return False
    Reminder.objects.filter(pk=reminder.pk).update(sent_at=Now())
    return True


def _letter(item: ActionItem, stage: str) -> EmailMessage:
    ref = item.review.incident.ref
    when = "was due on" if stage == "overdue" else "is due on"
    lines = [
        item.text,
        "",
        f"It {when} {item.due_on} and came out of the review of {ref}.",
        f"{settings.LASTGOOD_PUBLIC_URL}/reviews/{ref}/",
    ]
    assert item.owner is not None
    return EmailMessage(f"Action item of {ref}: {stage}", "\n".join(lines), to=[item.owner.email])
