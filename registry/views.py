"""Pages of models, versions and endpoints."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import nh3
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotModified
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.safestring import mark_safe
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from markdown_it import MarkdownIt

from accounts.actions import actor_for
from accounts.permissions import may, may_on, require, require_on
from audit.names import display
from registry import actions, queries, store
from registry.composing import part_sentence, rehearsal_sentence
from registry.content import PICKLE, ContentRefused
from registry.forms import (
    CompareForm,
    FallbackForm,
    FreezeForm,
    HoldoutForm,
    LiftForm,
    MomentForm,
    ReasonForm,
    SpanForm,
)
from registry.models import ComparisonState, Endpoint, Host, Model, TensorComparison, Version

PAGE = 25
MOST_TENSORS = 200
SLOW, FAST = 15, 1


def endpoint_for(request: HttpRequest, slug: str, permission: str = "view") -> Endpoint:
    """Lookup and permission in one: an endpoint for a person who may do that with it."""
    require(request, permission)
    endpoint = get_object_or_404(Endpoint.objects.select_related("model", "fallback"), slug=slug)
    require_on(request, permission, endpoint)
    return endpoint


def model_for(request: HttpRequest, slug: str) -> Model:
    """Lookup and permission in one: a model for a person who may see it."""
    require(request, "view")
    return get_object_or_404(Model, slug=slug)


@login_required
@require_GET
def endpoint_list(request: HttpRequest) -> HttpResponse:
    require(request, "view")
    endpoints = list(Endpoint.objects.select_related("model").order_by("environment", "slug"))
    placed, frozen = queries.placements_of(endpoints), queries.freezes_of(endpoints)
    rows = [(one, queries.sentence_of(one, placed[one.pk], frozen[one.pk])) for one in endpoints]
    bad = [sentence for _, sentence in rows if sentence.tone == "bad"]
    if not rows:
        head = queries.Sentence(gettext("No endpoint is registered yet."), "unknown")
    elif bad:
        head = queries.Sentence(
            bad[0].text
            if len(bad) == 1
            else gettext("%(count)s endpoints do not serve as they should.") % {"count": len(bad)},
            "bad",
        )
    else:
        head = queries.Sentence(gettext("Every endpoint serves what it should."), "ok")
        if any(sentence.tone != "ok" for _, sentence in rows):
            head = queries.Sentence(gettext("No endpoint serves anything that it should not."), "quiet")
    context = {"rows": rows, "head": head, "may_adopt": may(request.user, "registry.write")}
    return render(request, "registry/endpoint_list.html", context)


@login_required
@require_GET
def endpoint_detail(request: HttpRequest, slug: str) -> HttpResponse:
    endpoint = endpoint_for(request, slug)
    moment = MomentForm(request.GET or None)
    at = moment.cleaned_data["at"] if moment.is_bound and moment.is_valid() else None
    spans = queries.deployments().filter(endpoint=endpoint)
    if at is not None:
        spans = spans.filter(queries.covers(at))
    context = _placements_context(request, endpoint) | {
        "spans": Paginator(spans, PAGE).get_page(request.GET.get("page")),
        "moment": moment if moment.is_bound else MomentForm(),
        "at": at,
    }
    names = display(window.by for window in context["freezes"] if window.by)
    context["freeze_rows"] = [(window, names.get(window.by, "")) for window in context["freezes"]]
    return render(request, "registry/endpoint_detail.html", context)


@login_required
@require_GET
def endpoint_placements(request: HttpRequest, slug: str) -> HttpResponse:
    """The live part: what each host shall serve and what it was last seen to serve; 304 while nothing changed."""
    endpoint = endpoint_for(request, slug)
    etag = _etag(request, endpoint)
    if request.headers.get("If-None-Match") == etag:
        return HttpResponseNotModified(headers={"ETag": etag})
    response = render(request, "registry/parts/placements.html", _placements_context(request, endpoint))
    response["ETag"] = etag
    response["Cache-Control"] = "private, no-cache"
    return response


def _etag(request: HttpRequest, endpoint: Endpoint) -> str:
    return f'"{endpoint.version}.{request.user.permission_epoch}"'


def _placements_context(request: HttpRequest, endpoint: Endpoint) -> dict[str, Any]:
    placements = queries.placements_of([endpoint])[endpoint.pk]
    freezes = queries.freezes_of([endpoint])[endpoint.pk]
    return {
        "endpoint": endpoint,
        "etag": _etag(request, endpoint),
        "placements": placements,
        "head": queries.sentence_of(endpoint, placements, freezes),
        "trail": [
            (reverse("endpoint-list"), gettext("Endpoints")),
            (reverse("endpoint-detail", args=[endpoint.slug]), endpoint.slug),
        ],
        "live": FAST if queries.is_moving(placements) else SLOW,
        "freezes": freezes,
        "frozen": " ".join(window.reason for window in freezes if window.begun),
        "may_command": may_on(request.user, "incident.command", endpoint),
        "reason_form": ReasonForm(auto_id=False),
        "span_form": SpanForm(auto_id=False),
        "freeze_form": FreezeForm(auto_id=False),
    }


@login_required
@require_POST
def endpoint_act(request: HttpRequest, slug: str, verb: str) -> HttpResponse:
    """Freeze the endpoint, lift one of its freezes, or name what it falls back on."""
    endpoint = endpoint_for(request, slug, "incident.command")
    if verb not in ENDPOINT_VERBS:
        raise Http404(gettext("An endpoint has no verb %(verb)s.") % {"verb": verb})
    form, action, said = ENDPOINT_VERBS[verb]
    if verb == "fallback":
        action = partial(action, request.POST.get("version", ""))
    _act(request, form, action, said % {"endpoint": endpoint.slug}, endpoint=endpoint)
    return redirect("endpoint-detail", slug=slug)


def _name_fallback(number: str, *, endpoint: Endpoint, **what: Any) -> None:
    version = endpoint.model.versions.filter(number=int(number)).first() if number else None
    if number and version is None:
        raise actions.RegistryError(
            gettext("%(model)s has no version %(number)s.") % {"model": endpoint.model, "number": number}
        )
    actions.name_fallback(endpoint=endpoint, version=version, **what)


ENDPOINT_VERBS: dict[str, tuple[type[ReasonForm], Callable[..., None], str]] = {
    "freeze": (FreezeForm, actions.freeze, _("The freeze of %(endpoint)s is set.")),
    "fallback": (FallbackForm, _name_fallback, _("What %(endpoint)s falls back on is set.")),
    "lift": (LiftForm, actions.lift, _("That freeze of %(endpoint)s is lifted.")),
}
HOST_VERBS: dict[str, tuple[type[ReasonForm], Callable[..., None], str]] = {
    "hold": (SpanForm, actions.hold, _("{} is observed, and not converged.")),
    "release": (ReasonForm, actions.release, _("{} is converged again.")),
    "drain": (ReasonForm, actions.drain, _("{} no longer counts as a host that shall serve.")),
    "bring-back": (ReasonForm, actions.bring_back, _("{} counts as a host that shall serve again.")),
}


@login_required
@require_POST
def host_act(request: HttpRequest, slug: str, name: str, verb: str) -> HttpResponse:
    """Hold, release, drain or bring back a host of the endpoint."""
    endpoint_for(request, slug, "incident.command")
    host = get_object_or_404(Host, name=name, placements__endpoint__slug=slug)
    require_on(request, "incident.command", host)
    if verb not in HOST_VERBS:
        raise Http404(gettext("A host has no verb %(verb)s.") % {"verb": verb})
    form, change, said = HOST_VERBS[verb]
    _act(request, form, change, said.format(name), host=host)
    return redirect("endpoint-detail", slug=slug)


def _act(
    request: HttpRequest, form_class: type[ReasonForm], change: Callable[..., None], said: str, **what: Any
) -> None:
    """Do what a form asks for, and say what was done or why it was not."""
    form = form_class(request.POST)
    if not form.is_valid():
        problems = " ".join(f"{form.fields[name].label}: {' '.join(found)}" for name, found in form.errors.items())
        messages.error(request, gettext("Nothing was changed. %(problems)s") % {"problems": problems})
        return
    until = {"until": form.until} if isinstance(form, SpanForm) else {}
    if isinstance(form, FreezeForm):
        until["starts"] = form.starts
    if isinstance(form, LiftForm):
        until["window"] = form.cleaned_data["window"]
    try:
        change(**what, **until, reason=form.cleaned_data["reason"], actor=actor_for(request=request))
        messages.success(request, said)
    except actions.RegistryError as error:
        messages.error(request, str(error))


@login_required
@require_GET
def model_list(request: HttpRequest) -> HttpResponse:
    require(request, "view")
    return render(request, "registry/model_list.html", {"models": list(queries.models_overview())})


@login_required
@require_GET
def model_detail(request: HttpRequest, slug: str) -> HttpResponse:
    model = model_for(request, slug)
    versions = queries.versions_of(model)
    spans = queries.deployments().filter(endpoint__model=model)
    difference = _difference(request, model, versions)
    context = {
        "model": model,
        "versions": versions,
        "head": queries.model_sentence(model, versions),
        "trail": [(reverse("model-list"), gettext("Models")), (reverse("model-detail", args=[slug]), slug)],
        "spans": Paginator(spans, PAGE).get_page(request.GET.get("page")),
        "difference": difference,
        "may_compose": len(versions) > 1 and may_on(request.user, "plan.propose", model),
    }
    if difference is not None and difference.left != difference.right:
        context |= _tensors(model, difference.left, difference.right)
    return render(request, "registry/model_detail.html", context)


def _difference(request: HttpRequest, model: Model, versions: list[Version]) -> queries.Difference | None:
    """The two versions asked for with ?left=1&right=2, else the two newest; None where there are not two."""
    if len(versions) < 2:
        return None
    form = CompareForm(request.GET, versions=Version.objects.filter(model=model))
    if form.is_valid():
        return queries.compare(form.cleaned_data["left"], form.cleaned_data["right"])
    newest = Version.objects.filter(model=model).order_by("-number")[:2]
    return queries.compare(newest[1], newest[0])


@login_required
@require_http_methods(["GET", "POST"])
def tensors(request: HttpRequest, slug: str, left: int, right: int) -> HttpResponse:
    """How the weights of two versions differ; a POST has it computed."""
    model = model_for(request, slug)
    pair = [get_object_or_404(Version.objects.select_related("model"), model=model, number=n) for n in (left, right)]
    if request.method == "POST":
        try:
            actions.ask_comparison(left=pair[0], right=pair[1], actor=actor_for(request=request))
        except actions.RegistryError as error:
            messages.error(request, str(error))
        return redirect(f"{reverse('model-detail', args=[slug])}?left={left}&right={right}#tensors")
    return render(request, "registry/parts/tensors.html", _tensors(model, pair[0], pair[1]))


def _tensors(model: Model, left: Version, right: Version) -> dict[str, Any]:
    """Rows with the largest change first, and how many are the same."""
    asked = TensorComparison.objects.filter(left=left, right=right).first()
    rows = asked.rows if asked is not None else []
    differing = [row for row in rows if row["change"] != "same"]
    return {
        "model": model,
        "left": left,
        "right": right,
        "asked": asked,
        "waiting": asked is not None and asked.state == ComparisonState.WAITING,
        "tensors": sorted(differing, key=lambda row: -(row["relative_norm"] or math.inf))[:MOST_TENSORS],
        "differing": len(differing),
        "of": len(rows),
    }


@login_required
@require_GET
def version_detail(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    return _version_page(request, version_for(request, slug, number), HoldoutForm())


@login_required
@require_POST
def version_holdout(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """Give the version the holdout set that it lacks."""
    version = version_for(request, slug, number, "registry.write")
    form = HoldoutForm(request.POST, request.FILES)
    if form.is_valid():
        try:
            actions.give_holdout(
                version=version, holdout=form.cleaned_data["holdout"], actor=actor_for(request=request)
            )
        except (actions.AlreadyThere, ContentRefused, store.ArtifactUnavailable) as refused:
            form.add_error("holdout", str(refused))
        else:
            messages.success(
                request, gettext("Version %(number)s has its holdout set now.") % {"number": version.number}
            )
            return redirect("version-detail", slug=slug, number=number)
    return _version_page(request, version, form, 400)


def version_for(request: HttpRequest, slug: str, number: int, permission: str = "view") -> Version:
    """Lookup and permission in one: a version for a person who may do that with it."""
    require(request, permission)
    versions = Version.objects.select_related("model", "golden", "profile", "holdout")
    version = get_object_or_404(versions, model__slug=slug, number=number)
    require_on(request, permission, version)
    return version


def _version_page(request: HttpRequest, version: Version, form: HoldoutForm, status: int = 200) -> HttpResponse:
    model, slug = version.model, version.model.slug
    files = list(version.files.select_related("artifact"))
    context = {
        "model": model,
        "version": version,
        "head": _version_sentence(version),
        "endpoints": model.endpoints.order_by("environment", "slug"),
        "trail": [(reverse("model-list"), gettext("Models")), (reverse("model-detail", args=[slug]), slug)],
        "files": files,
        "part": part_sentence(version),
        "rehearsed": rehearsal_sentence(version),
        "incident_ref": request.GET.get("incident_ref", "")[:40],
        "may_propose": may_on(request.user, "plan.propose", model),
        "may_give_holdout": version.holdout is None and may_on(request.user, "registry.write", version),
        "holdout_form": form,
        "pickled": [file.path for file in files if file.artifact.media_type == PICKLE],
        "aliases": version.aliases.all(),
        "parents": version.parents.select_related("parent"),
        "children": version.children.select_related("child"),
        "facts": [
            ("Figures", queries.flat({name: value for name, value in version.metrics.items() if name != "rehearsal"})),
            ("Hyperparameters", queries.flat(version.hyperparameters)),
            ("Environment", queries.flat(version.environment)),
        ],
        "spans": Paginator(queries.deployments().filter(version=version), PAGE).get_page(request.GET.get("page")),
        "documentation": rendered(version.documentation),
    }
    return render(request, "registry/version_detail.html", context, status=status)


def _version_sentence(version: Version) -> queries.Sentence:
    name = gettext("Version %(number)s of %(name)s") % {"number": version.number, "name": version.model.name}
    if version.quarantined_at is not None:
        why = version.quarantine_reason.rstrip(".")
        return queries.Sentence(gettext("%(name)s is quarantined: %(why)s.") % {"name": name, "why": why}, "warn")
    if version.soaked_at is not None:
        return queries.Sentence(gettext("%(name)s has soaked in production without an alert.") % {"name": name}, "ok")
    return queries.Sentence(gettext("%(name)s has not soaked in production yet.") % {"name": name}, "quiet")


def rendered(markdown: str) -> str:
    """Documentation as HTML that can do nothing: no scripts, styles or forms. Its headings begin below the page's."""
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = reader.parse(markdown)
    for token in tokens:
        if token.type.startswith("heading_"):
            token.tag = f"h{min(int(token.tag[1:]) + 1, 6)}"
    return mark_safe(nh3.clean(reader.renderer.render(tokens, reader.options, {})))  # noqa: S308 (cleaned here)
