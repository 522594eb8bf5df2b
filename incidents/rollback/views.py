"""Pages of plans and the live part of a run."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotModified
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.actions import actor_for
from accounts.approvals.queries import NoPolicy, may_stop, standing
from accounts.models import User
from accounts.permissions import may_on, require, require_on, user_of, user_roles
from incidents.rollback import preflight, run, undo, watch
from incidents.rollback.consequences import consequences
from incidents.rollback.dry_run import dry_run_of
from incidents.rollback.forms import ProposeForm, ReasonForm, SteerForm
from incidents.rollback.gating.queries import askings_of
from incidents.rollback.kept import to_be_loaded
from incidents.rollback.models import Plan, PlanKind, PlanState, Run, RunState, WatchState
from incidents.rollback.outcomes import propose_outcome
from incidents.rollback.plan import PlanRefused, propose, void
from incidents.rollback.queries import (
    candidate_evidence,
    candidate_of,
    check_rows,
    document_of,
    left_as,
    newest_checks,
    plans,
    run_etag,
    run_is_live,
    run_of,
    run_sentence,
    runs,
    waves_of,
)
from incidents.rollback.shadow.terms import UNDECIDED
from incidents.rollback.shadow.told import facts_of, lines_of
from incidents.rollback.terms import plan_rows, plan_terms


def plan_for(request: HttpRequest, pk: UUID) -> Plan:
    """Lookup and permission in one: a plan for a person who may see it."""
    require(request, "view")
    return get_object_or_404(plans(), pk=pk)


def run_for(request: HttpRequest, pk: UUID) -> Run:
    """Lookup and permission in one: a run for a person who may see it."""
    require(request, "view")
    return get_object_or_404(runs(), pk=pk)


@login_required
@require_GET
def plan_detail(request: HttpRequest, pk: UUID) -> HttpResponse:
    plan = plan_for(request, pk)
    own_run = run_of(plan)
    context = {
        "plan": plan,
        "title": preflight.title(plan),
        "plan_rows": plan_rows(plan),
        "plan_terms": plan_terms(plan),
        "preflight_rows": check_rows(plan.preflights.select_related("host")),
        "candidate": candidate_of(plan),
        "run": own_run,
        "standing": standing(plan.request) if plan.request else None,
        "is_draft": plan.state == PlanState.DRAFT,
        "is_open": plan.state in (PlanState.DRAFT, PlanState.PREFLIGHTED, PlanState.AWAITING),
        "may_propose": may_on(user_of(request), "plan.propose", plan),
        "may_start": may_on(user_of(request), "plan.start", plan),
    }
    if own_run is not None:
        context |= lanes_context(own_run, user_of(request))
    return render(request, "rollback/plan_detail.html", context)


@login_required
@require_http_methods(["GET", "POST"])
def plan_propose(request: HttpRequest) -> HttpResponse:
    require(request, "plan.propose")
    form = ProposeForm(request.POST or None, initial=request.GET.dict())
    if request.method == "POST" and form.is_valid():
        wish = form.cleaned_data
        ref = wish["incident_ref"]
        try:
            plan = propose(
                **wish,
                user=user_of(request),
                actor=actor_for(request=request),
                evidence=candidate_evidence(ref) if ref else None,
            )
        except (PlanRefused, NoPolicy) as error:
            messages.error(request, str(error))
        else:
            messages.success(
                request, gettext("The plan is written down and its preflight runs; then its approvers are asked.")
            )
            return redirect(_back(request) or plan_url(plan))
    return render(request, "rollback/plan_propose.html", {"form": form}, status=400 if form.errors else 200)


@login_required
@require_http_methods(["GET", "POST"])
def plan_steer(request: HttpRequest) -> HttpResponse:
    """Propose to take hosts out of service, to bring them back, or to freeze an endpoint."""
    require(request, "plan.propose")
    form = SteerForm(request.POST or None, initial=request.GET.dict())
    if request.method == "POST" and form.is_valid():
        try:
            plan = propose_outcome(
                form.wish,
                reason=form.cleaned_data["reason"],
                incident_ref=form.cleaned_data["incident_ref"],
                user=user_of(request),
                actor=actor_for(request=request),
            )
        except (PlanRefused, NoPolicy) as error:
            messages.error(request, str(error))
        else:
            messages.success(
                request, gettext("The plan is written down and its preflight runs; then its approvers are asked.")
            )
            return redirect(plan_url(plan))
    return render(request, "rollback/plan_steer.html", {"form": form}, status=400 if form.errors else 200)


@login_required
@require_GET
def plan_dry_run(request: HttpRequest, pk: UUID) -> HttpResponse:
    """What would be called on each host if the plan were started now."""
    plan = plan_for(request, pk)
    require_on(request, "plan.propose", plan)
    try:
        found = dry_run_of(plan)
    except PlanRefused as refused:
        messages.error(request, refused.sentence)
        return redirect(plan_url(plan))
    context = {
        "plan": plan,
        "title": preflight.title(plan),
        "found": found,
        "rows": [row | {"note": row["host"]} for row in found.findings if row["answer"] != "pass"],
        "passed": len(found.findings),
    }
    return render(request, "rollback/plan_dry_run.html", context)


def plan_url(plan: Plan) -> str:
    return f"/rollback/plans/{plan.pk}/"


@login_required
@require_POST
def plan_act(request: HttpRequest, pk: UUID, verb: str) -> HttpResponse:
    """Preflight anew, start, or give up a plan."""
    plan = plan_for(request, pk)
    require_on(request, {"start": "plan.start"}.get(verb, "plan.propose"), plan)
    actor = actor_for(request=request)
    try:
        if verb == "preflight":
            preflight.again(plan_id=plan.pk, actor=actor)
            messages.success(request, gettext("The preflight is running again."))
        elif verb == "start":
            run.start(plan_id=plan.pk, user=user_of(request), actor=actor)
            messages.success(request, gettext("The plan has started."))
        elif verb == "void":
            given_up = void(plan_id=plan.pk, reason=request.POST.get("reason", "")[:500] or "Given up.", actor=actor)
            messages.success(
                request, gettext("The plan was given up.") if given_up else gettext("The plan was closed before.")
            )
        else:
            raise Http404(gettext("A plan has no verb %(verb)s.") % {"verb": verb})
    except PlanRefused as refused:
        messages.error(request, refused.sentence)
    return redirect(_back(request) or plan_url(plan))


@login_required
@require_GET
def run_lanes(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The live part of a run; 304 while neither the run, its watch nor an observation has changed."""
    subject = run_for(request, pk)
    etag = run_etag(subject, user_of(request).permission_epoch)
    if request.headers.get("If-None-Match") == etag:
        return HttpResponseNotModified(headers={"ETag": etag})
    response = render(request, "rollback/parts/run.html", lanes_context(subject, user_of(request)))
    response["ETag"] = etag
    response["Cache-Control"] = "private, no-cache"
    return response


@login_required
@require_POST
def run_act(request: HttpRequest, pk: UUID, verb: str) -> HttpResponse:
    """Stop, resume, pass a gate, turn back, sign off, undo: with a reason, by a person who may."""
    subject = run_for(request, pk)
    form = ReasonForm(request.POST)
    if not form.is_valid():
        messages.error(request, gettext("Nothing was done: say in a sentence why."))
        return redirect(_back(request) or plan_url(subject.plan))
    who: dict[str, Any] = {
        "run_id": subject.pk,
        "user": user_of(request),
        "reason": form.cleaned_data["reason"],
        "actor": actor_for(request=request),
    }
    if verb in ("stop", "pause", "resume", "pass-gate"):
        who["seen"] = request.POST.get("seen", "")
    try:
        messages.success(request, act_on_run(verb, who))
    except PlanRefused as refused:
        messages.error(request, refused.sentence)
    return redirect(_back(request) or plan_url(subject.plan))


def act_on_run(verb: str, who: dict[str, Any]) -> str:
    """Do what the verb says and say what was done. Raises Http404, PermissionDenied, RunRefused."""
    if verb == "stop":
        run.stop(**who)
        return gettext("The run was stopped. Hosts stay as they are.")
    if verb == "pause":
        run.pause(**who)
        return gettext("The run is paused, and its hosts stay as they are until it is resumed.")
    if verb == "resume":
        run.resume(**who)
        return gettext("The run goes on.")
    if verb == "pass-gate":
        run.pass_gate(**who)
        return gettext("The gate was passed on your authority. The run goes on.")
    if verb == "compensate":
        run.compensate(**who)
        return gettext("The hosts go back to what they served before.")
    if verb == "undo":
        undo.undo(**who)
        return gettext("Undoing it is proposed as a plan. It starts once its approvers have approved it.")
    if verb in ("sign-off", "reject"):
        watch.sign_off(**who, passed=verb == "sign-off")
        return (
            gettext("The verification was signed off.")
            if verb == "sign-off"
            else gettext("The verification was judged failed.")
        )
    raise Http404(gettext("A run has no verb %(verb)s.") % {"verb": verb})


def lanes_context(subject: Run, user: User) -> dict[str, Any]:
    """What `rollback/parts/run.html` needs; also for pages that include it."""
    watching = getattr(subject, "watch", None)
    halted = subject.state == RunState.HALTED
    document = document_of(subject)
    return {
        "run": subject,
        "run_seen": run.seen_of(subject),
        "run_sentence": run_sentence(subject),
        "run_live": 1 if run_is_live(subject) else 15,
        "waves": waves_of(subject),
        "left_as": left_as(subject),
        "cold": to_be_loaded(document, list(subject.steps.all())) if document is not None else [],
        "run_checks": check_rows(newest_checks(subject)),
        "askings": askings_of(subject, document, user),
        "shadow": lines_of(facts_of(subject.steps.all(), document), document),
        "watch": watching,
        "can_stop": subject.state in (RunState.RUNNING, RunState.HALTED, RunState.COMPENSATING)
        and may_on(user, "plan.stop", subject)
        and may_stop(subject.plan.request.policy if subject.plan.request else None, user_roles(user)),
        "can_pause": subject.state in (RunState.RUNNING, RunState.COMPENSATING) and may_on(user, "plan.stop", subject),
        "consequences": consequences(subject) if may_on(user, "plan.stop", subject) else {},
        "can_resume": halted and may_on(user, "plan.start", subject),
        "can_pass": halted
        and subject.halt_code in ("gate_inconclusive", UNDECIDED)
        and may_on(user, "incident.command", subject),
        "can_compensate": subject.state in (RunState.RUNNING, RunState.HALTED)
        and (subject.plan.from_version_id is not None or subject.plan.kind == PlanKind.DRAIN)
        and may_on(user, "plan.start", subject),
        "can_undo": may_on(user, "plan.propose", subject) and undo.why_not_undone(subject) is None,
        "can_sign": watching is not None
        and watching.state == WatchState.INCONCLUSIVE
        and may_on(user, "incident.command", subject),
    }


def _back(request: HttpRequest) -> str:
    """Where the form was, if it is one of our own pages."""
    target = request.POST.get("next", "")
    ours = url_has_allowed_host_and_scheme(target, allowed_hosts={request.get_host()})
    return target if target and ours else ""
