"""Reminders: of action items, of signatures that were asked for, and of an update that was promised to readers. Each is
put on record once for its key, and goes to whoever it concerns by the outbox, to the address of their account."""

from datetime import date, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import CharField, Exists, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Cast, Concat
from django.urls import reverse
from django.utils.translation import gettext

from accounts.models import User
from audit.actions import Target, record, service_actor
from audit.english import outside
from incidents.learning.models import Answer, Reminder, Signature, SignatureKind
from incidents.models import ActionItem, IncidentRole, IncidentState, ReviewState, RoleHolding, StatusPost
from incidents.oncall.contacts import own_ways
from incidents.telling import outbox

SOON = timedelta(days=3)
"""So long before its day the owner of an action item is reminded."""
UNANSWERED = timedelta(days=3)
"""So long after they were asked, people are reminded of their signature."""
GRACE = timedelta(minutes=1)
FORGOTTEN = timedelta(days=1)
"""An update that is late by more is nobody's next step any more."""
SPEAKERS = (IncidentRole.COMMUNICATIONS, IncidentRole.COMMANDER)
"""Whose turn an update is: the first of these roles that somebody holds."""
MOST = 100


def _reminded(kind: str, stage: str) -> Exists:
    key = Concat(Value(f"{kind}:"), Cast(OuterRef("pk"), CharField()), Value(f":{stage}"))
    return Exists(Reminder.objects.filter(key=key))


def _keys(found: QuerySet[Any]) -> list[int]:
    return list(found.order_by("pk").values_list("pk", flat=True)[:MOST])


def _stage(due_on: date, today: date) -> str:
    return "overdue" if due_on < today else "soon"


def _items(now: datetime) -> QuerySet[ActionItem]:
    today = now.date()
    late = Q(due_on__lt=today) & ~Q(_reminded("item", "overdue"))
    near = Q(due_on__range=(today, today + SOON)) & ~Q(_reminded("item", "soon"))
    return ActionItem.objects.filter(late | near, done_at=None, owner__is_active=True)


def items_due(now: datetime) -> list[int]:
    """Open action items within SOON of their day, or past it, whose owner was not reminded of that yet."""
    return _keys(_items(now))


def _signatures(now: datetime) -> QuerySet[Signature]:
    before = now - UNANSWERED
    asked = Signature.objects.filter(
        ~Q(_reminded("signature", "unanswered")), answer=Answer.ASKED, asked_at__lt=before, user__is_active=True
    )
    signable = Q(review__state=ReviewState.PUBLISHED, review__published_at__lt=before)
    return asked.filter(Q(kind=SignatureKind.ACCEPTANCE) | signable)


def signatures_due(now: datetime) -> list[int]:
    """Signatures that can be given, were asked for longer than UNANSWERED ago, and were not reminded of yet. The wait
    for a sign-off begins when the review is published."""
    return _keys(_signatures(now))


def _late_posts(now: datetime) -> QuerySet[StatusPost]:
    newer = StatusPost.objects.filter(incident=OuterRef("incident"), page=OuterRef("page"), pk__gt=OuterRef("pk"))
    held = RoleHolding.objects.filter(incident=OuterRef("incident"), role__in=SPEAKERS, until=None)
    posts = StatusPost.objects.filter(
        ~Q(_reminded("post", "late")), ~Exists(newer), Exists(held),
        next_update_at__range=(now - FORGOTTEN, now - GRACE),
    )  # fmt: skip
    over = [IncidentState.RESOLVED, IncidentState.REVIEWED, IncidentState.CLOSED]
    return posts.exclude(incident__state__in=over)


def updates_due(now: datetime) -> list[int]:
    """The newest posts of open incidents whose next update was promised for a moment that has passed, where somebody
    holds a role that speaks."""
    return _keys(_late_posts(now))


@outside()
def remind_of_item(*, item_id: int, now: datetime) -> bool:
    """Remind the owner of an action item; whether it was done now. So are the others."""
    item = _items(now).select_related("owner", "review__incident").filter(pk=item_id).first()
    if item is None or item.owner is None or item.due_on is None:
        return False
    stage, ref = _stage(item.due_on, now.date()), item.review.incident.ref
    late = stage == "overdue"
    subject = gettext("Action item of %(ref)s: overdue") if late else gettext("Action item of %(ref)s: soon")
    due = (
        gettext("It was due on %(day)s and came out of the review of %(ref)s.")
        if late
        else gettext("It is due on %(day)s and came out of the review of %(ref)s.")
    )
    return _remind(
        key=f"item:{item.pk}:{stage}",
        user=item.owner,
        subject=subject % {"ref": ref},
        text=f"{item.text}\n\n{due % {'day': item.due_on, 'ref': ref}}",
        path=reverse("review-detail", args=[ref]),
        incident=ref,
        data={"item": item.pk, "stage": stage, "due": item.due_on.isoformat()},
    )


@outside()
def remind_of_signature(*, signature_id: int, now: datetime) -> bool:
    asked = _signatures(now).select_related("user", "review__incident").filter(pk=signature_id).first()
    if asked is None:
        return False
    ref = asked.review.incident.ref
    return _remind(
        key=f"signature:{asked.pk}:unanswered",
        user=asked.user,
        subject=gettext("Review of %(ref)s: your answer is waited for") % {"ref": ref},
        text=gettext("You were asked on %(asked_at)s: %(kind)s.")
        % {"asked_at": f"{asked.asked_at:%Y-%m-%d}", "kind": str(asked.get_kind_display()).lower()},
        path=reverse("review-detail", args=[ref]),
        incident=ref,
        data={"signature": asked.pk, "stage": "unanswered"},
    )


@outside()
def remind_of_update(*, post_id: int, now: datetime) -> bool:
    post = _late_posts(now).select_related("incident", "page").filter(pk=post_id).first()
    if post is None or post.incident is None or post.next_update_at is None:
        return False
    held = RoleHolding.objects.filter(incident=post.incident, role__in=SPEAKERS, until=None).select_related("user")
    holders = {holding.role: holding.user for holding in held}
    speaker = next((holders[role] for role in SPEAKERS if role in holders), None)
    if speaker is None:
        return False
    return _remind(
        key=f"post:{post.pk}:late",
        user=speaker,
        subject=gettext("%(ref)s: the next update is late") % {"ref": post.incident.ref},
        text=gettext("The readers of %(page)s were promised an update by %(next_update_at)s UTC, and wait.")
        % {"page": post.page.name, "next_update_at": f"{post.next_update_at:%H:%M}"},
        path=reverse("status-post", args=[post.page.slug]),
        incident=post.incident.ref,
        data={"post": post.pk, "stage": "late"},
    )


@transaction.atomic
def _remind(*, key: str, user: User, subject: str, text: str, path: str, incident: str, data: dict[str, Any]) -> bool:
    _, first = Reminder.objects.get_or_create(key=key)
    if not first:
        return False
    kind = "incident" if key.startswith("post:") else "review"
    record(
        action=f"{kind}.remind", target=Target(kind, incident), actor=service_actor("incidents"), incident=incident,
        data=data | {"owner": user.pseudonym},
    )  # fmt: skip
    words: dict[str, object] = {
        "type": f"{kind}.reminder", "subject": subject, "text": text, "incident": incident,
        "link": f"{settings.LASTGOOD_PUBLIC_URL}{path}",
    }  # fmt: skip
    for way in own_ways(user):
        outbox.note(key=f"reminder:{key}", subscriber=way.receiver, words=words)
    return True
