"""Status pages: for readers outside, without script, and from their static copy when the database is down."""

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import redirect_to_login
from django.db import OperationalError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotModified
from django.shortcuts import get_object_or_404, redirect, render
from django.template.loader import render_to_string
from django.views.decorators.http import require_http_methods, require_safe

from accounts.actions import actor_for
from accounts.permissions import may, require, require_on
from audit.clock import database_now
from incidents import status
from incidents.errors import IncidentError
from incidents.forms import PostForm
from incidents.models import OPEN_STATES, Incident, StatusPage
from incidents.status_render import WORDS, page_context
from incidents.status_render import feed as feed_of
from incidents.status_render import summary as summary_of
from incidents.views.pages import user_of

FRESH = "public, max-age=5, stale-while-revalidate=60"
KINDS = {
    "index.html": "text/html; charset=utf-8",
    "summary.json": "application/json",
    "feed.atom": "application/atom+xml; charset=utf-8",
    "status.css": "text/css; charset=utf-8",
}


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """The pages that the reader may see, with what each says; and for those who publish, where they write."""
    pages = StatusPage.objects.order_by("name").prefetch_related("components")
    if not request.user.is_authenticated:
        pages = pages.filter(public=True)
    rows = [{"page": page, "state": status.overall(page)} for page in pages]
    for row in rows:
        row["label"] = WORDS[row["state"]][1]
    template = "status/index.html" if request.user.is_authenticated else "status/index_public.html"
    tells = request.user.is_authenticated and may(user_of(request), "status.publish")
    return render(request, template, {"rows": rows, "may_tell": tells})


@require_safe
def page(request: HttpRequest, slug: str) -> HttpResponse:
    return _serve(request, slug, "index.html", lambda told: render_to_string("status/page.html", page_context(told)))


@require_safe
def summary(request: HttpRequest, slug: str) -> HttpResponse:
    return _serve(request, slug, "summary.json", lambda told: json.dumps(summary_of(told), indent=1))


@require_safe
def feed(request: HttpRequest, slug: str) -> HttpResponse:
    return _serve(request, slug, "feed.atom", feed_of)


@require_safe
def stylesheet(request: HttpRequest, slug: str) -> HttpResponse:
    """The sheet to which a static copy refers."""
    return _answer(request, _copy(slug, "status.css"), "status.css", FRESH)


def _serve(request: HttpRequest, slug: str, name: str, render_now: Callable[[StatusPage], str]) -> HttpResponse:
    try:
        told = get_object_or_404(StatusPage, slug=slug)
        if not told.public:
            if not request.user.is_authenticated:
                return redirect_to_login(request.get_full_path())
            require(request, "view")
        body = render_now(told).encode()
    except OperationalError:
        return _answer(request, _copy(slug, name), name, "public, max-age=30")
    return _answer(request, body, name, FRESH if told.public else "private, no-store")


def _copy(slug: str, name: str) -> bytes:
    """The static copy, which needs no database. Raises Http404 where none was written."""
    try:
        return (status.directory(slug) / name).read_bytes()
    except FileNotFoundError:
        raise Http404("There is no status page of that name.") from None


def _answer(request: HttpRequest, body: bytes, name: str, cache: str) -> HttpResponse:
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": cache}
    if request.headers.get("If-None-Match") == etag:
        return HttpResponseNotModified(headers=headers)
    return HttpResponse(body, content_type=KINDS[name], headers=headers)


@login_required
@require_http_methods(["GET", "POST"])
def post(request: HttpRequest, slug: str) -> HttpResponse:
    """Tell the readers of a page something, in a person's own words."""
    require(request, "status.publish")
    told = get_object_or_404(StatusPage, slug=slug)
    form = PostForm(request.POST or None, initial={"incident": request.GET.get("incident", "")})
    going_on = Incident.objects.filter(state__in=OPEN_STATES).order_by("-number")
    if request.method == "POST" and form.is_valid():
        typed = form.cleaned_data
        incident = Incident.objects.filter(ref=typed["incident"]).first()
        minutes = typed["minutes"]
        try:
            if incident is None:
                raise IncidentError(f"There is no incident {typed['incident']}. Choose one that is open.")
            require_on(request, "status.publish", incident)
            status.post(
                page=told,
                incident=incident,
                status=typed["status"],
                component_state=typed["component_state"],
                text=typed["text"],
                by=user_of(request),
                actor=actor_for(request=request),
                next_update_at=database_now() + timedelta(minutes=minutes) if minutes else None,
            )
        except IncidentError as refused:
            form.add_error(None, str(refused))
        else:
            messages.success(request, f"The readers of {told.name} are told.")
            return redirect("status-page", slug=slug)
    context = {"page": told, "form": form, "incidents": going_on, "posts": told.posts.select_related("by")[:10]}
    return render(request, "status/post.html", context, status=400 if form.errors else 200)
