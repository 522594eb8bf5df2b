"""Everybody who answers for what was bypassed is told by e-mail that the glass was broken. Rows are what counts: a
message that did not go out is tried again, and how each ended is on record."""

import datetime
from smtplib import SMTPException

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils.translation import gettext

from accounts.approvals.models import BreakGlass, GlassNotice
from accounts.holdings import people_for
from accounts.models import User
from audit.actions import Target, record, service_actor
from audit.dispatch import send_on_commit
from audit.english import outside

WAITS = (30, 60, 300, 900, 3600, 3600)
"""Seconds after each failed attempt; after the last the notice is given up, on record."""
TELLER = service_actor("notices")


def write(glass: BreakGlass) -> list[User]:
    """A notice for each holder of a role that the broken policy or the one that allowed it names, but the person who
    broke it; who has no address sees it on every page. Call it in the transaction that breaks the glass."""
    request = glass.request
    roles = {str(factor["role"]) for policy in (request.policy, glass.policy) for factor in policy.factors}
    if request.policy.required > sum(int(factor["count"]) for factor in request.policy.factors):
        roles.add("")
    found = {
        person.pk: person
        for role in roles
        for person in people_for(role, model=request.model, team=request.team)
        if person.email and person.pk != glass.by_id
    }
    notices = GlassNotice.objects.bulk_create([GlassNotice(glass=glass, person=person) for person in found.values()])
    for notice in notices:
        send_on_commit("accounts.tell_glass", [str(notice.pk)], queue="intake")
    return list(found.values())


def tell(*, notice_id: int) -> bool:
    """Send one notice, if it is due. True when the mail server took it; a failure is tried again later."""
    due = GlassNotice.objects.filter(pk=notice_id, sent_at=None, next_try_at__lte=Now())
    notice = due.select_related("glass__request", "glass__by", "person").first()
    if notice is None:
        return False
    wait = WAITS[min(notice.attempts, len(WAITS) - 1)]
    claimed = due.filter(attempts=notice.attempts).update(
        attempts=F("attempts") + 1, next_try_at=Now() + datetime.timedelta(seconds=wait)
    )
    if not claimed:
        return False
    try:
        # Without an address, as after an erasure, nothing is sent and nothing raised.
        if not _message(notice).send():
            _failed(notice, "NoRecipient")
            return False
    except (OSError, SMTPException, ValueError) as error:
        _failed(notice, type(error).__name__)
        return False
    return _sent(notice)


@outside()
def _message(notice: GlassNotice) -> EmailMessage:
    glass = notice.glass
    title = " ".join(glass.request.title.split())
    lines = [
        gettext("%(by)s broke glass: “%(title)s” may start without its approvals.") % {"by": glass.by, "title": title},
        "",
        gettext("Reason given: %(reason)s") % {"reason": glass.reason},
        gettext("It holds until %(expires_at)s UTC. To deny it, or to read what runs:")
        % {"expires_at": f"{glass.expires_at:%Y-%m-%d %H:%M}"},
        f"{settings.LASTGOOD_PUBLIC_URL.rstrip('/')}/approvals/{glass.request_id}/",
        "",
        gettext("Somebody who took no part owes a review by %(review_due)s UTC:")
        % {"review_due": f"{glass.review_due:%Y-%m-%d %H:%M}"},
        f"{settings.LASTGOOD_PUBLIC_URL.rstrip('/')}/approvals/{glass.request_id}/break-glass/",
    ]
    return EmailMessage(
        (gettext("Break-glass: %(title)s") % {"title": title})[:200], "\n".join(lines), to=[notice.person.email]
    )


@transaction.atomic
def _sent(notice: GlassNotice) -> bool:
    if not GlassNotice.objects.filter(pk=notice.pk, sent_at=None).update(sent_at=Now(), next_try_at=None):
        return False
    _record(notice, "success", {})
    return True


@transaction.atomic
def _failed(notice: GlassNotice, why: str) -> None:
    """Put a failure on record; after the last attempt nobody tries again."""
    last = notice.attempts + 1 >= len(WAITS)
    if last and not GlassNotice.objects.filter(pk=notice.pk, sent_at=None).update(next_try_at=None):
        return
    _record(notice, "failed", {"why": why, "attempt": notice.attempts + 1, "given_up": last})


def _record(notice: GlassNotice, outcome: str, more: dict[str, object]) -> None:
    request = notice.glass.request
    record(
        action="approval.break_glass.tell",
        target=Target("approval_request", str(request.id)),
        actor=TELLER,
        incident=request.incident_ref,
        outcome=outcome,
        data={"request": str(request.id), "to": notice.person.pseudonym} | more,
    )
