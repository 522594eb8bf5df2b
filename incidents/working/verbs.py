"""What people do in an incident beside its lifecycle, each at an address of its own below the incident's."""

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

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
        return gettext("You are %(role)s of %(ref)s now.") % {
            "role": held.get_role_display().lower(),
            "ref": act.incident.ref,
        }
    made = roles.offer_role(
        incident=act.incident, role=role, to=to, by=act.user, note=act.typed["note"], actor=act.actor
    )
    return gettext("%(to)s is offered the role %(role)s. It changes hands when they accept.") % {
        "to": to,
        "role": made.get_role_display().lower(),
    }


def _accept(act: Act) -> str:
    held = roles.accept_role(incident=act.incident, role=act.typed["role"], user=act.user, actor=act.actor)
    return gettext("You are %(role)s of %(ref)s now.") % {
        "role": held.get_role_display().lower(),
        "ref": act.incident.ref,
    }


def _refuse(act: Act) -> str:
    offer = roles.refuse_role(
        incident=act.incident,
        role=act.typed["role"],
        user=act.user,
        reason=act.typed["reason"],
        actor=act.actor,
    )
    return gettext("The offer of the role %(role)s is ended. Nothing changed hands.") % {
        "role": offer.get_role_display().lower()
    }


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
    return gettext("“%(which)s” is corrected; what stood there before stays on record.") % {
        "which": times.TIMES[typed["which"]]
    }


def _seen(act: Act) -> str:
    roles.say_seen(incident=act.incident, user=act.user, actor=act.actor)
    return gettext("It is on record that you have seen %(ref)s.") % {"ref": act.incident.ref}


def _roll_call(act: Act) -> str:
    roles.call_roll(incident=act.incident, actor=act.actor)
    return gettext("The roll is called: everybody is asked anew to say that they have seen it.")


def _note(act: Act) -> str:
    notes.add_note(incident=act.incident, text=act.typed["text"], actor=act.actor)
    return gettext("The note is on the timeline.")


def _amend(act: Act) -> str:
    seq = act.typed["seq"]
    notes.amend(incident=act.incident, seq=seq, text=act.typed["text"], actor=act.actor)
    return gettext("Your correction stands beside event %(seq)s; what it said stays.") % {"seq": seq}


def _pin(act: Act) -> str:
    notes.pin(incident=act.incident, seq=act.typed["seq"], actor=act.actor)
    return gettext("Event %(seq)s is pinned.") % {"seq": act.typed["seq"]}


def _unpin(act: Act) -> str:
    notes.unpin(incident=act.incident, seq=act.typed["seq"], actor=act.actor)
    return gettext("Event %(seq)s is not pinned any more.") % {"seq": act.typed["seq"]}


def _belongs(act: Act, incident_id: int, what: str) -> None:
    if incident_id != act.incident.pk:
        raise IncidentError(gettext("That %(what)s is of another incident. Open it there.") % {"what": what})


def _take_up(act: Act) -> str:
    use = runbooks.take_up(incident=act.incident, runbook=act.typed["runbook"], user=act.user, actor=act.actor)
    return gettext("%(runbook)s is taken up; tick its steps off as they are done.") % {"runbook": use.runbook}


def _tick(act: Act, done: bool = True) -> str:
    step = act.typed["step"]
    _belongs(act, step.use.incident_id, "step")
    runbooks.tick(step=step, done=done, user=act.user, actor=act.actor)
    return (gettext("Step %(position)s is done.") if done else gettext("Step %(position)s is open again.")) % {
        "position": step.position
    }


def _untick(act: Act) -> str:
    return _tick(act, done=False)


def _task(act: Act) -> str:
    task = todo.add_task(incident=act.incident, actor=act.actor, **act.typed)
    return (
        gettext("The task is written down for %(owner)s.") if task.owner else gettext("The task is written down.")
    ) % {"owner": task.owner}


def _assign(act: Act) -> str:
    _belongs(act, act.typed["task"].incident_id, "task")
    task = todo.assign_task(
        task=act.typed["task"], owner=act.typed["owner"], actor=act.actor, seen_owner=act.typed["seen_owner"]
    )
    return gettext("%(owner)s has the task now.") % {"owner": task.owner}


def _settled(act: Act, state: str) -> str:
    _belongs(act, act.typed["task"].incident_id, "task")
    task = todo.settle_task(task=act.typed["task"], state=state, reason=act.typed["reason"], actor=act.actor)
    return gettext("The task is %(state)s.") % {"state": task.get_state_display().lower()}


def _done(act: Act) -> str:
    return _settled(act, TaskState.DONE)


def _drop(act: Act) -> str:
    return _settled(act, TaskState.DROPPED)


VERBS: dict[str, Verb] = {
    "role": Verb("incident.respond", RoleForm, _("Hand over or take a role"), _("Hand over"), _role),
    "accept-role": Verb("incident.respond", OfferForm, _("Accept a role"), _("Accept"), _accept),
    "refuse-role": Verb("incident.respond", OfferForm, _("End the offer of a role"), _("End the offer"), _refuse),
    "time": Verb("incident.respond", TimeForm, _("Correct a time"), _("Correct it"), _time),
    "seen": Verb("view", EmptyForm, _("Say that you have seen it"), _("I have seen it"), _seen),
    "note": Verb("incident.respond", NoteForm, _("Write a note"), _("Put it on the timeline"), _note, "timeline/"),
    "amend": Verb(
        "incident.respond", AmendForm, _("Correct an event"), _("Put it beside the event"), _amend, "timeline/"
    ),
    "pin": Verb("incident.respond", EventForm, _("Pin an event"), _("Pin it"), _pin, "timeline/"),
    "unpin": Verb("incident.respond", EventForm, _("Take a pin off"), _("Take it off"), _unpin, "timeline/"),
    "runbook": Verb("incident.respond", TakeUpForm, _("Take up a runbook"), _("Take it up"), _take_up, "work/"),
    "tick": Verb("incident.respond", StepForm, _("Tick a step off"), _("It is done"), _tick, "work/"),
    "untick": Verb("incident.respond", StepForm, _("Open a step again"), _("It is open"), _untick, "work/"),
    "task": Verb("incident.respond", TaskForm, _("Add a task"), _("Add the task"), _task, "work/"),
    "assign-task": Verb("incident.respond", AssignForm, _("Give a task to somebody"), _("Give it"), _assign, "work/"),
    "task-done": Verb("incident.respond", OneTaskForm, _("A task is done"), _("It is done"), _done, "work/"),
    "drop-task": Verb("incident.respond", OneTaskForm, _("Drop a task"), _("Drop it"), _drop, "work/"),
    "roll-call": Verb("incident.respond", EmptyForm, _("Call the roll"), _("Call the roll"), _roll_call),
}
