"""A review's causes and signatures, and what many incidents add up to."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.actions import actor_for
from accounts.permissions import may, require, user_of
from audit.clock import database_now
from audit.views import csv_file
from incidents.errors import Conflict, IncidentError
from incidents.learning import actions, begun
from incidents.learning.charts import histogram, trend
from incidents.learning.figures import BINS, STAGES, Chosen, figures
from incidents.learning.forms import AnswerForm, AskForm, CausesForm, TemplateForm
from incidents.learning.models import Cause, ReviewTemplate, Signature
from incidents.views.reviews import review_for
from monitoring.models import RuleKind
from registry.models import Model

USUAL = timedelta(days=180)


def _do(request: HttpRequest, ref: str, form: forms.Form, verb: Any) -> HttpResponse:
    """Do it with what was typed; what is refused is said on the review's page."""
    if not form.is_valid():
        messages.error(
            request,
            gettext("Fill the form: ") + "; ".join(f"{name}: {' '.join(why)}" for name, why in form.errors.items()),
        )
    else:
        try:
            messages.success(request, verb(form))
        except IncidentError as refused:
            messages.error(request, str(refused))
    return redirect("review-detail", ref=ref)


@login_required
@require_POST
def causes(request: HttpRequest, ref: str) -> HttpResponse:
    """Name the contributing causes of a review."""
    review = review_for(request, ref, "incident.respond")

    def verb(form: CausesForm) -> str:
        actions.set_causes(
            review=review,
            causes=form.causes,
            seen_version=form.cleaned_data["version"],
            actor=actor_for(request=request),
        )
        return gettext("The causes are on record.")

    return _do(request, ref, CausesForm(request.POST), verb)


@login_required
@require_POST
def ask(request: HttpRequest, ref: str) -> HttpResponse:
    """Ask a person to sign off, or to accept how the service answers now."""
    review = review_for(request, ref, "incident.respond")

    def verb(form: AskForm) -> str:
        made = actions.ask(review=review, actor=actor_for(request=request), **form.cleaned_data)
        return gettext("%(user)s is asked; it stands on their first page.") % {"user": made.user}

    return _do(request, ref, AskForm(request.POST), verb)


@login_required
@require_POST
def answer(request: HttpRequest, ref: str, pk: int) -> HttpResponse:
    """What the asked person says."""
    review = review_for(request, ref)
    signature = get_object_or_404(Signature.objects.select_related("user"), review=review, pk=pk)

    def verb(form: AnswerForm) -> str:
        actions.answer(
            signature=signature, user=user_of(request), actor=actor_for(request=request), **form.cleaned_data
        )
        return gettext("Your answer is on record.")

    return _do(request, ref, AnswerForm(request.POST), verb)


def chosen_of(request: HttpRequest, now: datetime) -> Chosen:
    """What the address asks for; what it asks for wrongly counts as not asked."""
    severity, cause = request.GET.get("severity", ""), request.GET.get("cause", "")
    return Chosen(
        since=_day(request.GET.get("since", "")) or (now - USUAL).replace(hour=0, minute=0, second=0, microsecond=0),
        until=(_day(request.GET.get("until", "")) or now) + timedelta(days=1),
        model=request.GET.get("model", "")[:50],
        severity=int(severity) if severity in ("1", "2", "3", "4") else None,
        cause=cause if cause in Cause.values else "",
    )


def _day(text: str) -> datetime | None:
    try:
        found = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    return found if 1970 <= found.year < 2200 else None


@login_required
@require_GET
def analytics(request: HttpRequest) -> HttpResponse:
    """How incidents went: times as distributions with medians over months, and what came of changes and rollbacks."""
    require(request, "view")
    now = database_now()
    chosen = chosen_of(request, now)
    found = figures(chosen, now.date())
    mitigate = next(stage for stage in found.stages if stage.name == "mitigate")
    context = {
        "found": found,
        "chosen": chosen,
        "last": chosen.until - timedelta(days=1),
        "histogram": histogram(found.stages),
        "bins": BINS,
        "stages": STAGES,
        "trend": trend(found.months),
        "models": Model.objects.order_by("slug"),
        "causes": Cause.choices,
        "sentence": _sentence(found.count, mitigate.median),
        "trail": [("/incidents/", gettext("Incidents"))],
    }
    return render(request, "learning/analytics.html", context)


def _sentence(count: int, seconds: float | None) -> str:
    said = ngettext("%(n)s incident in this span", "%(n)s incidents in this span", count) % {"n": count}
    if seconds is None:
        return said
    said_and_took = {"said": said, "took": _rounded(seconds)}
    return gettext("%(said)s; half of those mitigated took at most %(took)s") % said_and_took


def _rounded(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


@login_required
@require_POST
def analytics_csv(request: HttpRequest) -> HttpResponse:
    """The months as CSV, times in seconds; that it was taken is on record."""
    require(request, "audit.export")
    now = database_now()
    chosen = chosen_of(request, now)
    header = ("month", "incidents", *(f"median seconds to {name}" for name in STAGES))
    months = figures(chosen, now.date()).months
    rows = [
        (month, count, *("" if row[name] is None else row[name] for name in STAGES)) for month, count, row in months
    ]
    asked = {"since": f"{chosen.since:%Y-%m-%d}", "until": f"{chosen.until:%Y-%m-%d}", "model": chosen.model}
    return csv_file("incidents-by-month", [header, *rows], asked, actor_for(request=request))


@login_required
@require_http_methods(["GET", "POST"])
def templates(request: HttpRequest) -> HttpResponse:
    """What reviews begin with, by kind (`?kind=`); POST has them begin otherwise, on record."""
    require(request, "view" if request.method == "GET" else "admin")
    kind = request.GET.get("kind", "")
    if kind and kind not in RuleKind.values:
        raise Http404(gettext("There is no such kind of incident."))
    kept = ReviewTemplate.objects.filter(kind=kind).first()
    if request.method == "GET":
        initial = {"version": kept.version if kept else 0} | (kept.texts if kept else {})
        return _templates_page(request, kind, TemplateForm(initial=initial))
    form = TemplateForm(request.POST)
    if not form.is_valid():
        return _templates_page(request, kind, form, 400)
    typed = form.cleaned_data
    try:
        begun.set_template(
            kind=kind,
            texts=form.texts,
            reason=typed["reason"],
            seen_version=typed["version"] or 0,
            actor=actor_for(request=request),
        )
    except Conflict as conflict:
        again = TemplateForm(request.POST | {"version": str(conflict.current)})
        again.add_error(None, _("Somebody changed it since you opened it. Compare, then save yours again."))
        return _templates_page(request, kind, again, 409)
    except IncidentError as refused:
        form.add_error(None, str(refused))
        return _templates_page(request, kind, form, 409)
    messages.success(request, _("Reviews that begin from now on begin with it."))
    return redirect(f"{request.path}?kind={kind}" if kind else request.path)


def _templates_page(request: HttpRequest, kind: str, form: TemplateForm, status: int = 200) -> HttpResponse:
    kept = {one.kind: one for one in ReviewTemplate.objects.all()}
    names = {"": _("Every other kind")} | dict(RuleKind.choices)
    own = kept.get(kind)
    context = {
        "kinds": [{"kind": key, "name": name, "kept": key in kept} for key, name in names.items()],
        "kind": kind,
        "name": names[kind],
        "form": form,
        "own": own,
        "begins": [(form[name].label, own.texts[name]) for name in begun.SECTIONS if own and name in own.texts],
        "may_edit": may(user_of(request), "admin"),
        "sentence": _("What a new review begins with, by kind of incident"),
        "trail": [("/incidents/", _("Incidents")), ("/incidents/analytics/", _("How incidents went"))],
    }
    return render(request, "learning/templates.html", context, status=status)
