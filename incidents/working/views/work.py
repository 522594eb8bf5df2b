"""Runbooks taken up in an incident, and its tasks."""

from collections.abc import Iterable
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from accounts.permissions import may_on, user_of
from incidents.models import OPEN_STATES
from incidents.views.pages import incident_for
from incidents.working.forms import TaskForm
from incidents.working.markdown import render as as_html
from incidents.working.markdown import render_line
from incidents.working.models import Step, TaskState
from incidents.working.runbooks import fitting, uses_of


@login_required
@require_GET
def incident_work(request: HttpRequest, ref: str) -> HttpResponse:
    """A page of its own; the incident's page loads the same as a part."""
    incident = incident_for(request, ref)
    uses = list(uses_of(incident))
    taken = {use.runbook_id for use in uses}
    tasks = list(incident.tasks.select_related("owner"))
    context: dict[str, Any] = {
        "incident": incident,
        "uses": [{"use": use, "html": as_html(use.body), "steps": _lines(use.steps.all())} for use in uses],
        "offered": [one for one in fitting(incident) if one.pk not in taken] if incident.state in OPEN_STATES else [],
        "tasks": sorted(tasks, key=lambda task: task.state != TaskState.OPEN),
        "left": sum(task.state == TaskState.OPEN for task in tasks),
        "may_respond": may_on(user_of(request), "incident.respond", incident),
        "task_form": TaskForm(auto_id="task_%s"),
    }
    part = context["part"] = request.headers.get("HX-Request") == "true"
    return render(request, "working/parts/work.html" if part else "working/work.html", context)


def _lines(steps: Iterable[Step]) -> list[tuple[Step, str]]:
    return [(step, render_line(step.text)) for step in steps]
