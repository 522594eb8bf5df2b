"""What people do to an incident: each verb is an address with a form of its own, which works without script."""

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods

from accounts.actions import actor_for
from accounts.approvals.queries import NoPolicy
from accounts.permissions import user_of
from audit.queries import timeline
from incidents import actions
from incidents.errors import Conflict, IncidentError
from incidents.forms import (
    EmptyForm,
    MoveForm,
    ProposeForm,
    ResolveForm,
    SeverityForm,
    TriageForm,
    UpdateForm,
)
from incidents.models import OPEN_STATES, Incident, IncidentRole, IncidentState
from incidents.narrative import tell
from incidents.proposing import propose_rollback
from incidents.rollback.plan import PlanRefused
from incidents.views.acts import Act, Verb
from incidents.views.pages import incident_for
from incidents.working import verbs as working
from incidents.working.times import corrections, moments_of


def _acknowledge(act: Act) -> str:
    actions.acknowledge(incident=act.incident, user=act.user, actor=act.actor)
    return gettext("You have %(ref)s.") % {"ref": act.incident.ref}


def _triage(act: Act) -> str:
    typed = act.typed
    changed = actions.triage(
        incident=act.incident,
        impact=typed["impact"],
        urgency=typed["urgency"],
        assessment=typed["assessment"],
        user=act.user,
        actor=act.actor,
        seen_version=act.seen,
    )
    return gettext("%(ref)s is triaged: severity %(severity)s.") % {"ref": changed.ref, "severity": changed.severity}


def _severity(act: Act) -> str:
    changed = actions.set_severity(
        incident=act.incident,
        severity=act.typed["severity"],
        reason=act.typed["reason"],
        actor=act.actor,
        seen_version=act.seen,
    )
    return gettext("%(ref)s has severity %(severity)s now.") % {"ref": changed.ref, "severity": changed.severity}


def _update(act: Act) -> str:
    typed = act.typed
    actions.post_update(
        incident=act.incident,
        conditions=typed["conditions"],
        actions=typed["actions"],
        needs=typed["needs"],
        user=act.user,
        actor=act.actor,
    )
    return gettext("Your update is on record.")


def _propose(act: Act) -> str:
    propose_rollback(
        incident=act.incident,
        to_version=act.typed["to_version"],
        reason=act.typed["reason"],
        user=act.user,
        actor=act.actor,
    )
    return gettext("The plan is written down and its preflight runs; then its approvers are asked.")


def _resolve(act: Act) -> str:
    actions.resolve(incident=act.incident, reason=act.typed["reason"], actor=act.actor, seen_version=act.seen)
    return gettext("%(ref)s is resolved. Its review is being drafted.") % {"ref": act.incident.ref}


def _move(act: Act) -> str:
    to = act.typed["to"]
    actions.move(incident=act.incident, to=to, reason=act.typed["reason"], actor=act.actor, seen_version=act.seen)
    return gettext("%(ref)s is %(to)s now.") % {"ref": act.incident.ref, "to": IncidentState(to).label.lower()}


LATELY = 5
CHOSEN = ("role", "which", "seq", "task", "seen_owner", "runbook")
"""What a link to a verb may have chosen already."""
VERBS: dict[str, Verb] = {
    "acknowledge": Verb("incident.respond", EmptyForm, _("Say that you have it"), _("I have it"), _acknowledge),
    "triage": Verb("incident.respond", TriageForm, _("Triage"), _("Triage"), _triage),
    "severity": Verb("incident.respond", SeverityForm, _("Change the severity"), _("Set the severity"), _severity),
    "update": Verb("incident.respond", UpdateForm, _("Post an update"), _("Post the update"), _update),
    "propose": Verb("plan.propose", ProposeForm, _("Propose a rollback"), _("Propose this plan"), _propose),
    "resolve": Verb("incident.command", ResolveForm, _("Resolve the incident"), _("Resolve"), _resolve),
    "move": Verb("incident.command", MoveForm, _("Move the incident"), _("Move"), _move),
    **working.VERBS,
}


@login_required
@require_http_methods(["GET", "POST"])
def incident_act(request: HttpRequest, ref: str, verb: str) -> HttpResponse:
    """GET shows the verb's form; POST does it and leads back to the incident. A refusal or a conflict keeps what was
    typed and shows how things stand now."""
    if verb not in VERBS:
        raise Http404(gettext("An incident has no verb %(verb)s.") % {"verb": verb})
    wanted = VERBS[verb]
    incident = incident_for(request, ref, wanted.permission)
    if request.method == "GET":
        chosen = {name: request.GET[name] for name in CHOSEN if name in request.GET}
        return _page(request, incident, wanted, wanted.form(initial=_initial(incident) | chosen))
    form = wanted.form(request.POST)
    if not form.is_valid():
        return _page(request, incident, wanted, form, 400)
    act = Act(incident, form.cleaned_data, user_of(request), actor_for(request=request))
    try:
        messages.success(request, wanted.do(act))
    except Conflict as conflict:
        return _conflict(request, incident_for(request, ref, wanted.permission), wanted, form, conflict)
    except (IncidentError, PlanRefused, NoPolicy) as refused:
        form.add_error(None, str(refused))
        return _page(request, incident, wanted, form, 409)
    if wanted.leads:
        return redirect(f"/incidents/{incident.ref}/{wanted.leads}")
    return redirect("incident-detail", ref=incident.ref)


def _initial(incident: Incident) -> dict[str, Any]:
    return {
        "version": incident.version,
        "impact": incident.impact,
        "urgency": incident.urgency,
        "assessment": incident.assessment,
        "severity": incident.severity,
        "holders": _holders(incident),
    }


def _holders(incident: Incident) -> str:
    """Who holds each role now, as RoleForm keeps it."""
    held = {held.role: held.user_id for held in incident.held_now}
    return " ".join(f"{role}:{held.get(role, 0)}" for role in IncidentRole.values)


def _conflict(
    request: HttpRequest, incident: Incident, verb: Verb, form: forms.Form, conflict: Conflict
) -> HttpResponse:
    """The form again with what was typed, beside what stands there now; sending it again replaces that."""
    typed = request.POST.copy()
    typed["version"], typed["holders"] = str(incident.version), _holders(incident)
    again = verb.form(typed)
    again.is_valid()
    again.add_error(None, str(conflict))
    return _page(request, incident, verb, again, 409, theirs=True)


def _page(
    request: HttpRequest, incident: Incident, verb: Verb, form: forms.Form, status: int = 200, theirs: bool = False
) -> HttpResponse:
    context = {
        "incident": incident,
        "verb": verb,
        "form": form,
        "theirs": theirs,
        "is_open": incident.state in OPEN_STATES,
        "holders": [(held.get_role_display(), held.user) for held in incident.held_now],
        "moments": moments_of(incident),
        "corrections": corrections(incident) if "which" in form.fields else [],
        "lately": list(reversed(tell(timeline(incident.ref, newest=LATELY)))) if theirs else [],
    }
    return render(request, "incidents/act.html", context, status=status)
