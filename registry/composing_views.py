"""Pages on which a version is composed of two: the wish with its preview, and what became of it."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext
from django.views.decorators.http import require_GET, require_http_methods

from accounts.actions import actor_for
from accounts.permissions import require, require_on
from registry import actions, composing, content, queries, store
from registry.forms import ComposeForm
from registry.models import (
    Composition,
    CompositionKind,
    CompositionState,
    Model,
    TensorComparison,
    Version,
    VersionFile,
)

MOST_ROWS = 200


def model_to_compose(request: HttpRequest, slug: str) -> Model:
    """Lookup and permission in one: a model for a person who may propose what its endpoints serve."""
    require(request, "plan.propose")
    model = get_object_or_404(Model, slug=slug)
    require_on(request, "plan.propose", model)
    return model


@login_required
@require_http_methods(["GET", "POST"])
def compose(request: HttpRequest, slug: str) -> HttpResponse:
    """What to take from where. A GET that says it shows what would be taken; a POST has it made."""
    model = model_to_compose(request, slug)
    versions = Version.objects.filter(model=model).defer("manifest", "documentation")
    given = request.POST or request.GET
    form = ComposeForm(given if "kind" in given else None, versions=versions, initial=_first_choice(request, model))
    context: dict[str, Any] = {"model": model, "form": form, "trail": _trail(model)}
    if form.is_valid():
        try:
            if request.method == "POST":
                asked = actions.ask_composition(**form.wish, actor=actor_for(request=request))
                return redirect("model-composition", slug=slug, number=asked.pk)
            parts = {name: value for name, value in form.wish.items() if name != "incident_ref"}
            context |= preview(composing.wish_for(**parts))
        except actions.RegistryError as error:
            form.add_error(None, str(error))
    return render(request, "registry/compose.html", context, status=400 if form.errors else 200)


def _first_choice(request: HttpRequest, model: Model) -> dict[str, Any]:
    """The newest version with a part of the one before it, unless the address says otherwise."""
    newest = list(Version.objects.filter(model=model).order_by("-number").values_list("number", flat=True)[:2])
    guess = dict(zip(("base", "other"), newest, strict=False))
    named = {"base": request.GET.get("base"), "other": request.GET.get("other")}
    return guess | {name: value for name, value in named.items() if value} | {
        "incident_ref": request.GET.get("incident_ref", "")
    }  # fmt: skip


def _trail(model: Model) -> list[tuple[str, str]]:
    return [(reverse("model-list"), "Models"), (reverse("model-detail", args=[model.slug]), model.slug)]


def preview(wish: composing.Wish) -> dict[str, Any]:
    """What would be taken: tensors with how much they differ where that was computed, or a declaration's lines."""
    shown: dict[str, Any] = {"wish": wish, "kind": CompositionKind(wish.kind).label.lower()}
    if not wish.tensors:
        return shown | {"lines": _lines(wish)}
    asked = TensorComparison.objects.filter(left=wish.base, right=wish.other).first()
    measured = {row["name"]: row for row in asked.rows} if asked is not None else {}
    rows = [measured.get(name, {"name": name}) for name in wish.tensors]
    rows.sort(key=lambda row: -(row.get("relative_norm") or 0.0))
    same = sum(row.get("change") == "same" for row in rows)
    return shown | {"tensors": rows[:MOST_ROWS], "of": len(rows), "same": same, "compared": bool(measured)}


def _lines(wish: composing.Wish) -> list[dict[str, str]]:
    """The lines of a declaration that differ; none where it is not JSON."""
    before, after = (_declared(version, wish.component) for version in (wish.base, wish.other))
    return [
        {"group": wish.component, "label": name, "before": before.get(name, ""), "after": after.get(name, "")}
        for name in [*before, *(name for name in after if name not in before)]
        if before.get(name) != after.get(name)
    ][:MOST_ROWS]


def _declared(version: Version, component: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for file in VersionFile.objects.filter(version=version, component=component, artifact__media_type=content.JSON):
        if store.holds(file.artifact_id):
            found |= dict(queries.flat(_by_name(content.read_json(store.local(file.artifact_id), file.path))))
    return found


def _by_name(value: Any) -> Any:
    """Lists of things that have a name as mappings by that name, so that the same thing stands beside itself."""
    if isinstance(value, dict):
        return {key: _by_name(inner) for key, inner in value.items()}
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return {str(item.get("name", index)): _by_name(item) for index, item in enumerate(value)}
    return value


@login_required
@require_GET
def composition(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """What became of a wish; it asks for itself again while it is being made."""
    require(request, "view")
    asked = get_object_or_404(
        Composition.objects.select_related("model", "base", "other", "version"), model__slug=slug, pk=number
    )
    if asked.state == CompositionState.DONE and asked.version is not None and "HX-Request" not in request.headers:
        messages.success(
            request, gettext("Version %(number)s is what you asked for.") % {"number": asked.version.number}
        )
        return redirect(version_address(asked))
    context = {
        "asked": asked,
        "model": asked.model,
        "trail": _trail(asked.model),
        "waiting": asked.state == CompositionState.WAITING,
        "address": version_address(asked) if asked.version else "",
    }
    part = "registry/parts/composition.html" if "HX-Request" in request.headers else "registry/composition.html"
    return render(request, part, context)


def version_address(asked: Composition) -> str:
    """The page of the version, with the incident that it was composed for."""
    assert asked.version is not None
    address = reverse("version-detail", args=[asked.model.slug, asked.version.number])
    return f"{address}?incident_ref={asked.incident_ref}" if asked.incident_ref else address
