"""Events of the log as sentences that people read. What the log holds is never changed by how it is told here."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import User
from audit import names
from audit.queries import TimelineEntry
from incidents.oncall import told as oncall

Data = Mapping[str, Any]
TIMES = {
    "impact_started_at": gettext_lazy("impact started"),
    "detected_at": gettext_lazy("detected"),
    "declared_at": gettext_lazy("declared"),
    "acknowledged_at": gettext_lazy("acknowledged"),
    "mitigated_at": gettext_lazy("mitigated"),
    "resolved_at": gettext_lazy("resolved"),
}


def _with(said: str, words: object) -> str:
    """What an outside sender wrote is not in the record, but in the entry's reason, which stands below."""
    return f"{said}: {words}" if words else said


def _moment(text: object) -> str:
    """An ISO moment as people read it; "nothing" where there was none."""
    return f"{str(text)[:19].replace('T', ' ')} UTC" if text else _("nothing")


def _wave(data: Data) -> str:
    return (
        _("Wave %(wave)s (%(name)s)") % {"wave": data.get("wave", ""), "name": data["name"]}
        if data.get("name")
        else _("Wave %(wave)s") % {"wave": data.get("wave", "")}
    )


ALL_SWITCHED = gettext_lazy("All hosts have switched; the verification begins")
SWITCHED = {
    "drain": gettext_lazy("Its hosts are out of service"),
    "bring_back": gettext_lazy("Its hosts are back in service"),
    "freeze": gettext_lazy("The endpoint is frozen"),
}
SENTENCES: dict[str, Callable[[Data], str]] = {
    "incident.open": lambda d: _with(_("Incident opened"), d.get("title")),
    "incident.evidence.freeze": lambda d: _with(_("Evidence frozen"), d.get("claim")),
    "incident.examine": lambda d: (
        _("Examined: %(rows)s rows against %(before)s before") % {"rows": d.get("rows"), "before": d.get("before")}
    ),
    "incident.join_alert": lambda d: _with(_("Another alert joined"), d.get("summary")),
    "incident.alert_resolved": lambda d: _with(_("An alert no longer fires"), d.get("summary")),
    "incident.alert_flaps": lambda d: (
        _("An alert flaps and is held back: it fired %(times)s times lately") % {"times": d.get("times")}
    ),
    "incident.alert_quiet": lambda d: (
        _("An alert that flapped is quiet: it had fired %(times)s times") % {"times": d.get("times")}
    ),
    "incident.acknowledge": lambda d: _("Acknowledged"),
    "incident.triage": lambda d: (
        _("Triaged: severity %(severity)s, it was %(severity_before)s")
        % {"severity": d.get("severity"), "severity_before": d.get("severity_before")}
    ),
    "incident.set_severity": lambda d: (
        _("Severity set from %(before)s to %(severity)s") % {"before": d.get("before"), "severity": d.get("severity")}
    ),
    "incident.correct_time": lambda d: (
        _("Time corrected: %(which)s, from %(before)s to %(after)s")
        % {
            "which": TIMES.get(str(d.get("which")), d.get("which")),
            "before": _moment(d.get("before")),
            "after": _moment(d.get("after")),
        }
    ),
    "incident.accept_role": lambda d: _("The role %(role)s was accepted") % {"role": d.get("role")},
    "incident.refuse_role": lambda d: (
        _("The offer of the role %(role)s was %(answer)s") % {"role": d.get("role"), "answer": d.get("answer")}
    ),
    "incident.seen": lambda d: _("Said to have seen it"),
    "incident.call_roll": lambda d: _("The roll was called"),
    "incident.note": lambda d: _("Note"),
    "incident.amend": lambda d: _("Correction of event %(amends)s") % {"amends": d.get("amends")},
    "incident.pin": lambda d: _("Event %(seq)s pinned") % {"seq": d.get("seq")},
    "incident.unpin": lambda d: _("Event %(seq)s taken off the pins") % {"seq": d.get("seq")},
    "incident.take_up_runbook": lambda d: (
        _("Runbook %(runbook)s taken up, with %(steps)s steps") % {"runbook": d.get("runbook"), "steps": d.get("steps")}
    ),
    "incident.tick": lambda d: (
        _("Step %(step)s of runbook %(runbook)s done") % {"step": d.get("step"), "runbook": d.get("runbook")}
    ),
    "incident.untick": lambda d: (
        _("Step %(step)s of runbook %(runbook)s open again") % {"step": d.get("step"), "runbook": d.get("runbook")}
    ),
    "incident.add_task": lambda d: _("Task added"),
    "incident.assign_task": lambda d: _("Task %(task)s given to somebody") % {"task": d.get("task")},
    "incident.settle_task": lambda d: _("Task %(task)s %(state)s") % {"task": d.get("task"), "state": d.get("state")},
    "incident.post_update": lambda d: _("Update posted"),
    "incident.move": lambda d: _("Moved from %(from)s to %(to)s") % {"from": d.get("from"), "to": d.get("to")},
    "incident.reopen": lambda d: _("Reopened, from %(from)s to %(to)s") % {"from": d.get("from"), "to": d.get("to")},
    "status.post": lambda d: _("Status page told: %(status)s") % {"status": d.get("status")},
    "review.draft": lambda d: _("Review drafted from the evidence"),
    "review.edit": lambda d: _("Review edited"),
    "review.add_action_item": lambda d: _("Action item added"),
    "review.finish_action_item": lambda d: _("Action item done"),
    "review.set_causes": lambda d: (
        _("Causes named: %(causes)s") % {"causes": ", ".join(d.get("causes", [])).replace("_", " ") or _("none")}
    ),
    "review.ask": lambda d: _("Somebody was asked for the %(kind)s") % {"kind": str(d.get("kind")).replace("_", "-")},
    "review.answer": lambda d: (
        _("Answer to the %(kind)s: %(answer)s")
        % {"kind": str(d.get("kind")).replace("_", "-"), "answer": d.get("answer")}
    ),
    "review.remind": lambda d: (
        _("The owner of action item %(item)s was reminded: %(stage)s") % {"item": d["item"], "stage": d.get("stage")}
        if d.get("item")
        else _("Somebody was reminded of an answer that is waited for")
    ),
    "incident.remind": lambda d: _("Who speaks to the readers was reminded: the next update is late"),
    "review.publish": lambda d: _("Review published with the log's checkpoint"),
    "approval.open": lambda d: _("Approval asked for"),
    "approval.decide": lambda d: _("Decision on the plan: %(decision)s") % {"decision": d.get("decision")},
    "approval.break_glass": lambda d: _("Glass broken: the plan may start without its approvals"),
    "approval.break_glass.review": lambda d: (
        _("Break-glass reviewed: %(verdict)s") % {"verdict": str(d.get("verdict", "")).replace("_", " ")}
    ),
    "approval.break_glass.overdue": lambda d: _("The review of the break-glass is overdue"),
    "approval.break_glass.lock": lambda d: _("Nobody can break glass any more until it is reviewed"),
    "approval.consume": lambda d: _("The approvals were used to start the plan"),
    "rollback.plan.propose": lambda d: (
        _("Plan proposed to %(kind)s %(endpoint)s")
        % {"kind": d.get("kind", "change"), "endpoint": d.get("endpoint", "")}
    ),
    "rollback.plan.void": lambda d: _("The plan was given up"),
    "rollback.run.start": lambda d: _("The run started"),
    "rollback.ranking.answer": lambda d: _("Targets ranked and replayed on the incident's traffic"),
    "version.compose.order": lambda d: _("A part of a version was asked for"),
    "version.compose": lambda d: _("A version was composed of two"),
    "rollback.rehearsal.order": lambda d: (
        _("Rehearsal of a composed version ordered on %(endpoint)s") % {"endpoint": d.get("endpoint")}
    ),
    "rollback.rehearsal.fail": lambda d: (
        _("The rehearsal on %(endpoint)s did not succeed") % {"endpoint": d.get("endpoint")}
    ),
    "version.rehearse": lambda d: _("The composed version was rehearsed and has its expected outputs now"),
    "rollback.preflight.order": lambda d: _("Preflight ordered"),
    "rollback.preflight.answer": lambda d: _("Preflight answered"),
    "rollback.gate.answer": lambda d: _("Gate answered: %(answer)s") % {"answer": d.get("answer", "")},
    "rollback.shadow.answer": lambda d: (
        _("The version asked beside what answers was compared: %(answer)s") % {"answer": d.get("answer", "")}
    ),
    "deployment.switch": lambda d: (
        _("%(host)s serves version %(number)s from now on") % {"host": d.get("host"), "number": d.get("number")}
    ),
    "rollback.wave.start": lambda d: (
        _("%(wave)s begins on %(hosts)s") % {"wave": _wave(d), "hosts": ", ".join(d.get("hosts", []))}
    ),
    "rollback.wave.switch": lambda d: _("%(wave)s: its hosts have switched") % {"wave": _wave(d)},
    "rollback.wave.done": lambda d: _("%(wave)s has passed its gate") % {"wave": _wave(d)},
    "rollback.wave.fail": lambda d: _("%(wave)s did not pass its gate") % {"wave": _wave(d)},
    "rollback.run.switched": lambda d: str(SWITCHED.get(d.get("outcome", ""), ALL_SWITCHED)),
    "rollback.run.pause": lambda d: _("The run was paused"),
    "rollback.watch.pass": lambda d: _("The change is verified under live traffic"),
    "rollback.watch.fail": lambda d: _("The verification did not succeed"),
    "rollback.watch.hold": lambda d: _("The verification waits for a person"),
    "approval.automatic": lambda d: _("The plan may start by itself, as its policy allows"),
    "practice.automatic.decline": lambda d: _("Not rolled back by itself yet"),
    "practice.automatic.ask": lambda d: _("A rollback was prepared, and people are asked"),
    "practice.automatic.propose": lambda d: (
        _("A rollback was proposed by rule %(rule)s of %(model)s") % {"rule": d.get("rule"), "model": d.get("model")}
    ),
    "practice.automatic.start": lambda d: (
        _("The rollback starts by itself, by rule %(rule)s of %(model)s")
        % {"rule": d.get("rule"), "model": d.get("model")}
    ),
    "practice.automatic.leave": lambda d: _("The rule leaves it to people"),
    "practice.by_hand": lambda d: _("Done by hand on %(host)s at %(at)s") % {"host": d.get("host"), "at": d.get("at")},
    "practice.rule.trip": lambda d: _("The rule has tripped: nothing starts by itself until a person arms it again"),
    "rollback.watch.sign_off": lambda d: _("Verification signed off by a person"),
}
STEPS = {
    "locked": gettext_lazy("taken for this run"),
    "preflight": gettext_lazy("checked"),
    "stage": gettext_lazy("files in place"),
    "load": gettext_lazy("version in memory"),
    "unload": gettext_lazy("version out of memory again"),
    "golden": gettext_lazy("golden test passed"),
    "switch": gettext_lazy("switched"),
    "postcheck": gettext_lazy("checked after the switch"),
    "done": gettext_lazy("done"),
}
OUTCOMES = {"denied": gettext_lazy("refused"), "failed": gettext_lazy("failed"), "intent": gettext_lazy("begins")}


@dataclass(frozen=True)
class Told:
    """An entry with what it says and by whom, as `parts/timeline_item.html` takes it."""

    entry: TimelineEntry
    text: str
    actor: str


def tell(entries: list[TimelineEntry], known: Iterable[User] = ()) -> list[Told]:
    """The entries as sentences, with the names that the pseudonyms stand for now. One query for any number; none where
    all people of them are among the `known`, whom the caller has read."""
    people = {entry.actor for entry in entries}
    people |= {one for entry in entries for one in oncall.people_in(entry.data)}
    called = {user.pseudonym: str(user) for user in known}
    called |= names.display(people - called.keys())
    return [Told(entry, _text(entry, called), called.get(entry.actor, entry.actor)) for entry in entries]


def _text(entry: TimelineEntry, called: Mapping[str, str]) -> str:
    data = entry.data
    if entry.action == "incident.offer_role":
        holder = called.get(str(data.get("holder")), str(data.get("holder")))
        return _("The role %(role)s is offered to %(holder)s") % {"role": data.get("role"), "holder": holder}
    if entry.action == "incident.hold_role":
        holder = called.get(str(data.get("holder")), str(data.get("holder")))
        return _("%(holder)s is %(role)s now") % {"holder": holder, "role": data.get("role")}
    if entry.action in oncall.SENTENCES:
        return oncall.SENTENCES[entry.action](data, called)
    if entry.action.startswith(("rollback.step.", "rollback.prepare.")):
        return _step(entry)
    said = SENTENCES.get(entry.action)
    text = said(data) if said else entry.action.replace(".", " ").replace("_", " ").capitalize()
    return f"{text} ({OUTCOMES[entry.outcome]})" if entry.outcome in OUTCOMES else text


def _step(entry: TimelineEntry) -> str:
    data = entry.data
    host = data.get("host", entry.target)
    verb = str(data.get("step") or data.get("to") or data.get("state") or "step").replace("_", " ")
    if entry.outcome == "success" and verb in STEPS:
        return f"{host}: {STEPS[verb]}"
    said = {
        "intent": _("%(host)s: %(step)s is about to begin"),
        "failed": _("%(host)s: %(step)s failed"),
        "denied": _("%(host)s: %(step)s was refused"),
    }.get(entry.outcome, _("%(host)s: %(step)s is done"))
    return said % {"host": host, "step": verb}


@dataclass(frozen=True)
class Moment:
    """A line of an exported timeline."""

    at: datetime
    who: str
    what: str
    why: str
    leaf: int | None


def moments(entries: list[TimelineEntry]) -> list[Moment]:
    """The entries for an export, oldest first, in which the reader can't follow links."""
    return [
        Moment(told.entry.occurred_at, told.actor, told.text, told.entry.reason, told.entry.leaf_index)
        for told in tell(entries)
    ]
