"""Tasks of an incident: given to people, done or dropped, on the timeline."""

from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils.translation import gettext

from accounts.models import User
from audit.actions import Actor, Target, record
from incidents.errors import IncidentError
from incidents.models import Incident
from incidents.working.models import Task, TaskState


def _note(task: Task, action: str, actor: Actor, data: dict[str, object], reason: str = "") -> None:
    ref = task.incident.ref
    target = Target("incident", ref)
    record(action=action, target=target, actor=actor, incident=ref, data={"task": task.pk} | data, reason=reason)


@transaction.atomic
def add_task(
    *, incident: Incident, text: str, owner: User | None = None, due_at: datetime | None = None, actor: Actor
) -> Task:
    """Something to do for somebody, or for whoever takes it."""
    if not text.strip():
        raise IncidentError(gettext("Say in a sentence what is to be done."))
    task = Task.objects.create(incident=incident, text=text.strip(), owner=owner, due_at=due_at)
    data = {"owner": owner.pseudonym if owner else "", "due": due_at.isoformat() if due_at else ""}
    _note(task, "incident.add_task", actor, data, text.strip())
    return task


@transaction.atomic
def assign_task(*, task: Task, owner: User, actor: Actor, seen_owner: int | None = None) -> Task:
    """Give an open task to a person. `seen_owner` is the key of who had it when the form was opened, 0 for nobody:
    refused where it is another one by now."""
    open_ = Task.objects.filter(pk=task.pk, state=TaskState.OPEN).exclude(owner=owner)
    if seen_owner is not None:
        open_ = open_.filter(owner=seen_owner or None)
    if open_.update(owner=owner) != 1:
        raise IncidentError(
            gettext(
                "The task is not open any more, %(owner)s has it already, or it was given to somebody "
                "else since you looked. Nothing was changed."
            )
            % {"owner": owner}
        )
    _note(task, "incident.assign_task", actor, {"owner": owner.pseudonym})
    task.refresh_from_db()
    return task


@transaction.atomic
def settle_task(*, task: Task, state: str, reason: str = "", actor: Actor) -> Task:
    """Done, or not needed any more, which needs a reason."""
    if state not in (TaskState.DONE, TaskState.DROPPED):
        raise IncidentError(gettext("A task is settled as done or dropped."))
    if state == TaskState.DROPPED and not reason.strip():
        raise IncidentError(gettext("Say in a sentence why it is not needed any more."))
    if Task.objects.filter(pk=task.pk, state=TaskState.OPEN).update(state=state, settled_at=Now()) != 1:
        raise IncidentError(gettext("The task was settled before. Nothing was changed."))
    _note(task, "incident.settle_task", actor, {"state": state}, reason)
    task.refresh_from_db()
    return task


def tasks_of(user: User) -> QuerySet[Task]:
    """What the person has still to do in any incident, the soonest due first."""
    found = Task.objects.filter(owner=user, state=TaskState.OPEN).select_related("incident")
    return found.order_by("due_at", "pk")
