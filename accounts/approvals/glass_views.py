"""The page of break-glass: breaking it for one plan, and reviewing that it was broken."""

from allauth.core.exceptions import ReauthenticationRequired
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext
from django.views.decorators.http import require_http_methods, require_POST

from accounts.actions import actor_for
from accounts.approvals import evidence
from accounts.approvals.actions import LIVE, Refused
from accounts.approvals.break_glass import break_glass, may_break, may_review, participants, review
from accounts.approvals.forms import GlassForm, ReviewForm
from accounts.approvals.models import ApprovalRequest, BreakGlass
from accounts.approvals.subjects import subject_of
from accounts.approvals.views import get_request_for
from accounts.permissions import require_on
from accounts.step_up import last_authentication


@login_required
@require_http_methods(["GET", "POST"])
def break_glass_page(request: HttpRequest, pk: str) -> HttpResponse:
    entry = get_request_for(request, pk)
    if request.method == "POST":
        return _break(request, entry)
    return render(request, "accounts/break_glass.html", _context(request, entry))


def _context(request: HttpRequest, entry: ApprovalRequest, form: GlassForm | None = None) -> dict[str, object]:
    glass = BreakGlass.objects.select_related("by", "reviewed_by").filter(request=entry).first()
    subject = subject_of(entry)
    digest, shown = evidence.show(entry, request.user, subject)
    open_ = glass is None and entry.state in LIVE and entry.expires_at > timezone.now() and not subject.moved
    took_part = participants(entry)
    return {
        "entry": entry,
        "subject": subject,
        "shown": shown,
        "glass": glass,
        "sentence": _sentence(entry, glass),
        "trail": [
            (reverse("approval-list"), gettext("Approvals")),
            (reverse("approval-detail", args=[entry.pk]), entry.title),
        ],
        "form": form or GlassForm(initial={"subject_hash": entry.subject_hash, "evidence": digest}),
        "may_break": open_ and may_break(entry, request.user),
        "may_review": glass is not None
        and glass.reviewed_at is None
        and may_review(entry, request.user)
        and request.user.pseudonym not in took_part,
        "took_part": request.user.pseudonym in took_part,
        "review_form": ReviewForm(),
    }


def _sentence(entry: ApprovalRequest, glass: BreakGlass | None) -> str:
    if glass is None:
        return gettext("Start “%(title)s” without its approvals?") % {"title": entry.title}
    if glass.reviewed_at is not None:
        return gettext("%(by)s broke glass for “%(title)s”; %(reviewed_by)s reviewed it.") % {
            "by": glass.by,
            "title": entry.title,
            "reviewed_by": glass.reviewed_by,
        }
    return gettext("%(by)s broke glass for “%(title)s”; somebody who took no part owes a review.") % {
        "by": glass.by,
        "title": entry.title,
    }


def _break(request: HttpRequest, entry: ApprovalRequest) -> HttpResponse:
    require_on(request, "break_glass", entry)
    form = GlassForm(request.POST)
    if not form.is_valid():
        return render(request, "accounts/break_glass.html", _context(request, entry, form), status=400)
    _, auth_time = last_authentication(request) or ("session", None)
    try:
        glass = break_glass(
            request_id=entry.pk,
            user=request.user,
            auth_time=auth_time,
            actor=actor_for(request=request),
            **form.cleaned_data,
        )
    except Refused as refused:
        if refused.code == "step_up_needed":
            raise ReauthenticationRequired from refused
        messages.error(request, refused.sentence)
        return render(request, "accounts/break_glass.html", _context(request, entry), status=409)
    messages.success(
        request,
        gettext(
            "The glass is broken, and everybody is told. The plan starts without its approvals, now or as soon as no "
            "freeze and no other run holds it back, until %(expires_at)s UTC. Its page says whether it runs."
        )
        % {"expires_at": f"{glass.expires_at:%H:%M}"},
    )
    return redirect("approval-break-glass", pk=entry.pk)


@login_required
@require_POST
def break_glass_review(request: HttpRequest, pk: str) -> HttpResponse:
    entry = get_request_for(request, pk)
    require_on(request, "approve", entry)
    form = ReviewForm(request.POST)
    if not form.is_valid():
        messages.error(request, gettext("Nothing was reviewed: say what you find, and why."))
        return redirect("approval-break-glass", pk=entry.pk)
    try:
        review(request_id=entry.pk, user=request.user, actor=actor_for(request=request), **form.cleaned_data)
        messages.success(request, gettext("Your review is on record."))
    except Refused as refused:
        messages.error(request, refused.sentence)
    return redirect("approval-break-glass", pk=entry.pk)
