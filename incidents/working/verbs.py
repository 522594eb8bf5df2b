"""What people do in an incident beside its lifecycle, each at an address of its own below the incident's."""

from django.utils.translation import gettext

from incidents import actions
from incidents.errors import IncidentError
from incidents.forms import EmptyForm
from incidents.views.acts import Act, Verb
from incidents.working import notes, roles, runbooks, times, todo
from incidents.working.forms import (
    AmendForm,
    AssignForm,
    EventForm,
    NoteForm,
    OfferForm,
    OneTaskForm,
    RoleForm,
    StepForm,
    TakeUpForm,
    TaskForm,
    TimeForm,
)
from incidents.working.models import TaskState


def _role(act: Act) -> str:
    role, to = act.typed["role"], act.typed["user"]
    if to == act.user:
        held = actions.hold_role(
            incident=act.incident, role=role, user=to, actor=act.actor, seen_holder=act.typed["seen_holder"]
        )
        return f"You are {held.get_role_display().lower()} of {act.incident.ref} now."
    made = roles.offer_role(
        incident=act.incident, role=role, to=to, by=act.user, note=act.typed["note"], actor=act.actor
    )
    return f"{to} is offered the role {made.get_role_display().lower()}. It changes hands when they accept."


def _accept(act: Act) -> str:
    held = roles.accept_role(incident=act.incident, role=act.typed["role"], user=act.user, actor=act.actor)
    return f"You are {held.get_role_display().lower()} of {act.incident.ref} now."


def _refuse(act: Act) -> str:
    offer = roles.refuse_role(
        incident=act.incident,
        role=act.typed["role"],
        user=act.user,
        reason=act.typed["reason"],
        actor=act.actor,
    )
    return f"The offer of the role {offer.get_role_display().lower()} is ended. Nothing changed hands."


def _time(act: Act) -> str:
    typed = act.typed
    times.correct_time(
        incident=act.incident,
        which=typed["which"],
        at=typed["at"],
        reason=typed["reason"],
        actor=act.actor,
        seen_version=act.seen,
    )
    return f"“{times.TIMES[typed['which']]}” is corrected; what stood there before stays on record."


def _seen(act: Act) -> str:
    roles.say_seen(incident=act.incident, user=act.user, actor=act.actor)
    return f"It is on record that you have seen {act.incident.ref}."


def _roll_call(act: Act) -> str:
    roles.call_roll(incident=act.incident, actor=act.actor)
    return "The roll is called: everybody is asked anew to say that they have seen it."


def _note(act: Act) -> str:
    notes.add_note(incident=act.incident, text=act.typed["text"], actor=act.actor)
    return "The note is on the timeline."


def _amend(act: Act) -> str:
    seq = act.typed["seq"]
    notes.amend(incident=act.incident, seq=seq, text=act.typed["text"], actor=act.actor)
    return f"Your correction stands beside event {seq}; what it said stays."


def _pin(act: Act) -> str:
    notes.pin(incident=act.incident, seq=act.typed["seq"], actor=act.actor)
    return f"Event {act.typed['seq']} is pinned."


def _unpin(act: Act) -> str:
    notes.unpin(incident=act.incident, seq=act.typed["seq"], actor=act.actor)
    return f"Event {act.typed['seq']} is not pinned any more."


def _belongs(act: Act, incident_id: int, what: str) -> None:
    if incident_id != act.incident.pk:
        raise IncidentError(gettext("That %(what)s is of another incident. Open it there.") % {"what": what})


def _take_up(act: Act) -> str:
    use = runbooks.take_up(incident=act.incident, runbook=act.typed["runbook"], user=act.user, actor=act.actor)
    return f"{use.runbook} is taken up; tick its steps off as they are done."


def _tick(act: Act, done: bool = True) -> str:
    step = act.typed["step"]
    _belongs(act, step.use.incident_id, "step")
    runbooks.tick(step=step, done=done, user=act.user, actor=act.actor)
    return f"Step {step.position} is {'done' if done else 'open again'}."


def _untick(act: Act) -> str:
    return _tick(act, done=False)


def _task(act: Act) -> str:
    task = todo.add_task(incident=act.incident, actor=act.actor, **act.typed)
    return f"The task is written down{f' for {task.owner}' if task.owner else ''}."


def _assign(act: Act) -> str:
    _belongs(act, act.typed["task"].incident_id, "task")
    task = todo.assign_task(
        task=act.typed["task"], owner=act.typed["owner"], actor=act.actor, seen_owner=act.typed["seen_owner"]
    )
    return f"{task.owner} has the task now."


def _settled(act: Act, state: str) -> str:
    _belongs(act, act.typed["task"].incident_id, "task")
    task = todo.settle_task(task=act.typed["task"], state=state, reason=act.typed["reason"], actor=act.actor)
    return f"The task is {task.get_state_display().lower()}."


def _done(act: Act) -> str:
    return _settled(act, TaskState.DONE)


def _drop(act: Act) -> str:
    return _settled(act, TaskState.DROPPED)


VERBS: dict[str, Verb] = {
    "role": Verb("incident.respond", RoleForm, "Hand over or take a role", "Hand over", _role),
    "accept-role": Verb("incident.respond", OfferForm, "Accept a role", "Accept", _accept),
    "refuse-role": Verb("incident.respond", OfferForm, "End the offer of a role", "End the offer", _refuse),
    "time": Verb("incident.respond", TimeForm, "Correct a time", "Correct it", _time),
    "seen": Verb("view", EmptyForm, "Say that you have seen it", "I have seen it", _seen),
    "note": Verb("incident.respond", NoteForm, "Write a note", "Put it on the timeline", _note, "timeline/"),
    "amend": Verb("incident.respond", AmendForm, "Correct an event", "Put it beside the event", _amend, "timeline/"),
    "pin": Verb("incident.respond", EventForm, "Pin an event", "Pin it", _pin, "timeline/"),
    "unpin": Verb("incident.respond", EventForm, "Take a pin off", "Take it off", _unpin, "timeline/"),
    "runbook": Verb("incident.respond", TakeUpForm, "Take up a runbook", "Take it up", _take_up, "work/"),
    "tick": Verb("incident.respond", StepForm, "Tick a step off", "It is done", _tick, "work/"),
    "untick": Verb("incident.respond", StepForm, "Open a step again", "It is open", _untick, "work/"),
    "task": Verb("incident.respond", TaskForm, "Add a task", "Add the task", _task, "work/"),
    "assign-task": Verb("incident.respond", AssignForm, "Give a task to somebody", "Give it", _assign, "work/"),
    "task-done": Verb("incident.respond", OneTaskForm, "A task is done", "It is done", _done, "work/"),
    "drop-task": Verb("incident.respond", OneTaskForm, "Drop a task", "Drop it", _drop, "work/"),
    "roll-call": Verb("incident.respond", EmptyForm, "Call the roll", "Call the roll", _roll_call),
}
