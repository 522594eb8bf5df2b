"""The review of an incident: read, edited, published, exported."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext
from django.views.decorators.http import require_GET, require_POST

from accounts.actions import actor_for
from accounts.models import User
from accounts.permissions import may, may_on, require, require_on, user_of
from audit.queries import timeline
from incidents import reviews
from incidents.errors import Conflict, IncidentError
from incidents.forms import ActionItemForm, ReviewForm
from incidents.models import ActionItem, Review, ReviewState
from incidents.narrative import tell
from incidents.review_export import as_html, as_markdown, sections

SHOWN = 500
KINDS = {"md": ("text/markdown; charset=utf-8", as_markdown), "html": ("text/html; charset=utf-8", as_html)}


def review_for(request: HttpRequest, ref: str, permission: str = "view") -> Review:
    """Lookup and permission in one: the review of an incident for a person who may do that to it."""
    require(request, permission)
    review = get_object_or_404(Review.objects.select_related("incident__endpoint__model"), incident__ref=ref)
    require_on(request, permission, review)
    return review


@login_required
@require_GET
def detail(request: HttpRequest, ref: str) -> HttpResponse:
    return _page(request, review_for(request, ref))


@login_required
@require_POST
def edit(request: HttpRequest, ref: str) -> HttpResponse:
    """Replace the sections. When somebody else did meanwhile, both texts are shown, and nothing is lost."""
    review = review_for(request, ref, "incident.respond")
    form = ReviewForm(request.POST)
    if not form.is_valid():
        return _page(request, review, form, 400)
    typed = dict(form.cleaned_data)
    seen = typed.pop("version")
    try:
        reviews.edit(
            review=review,
            texts=typed,
            seen_version=review.version if seen is None else seen,
            actor=actor_for(request=request),
        )
    except Conflict:
        sent = request.POST.copy()
        sent["version"] = str(review.version)
        again = ReviewForm(sent)
        again.is_valid()
        again.add_error(
            None, gettext("Somebody changed this review since you opened it. Compare, then save yours again.")
        )
        return _page(request, review, again, 409, theirs=True)
    except IncidentError as refused:
        form.add_error(None, str(refused))
        return _page(request, review, form, 409)
    messages.success(request, gettext("The review is saved."))
    return redirect("review-detail", ref=ref)


@login_required
@require_POST
def add_item(request: HttpRequest, ref: str) -> HttpResponse:
    review = review_for(request, ref, "incident.respond")
    form = ActionItemForm(request.POST)
    if not form.is_valid():
        return _page(request, review, item_form=form, status=400)
    reviews.add_action_item(review=review, actor=actor_for(request=request), **form.cleaned_data)
    messages.success(request, gettext("The action item is added."))
    return redirect("review-detail", ref=ref)


@login_required
@require_POST
def finish_item(request: HttpRequest, ref: str, pk: int) -> HttpResponse:
    review = review_for(request, ref, "incident.respond")
    item = get_object_or_404(ActionItem, review=review, pk=pk)
    try:
        reviews.finish_action_item(item=item, actor=actor_for(request=request))
        messages.success(request, gettext("The action item is done."))
    except IncidentError as refused:
        messages.error(request, str(refused))
    return redirect("review-detail", ref=ref)


@login_required
@require_POST
def publish(request: HttpRequest, ref: str) -> HttpResponse:
    review = review_for(request, ref, "incident.command")
    seen = request.POST.get("version", "")
    try:
        reviews.publish(
            review=review,
            actor=actor_for(request=request),
            seen_version=int(seen) if seen.isdecimal() else None,
        )
        messages.success(request, gettext("The review is published, with the log's checkpoint in it."))
    except IncidentError as refused:
        messages.error(request, str(refused))
    return redirect("review-detail", ref=ref)


@login_required
@require_GET
def export(request: HttpRequest, ref: str, kind: str) -> HttpResponse:
    """The review as a file: `md` or `html`."""
    review = review_for(request, ref)
    if kind not in KINDS:
        raise Http404(gettext("A review is exported as md or html."))
    content_type, render_as = KINDS[kind]
    name = f"review-{ref}.{kind}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return HttpResponse(render_as(review), content_type=content_type, headers=headers)


def _learning(review: Review, user: User) -> dict[str, Any]:
    """Causes by the taxonomy, and who was asked to sign what."""
    from incidents.learning.forms import AnswerForm, AskForm, CausesForm

    return {
        "causes": review.contributing.all(),
        "causes_form": CausesForm(initial=CausesForm.initial_of(review), auto_id="cause_%s"),
        "signatures": review.signatures.select_related("user"),
        "ask_form": AskForm(auto_id="ask_%s"),
        "answer_form": AnswerForm(auto_id="answer_%s"),
    }


def _page(
    request: HttpRequest,
    review: Review,
    form: ReviewForm | None = None,
    status: int = 200,
    *,
    item_form: ActionItemForm | None = None,
    theirs: bool = False,
) -> HttpResponse:
    incident = review.incident
    user = user_of(request)
    is_draft = review.state == ReviewState.DRAFT
    texts: dict[str, Any] = {name: getattr(review, name) for name in reviews.SECTIONS}
    context = {
        "review": review,
        "incident": incident,
        "sections": sections(review),
        "intervals": reviews.intervals(incident),
        "evidence": incident.evidence.all(),
        "items": review.action_items.select_related("owner"),
        **_learning(review, user),
        "told": tell(timeline(incident.ref, newest=SHOWN)),
        "may_edit": is_draft and may_on(user, "incident.respond", incident),
        "may_add": may_on(user, "incident.respond", incident),
        "may_publish": is_draft and may_on(user, "incident.command", incident),
        "may_audit": may(user, "audit.view"),
        "form": form or ReviewForm(initial=texts | {"version": review.version}),
        "item_form": item_form or ActionItemForm(auto_id="item_%s"),
        "theirs": theirs,
        "sentence": gettext("Review of %(ref)s: %(title)s") % {"ref": incident.ref, "title": incident.title},
    }
    return render(request, "reviews/detail.html", context, status=status)
