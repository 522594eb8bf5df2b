"""Acts on a host: observe, commit the intent, call, read back, record the outcome. And how a step is moved on, each
time with its events in the same commit."""

import datetime
import logging
from collections.abc import Callable, Mapping
from typing import Any

from django.db import transaction
from django.db.models import F

from audit.actions import Target, record
from audit.clock import database_now
from incidents.rollback import fleet
from incidents.rollback.alone import alone
from incidents.rollback.checks import Answered, keep
from incidents.rollback.models import CheckAnswer, HostStep, StepState
from incidents.rollback.state import change, move
from incidents.rollback.work import StepFailed, StepWaits, Work
from registry.actions import record_switch
from registry.models import Deployment, Version
from registry.serving.base import HostUnreachable, ModelObservation, OutcomeUnknown, Refused

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
CALL_SECONDS = {
    "stage": 600, "load": 600, "switch": 12, "restore": 12, "drain": 12, "unload": 45, "share": 12, "bring_back": 12,
    "shadow": 12, "end_shadow": 12,
}  # fmt: skip
STEERED = ("drain", "share", "bring_back", "shadow", "end_shadow")
NAMES = {StepState.STAGED: "stage", StepState.LOADED: "load"}
"""How the act is called that reaches a state."""


def effect(
    work: Work,
    step: HostStep,
    *,
    name: str,
    holds: Callable[[ModelObservation], bool],
    call: Callable[[], None],
    also: Callable[[], None] | None = None,
) -> None:
    """An edge that changes the host: true already, or intent, call, read back, outcome."""
    note = _called(work, step, name, holds, call, None)
    _outcome(work, step, name, note, also)


def act(
    work: Work,
    step: HostStep,
    *,
    name: str,
    holds: Callable[[ModelObservation], bool],
    call: Callable[[], None],
    version: Version | None = None,
    **fields: Any,
) -> None:
    """A change of the host on the way to an edge: the same, but the step stays in its state. `fields` are set on it."""
    note = _called(work, step, name, holds, call, version)
    with transaction.atomic():
        change(step, intent="", intent_deadline=None, attempts=0, **fields)
        data = {"step": name, "state": step.state, "note": note, **_named(version)}
        record_step(work, step, "rollback.step.outcome", data=data)


def bring(work: Work, step: HostStep, version: Version) -> None:
    """A version other than the target staged on the host and loaded, two acts of a step that stays in its state."""
    remote, reads_back = work.remote(step), work.reads_back(step)
    act(
        work, step, name="stage", call=lambda: remote.stage(version), version=version,
        holds=lambda seen: fleet.is_staged(seen, version),
    )  # fmt: skip
    act(
        work, step, name="load", call=lambda: remote.load(version), version=version,
        holds=lambda seen: fleet.is_loaded(seen, version, read_back=reads_back),
    )  # fmt: skip


def _called(
    work: Work,
    step: HostStep,
    name: str,
    holds: Callable[[ModelObservation], bool],
    call: Callable[[], None],
    version: Version | None,
) -> str:
    """Bring about what `holds` asks for; the note for the outcome."""
    seen = work.look(step, anew=bool(step.intent))
    if holds(seen):
        return "proven by reading back" if step.intent == name else "was so already"
    _may_call(work, step, name, seen, version or work.target)
    with alone(work.remote(step), name) as mine:
        if not mine:
            raise StepWaits(0.5)
        _call(work, step, name, call, version)
    if not holds(work.look(step, anew=True)):
        raise StepFailed(
            f"{step.host.name} answered {name} with success, but reading it back shows otherwise. Take the host out."
        )
    return ""


def _call(work: Work, step: HostStep, name: str, call: Callable[[], None], version: Version | None) -> None:
    """The intent, committed, and the call."""
    _intend(work, step, name, version)
    work.known.seen.pop(step.host_id, None)
    try:
        call()
    except OutcomeUnknown as error:
        logger.warning("rollback.step.unknown run=%s host=%s step=%s", work.run.id, step.host.name, name)
        raise StepWaits(1.0) from error
    except Refused as error:
        _refused(work, step, name, error)
        raise
    except HostUnreachable:
        change(step, intent="", intent_deadline=None)
        raise


def _may_call(work: Work, step: HostStep, name: str, seen: ModelObservation, version: Version) -> None:
    """Whether the act may be called (again), after the host was observed not to be there yet."""
    held = fleet.version_on(seen, version)
    if name == "load" and held is not None and held.state == "loading":
        since = datetime.datetime.fromisoformat(step.marks[step.state])
        if database_now() - since > 2 * datetime.timedelta(seconds=CALL_SECONDS["load"]):
            raise StepFailed(f"{step.host.name} is still loading version {version.number}. Look at the host.")
        raise StepWaits(0.5)
    if name == "load" and held is not None and held.state == "failed" and step.intent == "load":
        raise StepFailed(f"{step.host.name} could not load version {version.number}: {held.reason}")
    if step.intent != name:
        return
    # Under one fence a host takes the same act twice as once; elsewhere an earlier call may still be on its way.
    repeatable = work.remote(step).driver.capabilities.fencing
    deadline = step.intent_deadline
    left = (deadline - database_now()).total_seconds() if deadline is not None else 0.0
    if left > 0 and not repeatable:
        raise StepWaits(min(1.0, left))
    if step.attempts >= MAX_ATTEMPTS:
        raise StepFailed(f"{step.host.name} did not {name} in {step.attempts} attempts. Look at the host.")


def _intend(work: Work, step: HostStep, name: str, version: Version | None) -> None:
    with transaction.atomic():
        now = work.lease.share()
        counter = "switch_calls" if name == "switch" else "steer_calls" if name in STEERED else ""
        counted: dict[str, Any] = {counter: F(counter) + 1} if counter else {}
        deadline = now + datetime.timedelta(seconds=CALL_SECONDS[name])
        attempts = F("attempts") + 1 if step.intent == name else 1
        change(step, intent=name, intent_deadline=deadline, attempts=attempts, **counted)
        record_step(
            work,
            step,
            "rollback.step.intent",
            outcome="intent",
            data={"step": name, "attempt": step.attempts, "deadline": deadline, **_named(version)},
        )


def _outcome(work: Work, step: HostStep, name: str, note: str, also: Callable[[], None] | None) -> None:
    """The edge has been read back from the host. Recorded even when the lease went meanwhile: it has happened."""
    after = StepState.RESTORED if step.state == StepState.COMPENSATING else next_state(work, step)
    with transaction.atomic():
        _move_on(step, {after: note}, at=database_now())
        if also is not None:
            also()
        record_step(work, step, "rollback.step.outcome", data={"step": name, "state": after, "note": note})


def _refused(work: Work, step: HostStep, name: str, error: Refused) -> None:
    with transaction.atomic():
        change(step, intent="", intent_deadline=None)
        data = {"step": name, "status": error.status, "type": error.type}
        record_step(work, step, "rollback.step.outcome", outcome="failed", data=data, reason=error.detail)


def pass_on(work: Work, step: HostStep, notes: Mapping[str, str], **fields: Any) -> None:
    """Edges without an effect on the host, by the state that each reaches, with its note: one look has shown them all,
    and one commit records them."""
    with transaction.atomic():
        _move_on(step, notes, at=work.lease.check(), **fields)
        for after, note in notes.items():
            data = {"step": NAMES.get(StepState(after), after), "state": after, "note": note}
            record_step(work, step, "rollback.step.outcome", data=data)


def judge_by(work: Work, step: HostStep, stage: str, answered: Answered) -> None:
    """An edge that is a question: only a pass goes on."""
    if answered.answer != CheckAnswer.PASS:
        with transaction.atomic():
            keep(run=work.run, stage=stage, wave=step.wave, answers=[answered])
        raise StepFailed(f"{answered.question} No: {answered.observed}.")
    with transaction.atomic():
        now, after = work.lease.check(), next_state(work, step)
        _move_on(step, {after: answered.observed}, at=now)
        keep(run=work.run, stage=stage, wave=step.wave, answers=[answered])
        record_step(work, step, "rollback.step.outcome", data={"step": stage, "state": after, "check": answered.facts})


def book_switch(work: Work, step: HostStep, version: Version) -> None:
    """Enter into the registry what the host was read back to serve; a span that is open already stays."""
    live = Deployment.objects.filter(endpoint=work.run.endpoint, host=step.host, until=None, version=version)
    if live.exists():
        return
    record_switch(
        endpoint=work.run.endpoint,
        host=step.host,
        version=version,
        cause=work.run.plan.kind,
        run_ref=str(work.run.id),
        incident_ref=work.run.plan.incident_ref,
        gates_off=work.document.gates_off,
        actor=work.actor,
    )


def _move_on(step: HostStep, notes: Mapping[str, str], *, at: datetime.datetime, **fields: Any) -> None:
    """To the last of these states, by way of the others."""
    *_, after = notes
    marks = step.marks | dict.fromkeys(notes, at.isoformat())
    kept = step.notes | {state: note[:300] for state, note in notes.items()}
    move(step, after, marks=marks, notes=kept, intent="", intent_deadline=None, attempts=0, **fields)


def states_ahead(work: Work, step: HostStep) -> list[str]:
    """The states of the step's path that are still to come."""
    path = work.document.path_of(step.host.name)
    return path[path.index(step.state) + 1 :]


def next_state(work: Work, step: HostStep) -> str:
    return states_ahead(work, step)[0]


def _named(version: Version | None) -> dict[str, str]:
    """The version that an event is about, where it is not the one that the step is on its way to."""
    return {"version": version.digest} if version is not None else {}


def _meant(work: Work, step: HostStep) -> Version:
    going_back = step.state in (StepState.COMPENSATING, StepState.RESTORED)
    return work.origin if going_back and work.origin is not None else work.target


def record_step(
    work: Work, step: HostStep, action: str, *, data: dict[str, Any], outcome: str = "success", reason: str = ""
) -> None:
    record(
        action=action,
        target=Target("host", step.host.name),
        actor=work.actor,
        incident=work.run.plan.incident_ref,
        outcome=outcome,
        reason=reason,
        data={
            "run": str(work.run.id),
            "plan_hash": work.run.plan.plan_hash,
            "host": step.host.name,
            "fence": work.run.fence,
            "version": _meant(work, step).digest,
            **data,
        },
    )
