"""What is done with a review beside its text: causes named, people asked to sign and answering."""

from collections.abc import Mapping

from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now
from django.utils.translation import gettext

from accounts.models import User
from accounts.permissions import may
from audit.actions import Actor
from incidents.errors import Conflict, GuardFailed, IncidentError
from incidents.learning.models import NOTE_LENGTH, Answer, Cause, ContributingCause, Signature, SignatureKind
from incidents.models import ActionItem, Review, ReviewState
from incidents.reviews import note


@transaction.atomic
def set_causes(*, review: Review, causes: Mapping[str, str], seen_version: int, actor: Actor) -> Review:
    """Name the contributing causes, each with what is said of it; those not named are taken off. Raises Conflict."""
    unknown = set(causes) - set(Cause.values)
    if unknown:
        raise IncidentError(
            gettext("There is no cause %(unknown)s. The causes are: %(known)s.")
            % {"unknown": ", ".join(sorted(unknown)), "known": ", ".join(Cause.values)}
        )
    changed = Review.objects.filter(pk=review.pk, version=seen_version, state=ReviewState.DRAFT)
    if changed.update(version=F("version") + 1) != 1:
        review.refresh_from_db()
        if review.state == ReviewState.PUBLISHED:
            raise GuardFailed("review_draft", gettext("A published review is not edited. Add an action item instead."))
        raise Conflict(review.version)
    review.refresh_from_db()
    review.contributing.all().delete()
    ContributingCause.objects.bulk_create(
        ContributingCause(review=review, kind=kind, note=note.strip()[:NOTE_LENGTH]) for kind, note in causes.items()
    )
    said = "\n".join(note.strip() for note in causes.values() if note.strip())
    note(review, "review.set_causes", actor, {"causes": sorted(causes)}, said)
    return review


@transaction.atomic
def ask(*, review: Review, kind: str, user: User, actor: Actor) -> Signature:
    """Ask a named person to sign the review off, or to accept how the service answers since the rollback."""
    if kind not in SignatureKind.values:
        raise IncidentError(
            gettext("One is asked for %(names)s, not for %(kind)s.")
            % {"names": " or ".join(SignatureKind.values), "kind": kind}
        )
    if not user.is_active or not may(user, "view"):
        raise IncidentError(gettext("%(user)s may not look at reviews. Choose somebody with a role.") % {"user": user})
    try:
        with transaction.atomic():
            made = Signature.objects.create(review=review, kind=kind, user=user)
    except IntegrityError:
        raise IncidentError(gettext("%(user)s was asked already. Nothing was changed.") % {"user": user}) from None
    note(review, "review.ask", actor, {"signature": made.pk, "kind": kind, "person": user.pseudonym})
    return made


@transaction.atomic
def answer(*, signature: Signature, accepted: bool, words: str, user: User, actor: Actor) -> Signature:
    """What the asked person says; a no needs words. A review is signed off as it was published."""
    if signature.user_id != user.pk:
        raise IncidentError(gettext("%(user)s was asked, and alone can answer.") % {"user": signature.user})
    if not accepted and not words.strip():
        raise IncidentError(gettext("Say in a sentence what is not as it should be."))
    review = signature.review
    if signature.kind == SignatureKind.SIGN_OFF and review.state != ReviewState.PUBLISHED:
        raise GuardFailed("review_published", gettext("The review may change still. Sign it off once it is published."))
    said = Answer.YES if accepted else Answer.NO
    open_ = Signature.objects.filter(pk=signature.pk, answer=Answer.ASKED)
    if open_.update(answer=said, words=words.strip()[:1000], answered_at=Now()) != 1:
        raise IncidentError(gettext("You have answered before. Nothing was changed."))
    data = {"signature": signature.pk, "kind": signature.kind, "answer": str(said)}
    note(review, "review.answer", actor, data, words.strip())
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
