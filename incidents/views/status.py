"""Status pages: for readers outside, without script, and from their static copy when the database is down."""

import json
from datetime import timedelta

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import redirect_to_login
from django.db import IntegrityError, OperationalError, transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template.loader import render_to_string
from django.utils.translation import gettext
from django.views.decorators.http import require_http_methods, require_safe

from accounts.actions import actor_for
from accounts.permissions import may, require, require_on, user_of
from audit.clock import database_now
from incidents import status
from incidents.errors import IncidentError
from incidents.forms import PostForm
from incidents.models import OPEN_STATES, Incident, PostStatus, StatusPage
from incidents.status_files import FRESH, KINDS, STYLESHEET, answer, etag_of
from incidents.status_impacts import overall
from incidents.status_json import bodies
from incidents.status_readers import may_read, readable
from incidents.status_render import WORDS, Picture, page_context
from incidents.status_render import feed as feed_of
from incidents.telling.forms import NewPageForm
from incidents.telling.models import Draft, DraftState


@require_http_methods(["GET", "HEAD", "POST"])
def index(request: HttpRequest) -> HttpResponse:
    """The pages that the reader may see, with what each says; and for those who publish, where they write. A post makes
    another page."""
    form = None
    if request.method == "POST":
        if not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        require(request, "admin")
        form = NewPageForm(request.POST)
        made = _made(request, form) if form.is_valid() else None
        if made is not None:
            messages.success(
                request, gettext("%(name)s is there. Put on it what its readers know.") % {"name": made.name}
            )
            return redirect("status-manage", slug=made.slug)
    elif request.user.is_authenticated and may(user_of(request), "admin"):
        form = NewPageForm(initial={"public": True, "by_itself": True})
    pages = StatusPage.objects.order_by("name").prefetch_related("components")
    rows = [{"page": page, "state": overall(page)} for page in readable(request.user, pages)]
    for row in rows:
        row["label"] = str(WORDS[row["state"]][1])
    template = "status/index.html" if request.user.is_authenticated else "status/index_public.html"
    tells = request.user.is_authenticated and may(user_of(request), "status.publish")
    context = {"rows": rows, "may_tell": tells, "form": form}
    return render(request, template, context, status=400 if form is not None and form.errors else 200)


def _made(request: HttpRequest, form: NewPageForm) -> StatusPage | None:
    try:
        with transaction.atomic():
            return status.create_page(actor=actor_for(request=request), **form.cleaned_data)
    except IntegrityError:
        form.add_error("slug", gettext("There is a status page of that name already. Choose another."))
    return None


@require_safe
def page(request: HttpRequest, slug: str) -> HttpResponse:
    return _serve(request, slug, "index.html")


@require_safe
def api(request: HttpRequest, slug: str, name: str) -> HttpResponse:
    """One of the answers of Statuspage's API, version 2."""
    return _serve(request, slug, f"api/v2/{name}.json")


@require_safe
def feed(request: HttpRequest, slug: str) -> HttpResponse:
    return _serve(request, slug, "feed.atom")


@require_safe
def stylesheet(request: HttpRequest, slug: str) -> HttpResponse:
    """The sheet to which a static copy refers, where the copy itself is not written yet."""
    body = STYLESHEET.read_bytes()
    return answer(request, "status.css", body, etag_of(body))


def _serve(request: HttpRequest, slug: str, name: str) -> HttpResponse:
    """A file of a page as it is now: of one for signed-in people, and of a public one before its copy is written."""
    if name not in KINDS:
        raise Http404(gettext("A status page has no file of that name."))
    try:
        told = get_object_or_404(StatusPage, slug=slug)
        if not may_read(request.user, told):
            if not request.user.is_authenticated:
                return redirect_to_login(request.get_full_path())
            require(request, "admin")
        body = _rendered(told, name)
    except OperationalError:
        # There is no copy, or it had been served before anything asked for the database.
        raise Http404(gettext("There is no status page of that name, or it can't be read now.")) from None
    return answer(request, name, body, etag_of(body), FRESH if told.public else "private, no-store")


def _rendered(told: StatusPage, name: str) -> bytes:
    picture = Picture(told)
    if name == "index.html":
        return render_to_string("status/page.html", page_context(picture)).encode()
    if name == "feed.atom":
        return feed_of(picture).encode()
    return json.dumps(bodies(picture)[name], indent=1).encode()


@login_required
@require_http_methods(["GET", "POST"])
def post(request: HttpRequest, slug: str) -> HttpResponse:
    """Tell the readers of a page something, in a person's own words."""
    require(request, "status.publish")
    told = get_object_or_404(StatusPage, slug=slug)
    waiting = told.drafts.filter(state=DraftState.OPEN).select_related("incident")
    form = PostForm(request.POST or None, initial=_proposed(request, waiting), page=told)
    going_on = Incident.objects.filter(state__in=OPEN_STATES).order_by("-number")
    if request.method == "POST" and form.is_valid():
        typed = form.cleaned_data
        incident = Incident.objects.filter(ref=typed["incident"]).first()
        minutes = typed["minutes"]
        try:
            if incident is None:
                raise IncidentError(
                    gettext("There is no incident %(typed)s. Choose one that is open.") % {"typed": typed["incident"]}
                )
            for concerned in (incident, *typed["components"]):
                require_on(request, "status.publish", concerned)
            status.post(
                page=told,
                incident=incident,
                status=typed["status"],
                component_state=typed["component_state"],
                text=typed["text"],
                by=user_of(request),
                actor=actor_for(request=request),
                quality=typed["quality"],
                components=list(typed["components"]),
                next_update_at=database_now() + timedelta(minutes=minutes) if minutes else None,
            )
        except IncidentError as refused:
            form.add_error(None, str(refused))
        else:
            messages.success(request, gettext("The readers of %(name)s are told.") % {"name": told.name})
            return redirect("status-page", slug=slug)
    context = {"page": told, "form": form, "incidents": going_on, "posts": told.posts.select_related("by")[:10]}
    context["drafts"] = waiting
    return render(request, "status/post.html", context, status=400 if form.errors else 200)


def _proposed(request: HttpRequest, waiting: QuerySet[Draft]) -> dict[str, object]:
    """What the form begins with: a draft that was chosen, else the incident that was."""
    number = request.GET.get("draft", "")
    draft = (
        waiting.filter(pk=int(number)).first() if number.isascii() and number.isdigit() and len(number) < 19 else None
    )
    if draft is None:
        return {"incident": request.GET.get("incident", "")}
    minutes = None if draft.status == PostStatus.RESOLVED else int(status.NEXT_UPDATE.total_seconds() // 60)
    fields = {name: getattr(draft, name) for name in ("status", "component_state", "quality", "text")}
    return fields | {"incident": draft.incident.ref, "minutes": minutes}
