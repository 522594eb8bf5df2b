"""Events of the log as sentences that people read. What the log holds is never changed by how it is told here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from audit import names
from audit.queries import TimelineEntry
from incidents.oncall import told as oncall

Data = Mapping[str, Any]
TIMES = {
    "impact_started_at": "impact started",
    "detected_at": "detected",
    "declared_at": "declared",
    "acknowledged_at": "acknowledged",
    "mitigated_at": "mitigated",
    "resolved_at": "resolved",
}


def _with(said: str, words: object) -> str:
    """What an outside sender wrote is not in the record, but in the entry's reason, which stands below."""
    return f"{said}: {words}" if words else said


def _moment(text: object) -> str:
    """An ISO moment as people read it; "nothing" where there was none."""
    return f"{str(text)[:19].replace('T', ' ')} UTC" if text else "nothing"


def _wave(data: Data) -> str:
    return f"Wave {data.get('wave', '')} ({data['name']})" if data.get("name") else f"Wave {data.get('wave', '')}"


ALL_SWITCHED = "All hosts have switched; the verification begins"
SWITCHED = {
    "drain": "Its hosts are out of service",
    "bring_back": "Its hosts are back in service",
    "freeze": "The endpoint is frozen",
}
SENTENCES: dict[str, Callable[[Data], str]] = {
    "incident.open": lambda d: _with("Incident opened", d.get("title")),
    "incident.evidence.freeze": lambda d: _with("Evidence frozen", d.get("claim")),
    "incident.examine": lambda d: f"Examined: {d.get('rows')} rows against {d.get('before')} before",
    "incident.join_alert": lambda d: _with("Another alert joined", d.get("summary")),
    "incident.alert_resolved": lambda d: _with("An alert no longer fires", d.get("summary")),
    "incident.alert_flaps": lambda d: f"An alert flaps and is held back: it fired {d.get('times')} times lately",
    "incident.alert_quiet": lambda d: f"An alert that flapped is quiet: it had fired {d.get('times')} times",
    "incident.acknowledge": lambda d: "Acknowledged",
    "incident.triage": lambda d: f"Triaged: severity {d.get('severity')}, it was {d.get('severity_before')}",
    "incident.set_severity": lambda d: f"Severity set from {d.get('before')} to {d.get('severity')}",
    "incident.correct_time": lambda d: (
        f"Time corrected: {TIMES.get(str(d.get('which')), d.get('which'))}, from "
        f"{_moment(d.get('before'))} to {_moment(d.get('after'))}"
    ),
    "incident.accept_role": lambda d: f"The role {d.get('role')} was accepted",
    "incident.refuse_role": lambda d: f"The offer of the role {d.get('role')} was {d.get('answer')}",
    "incident.seen": lambda d: "Said to have seen it",
    "incident.call_roll": lambda d: "The roll was called",
    "incident.note": lambda d: "Note",
    "incident.amend": lambda d: f"Correction of event {d.get('amends')}",
    "incident.pin": lambda d: f"Event {d.get('seq')} pinned",
    "incident.unpin": lambda d: f"Event {d.get('seq')} taken off the pins",
    "incident.take_up_runbook": lambda d: f"Runbook {d.get('runbook')} taken up, with {d.get('steps')} steps",
    "incident.tick": lambda d: f"Step {d.get('step')} of runbook {d.get('runbook')} done",
    "incident.untick": lambda d: f"Step {d.get('step')} of runbook {d.get('runbook')} open again",
    "incident.add_task": lambda d: "Task added",
    "incident.assign_task": lambda d: f"Task {d.get('task')} given to somebody",
    "incident.settle_task": lambda d: f"Task {d.get('task')} {d.get('state')}",
    "incident.post_update": lambda d: "Update posted",
    "incident.move": lambda d: f"Moved from {d.get('from')} to {d.get('to')}",
    "incident.reopen": lambda d: f"Reopened, from {d.get('from')} to {d.get('to')}",
    "status.post": lambda d: f"Status page told: {d.get('status')}",
    "review.draft": lambda d: "Review drafted from the evidence",
    "review.edit": lambda d: "Review edited",
    "review.add_action_item": lambda d: "Action item added",
    "review.finish_action_item": lambda d: "Action item done",
    "review.set_causes": lambda d: f"Causes named: {', '.join(d.get('causes', [])).replace('_', ' ') or 'none'}",
    "review.ask": lambda d: f"Somebody was asked for the {str(d.get('kind')).replace('_', '-')}",
    "review.answer": lambda d: f"Answer to the {str(d.get('kind')).replace('_', '-')}: {d.get('answer')}",
    "review.remind": lambda d: (
        f"The owner of action item {d['item']} was reminded: {d.get('stage')}"
        if d.get("item")
        else "Somebody was reminded of an answer that is waited for"
    ),
    "incident.remind": lambda d: "Who speaks to the readers was reminded: the next update is late",
    "review.publish": lambda d: "Review published with the log's checkpoint",
    "approval.open": lambda d: "Approval asked for",
    "approval.decide": lambda d: f"Decision on the plan: {d.get('decision')}",
    "approval.break_glass": lambda d: "Glass broken: the plan may start without its approvals",
    "approval.break_glass.review": lambda d: f"Break-glass reviewed: {str(d.get('verdict', '')).replace('_', ' ')}",
    "approval.break_glass.overdue": lambda d: "The review of the break-glass is overdue",
    "approval.break_glass.lock": lambda d: "Nobody can break glass any more until it is reviewed",
    "approval.consume": lambda d: "The approvals were used to start the plan",
    "rollback.plan.propose": lambda d: f"Plan proposed to {d.get('kind', 'change')} {d.get('endpoint', '')}",
    "rollback.plan.void": lambda d: "The plan was given up",
    "rollback.run.start": lambda d: "The run started",
    "rollback.ranking.answer": lambda d: "Targets ranked and replayed on the incident's traffic",
    "version.compose.order": lambda d: "A part of a version was asked for",
    "version.compose": lambda d: "A version was composed of two",
    "rollback.rehearsal.order": lambda d: f"Rehearsal of a composed version ordered on {d.get('endpoint')}",
    "rollback.rehearsal.fail": lambda d: f"The rehearsal on {d.get('endpoint')} did not succeed",
    "version.rehearse": lambda d: "The composed version was rehearsed and has its expected outputs now",
    "rollback.preflight.order": lambda d: "Preflight ordered",
    "rollback.preflight.answer": lambda d: "Preflight answered",
    "rollback.gate.answer": lambda d: f"Gate answered: {d.get('answer', '')}",
    "rollback.shadow.answer": lambda d: f"The version asked beside what answers was compared: {d.get('answer', '')}",
    "deployment.switch": lambda d: f"{d.get('host')} serves version {d.get('number')} from now on",
    "rollback.wave.start": lambda d: f"{_wave(d)} begins on {', '.join(d.get('hosts', []))}",
    "rollback.wave.switch": lambda d: f"{_wave(d)}: its hosts have switched",
    "rollback.wave.done": lambda d: f"{_wave(d)} has passed its gate",
    "rollback.wave.fail": lambda d: f"{_wave(d)} did not pass its gate",
    "rollback.run.switched": lambda d: SWITCHED.get(d.get("outcome", ""), ALL_SWITCHED),
    "rollback.run.pause": lambda d: "The run was paused",
    "rollback.watch.pass": lambda d: "The change is verified under live traffic",
    "rollback.watch.fail": lambda d: "The verification did not succeed",
    "rollback.watch.hold": lambda d: "The verification waits for a person",
    "approval.automatic": lambda d: "The plan may start by itself, as its policy allows",
    "practice.automatic.decline": lambda d: "Not rolled back by itself yet",
    "practice.automatic.ask": lambda d: "A rollback was prepared, and people are asked",
    "practice.automatic.propose": lambda d: f"A rollback was proposed by rule {d.get('rule')} of {d.get('model')}",
    "practice.automatic.start": lambda d: f"The rollback starts by itself, by rule {d.get('rule')} of {d.get('model')}",
    "practice.automatic.leave": lambda d: "The rule leaves it to people",
    "practice.by_hand": lambda d: f"Done by hand on {d.get('host')} at {d.get('at')}",
    "practice.rule.trip": lambda d: "The rule has tripped: nothing starts by itself until a person arms it again",
    "rollback.watch.sign_off": lambda d: "Verification signed off by a person",
}
STEPS = {
    "locked": "taken for this run",
    "preflight": "checked",
    "stage": "files in place",
    "load": "version in memory",
    "unload": "version out of memory again",
    "golden": "golden test passed",
    "switch": "switched",
    "postcheck": "checked after the switch",
    "done": "done",
}
OUTCOMES = {"denied": "refused", "failed": "failed", "intent": "begins"}


@dataclass(frozen=True)
class Told:
    """An entry with what it says and by whom, as `parts/timeline_item.html` takes it."""

    entry: TimelineEntry
    text: str
    actor: str


def tell(entries: list[TimelineEntry]) -> list[Told]:
    """The entries as sentences, with the names that the pseudonyms stand for now. One query for any number."""
    people = {entry.actor for entry in entries}
    people |= {one for entry in entries for one in oncall.people_in(entry.data)}
    called = names.display(people)
    return [Told(entry, _text(entry, called), called.get(entry.actor, entry.actor)) for entry in entries]


def _text(entry: TimelineEntry, called: Mapping[str, str]) -> str:
    data = entry.data
    if entry.action == "incident.offer_role":
        holder = called.get(str(data.get("holder")), str(data.get("holder")))
        return f"The role {data.get('role')} is offered to {holder}"
    if entry.action == "incident.hold_role":
        holder = called.get(str(data.get("holder")), str(data.get("holder")))
        return f"{holder} is {data.get('role')} now"
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
    ending = {"intent": "is about to begin", "failed": "failed", "denied": "was refused"}.get(entry.outcome, "is done")
    return f"{host}: {verb} {ending}"


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
