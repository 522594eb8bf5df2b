"""The edges that change where requests go: a host taken out of service and brought back, a version that takes a share.

Where memory holds one version only, the host is out of service while it is replaced; a canary of the strategy
`weighted` takes more and more of its host's requests. docs/engines.md says which engines can do what.
"""

import datetime
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from django.db import transaction

from audit.clock import database_now
from incidents.rollback import fleet, gates
from incidents.rollback.checks import Answered, compared_errors, keep, verdict
from incidents.rollback.effects import act, book_switch, effect
from incidents.rollback.models import CheckAnswer, HostStep, StepState
from incidents.rollback.state import change
from incidents.rollback.steps import finish, switch
from incidents.rollback.work import StepFailed, StepWaits, Work
from registry import actions
from registry.actions import RegistryError
from registry.models import Host, Placement, Version
from registry.serving.base import ModelObservation

S = StepState
QUIET_SECONDS = 2.0
LOOK_AGAIN_SECONDS = 0.25


def _barred(work: Work, seen: ModelObservation) -> bool:
    """The host has seen this run's fence, so that no late call of an earlier run can act on it."""
    return seen.fence >= work.run.fence


def _leave_service(work: Work, step: HostStep) -> None:
    """Out of service, unless the host serves the target already: there is nothing to replace then."""
    remote = work.remote(step)
    effect(
        work,
        step,
        name="drain",
        holds=lambda seen: (
            (not seen.in_service and _barred(work, seen))
            or fleet.serves(seen, work.target, read_back=work.reads_back(step))
        ),
        call=lambda: remote.set_service(False, work.run.fence),
    )


def _empty(work: Work, step: HostStep) -> None:
    """Unload what was served, once requests have ceased to come, or the plan's patience with them is over."""
    remote, seen = work.remote(step), work.look(step)
    leaving = [work.origin] if work.origin is not None else _held_beside(work, seen)
    if leaving and not fleet.serves(seen, work.target, read_back=work.reads_back(step)):
        _wait_until_quiet(work, step, seen, leaving[0])

    def gone(seen: ModelObservation) -> bool:
        serves = fleet.serves(seen, work.target, read_back=work.reads_back(step))
        return serves or not any(fleet.is_loaded(seen, version, read_back=False) for version in leaving)

    def unload() -> None:
        for version in leaving:
            remote.unload(version)

    effect(work, step, name="unload", holds=gone, call=unload)


def _held_beside(work: Work, seen: ModelObservation) -> list[Version]:
    """What takes the target's room on a host that is converged, what is served first: its plan leaves no version."""
    held = [state.digest for state in seen.versions.values() if state.state == "ready"]
    versions = Version.objects.filter(model=work.run.endpoint.model_id, digest__in=held).exclude(pk=work.target.pk)
    return sorted(versions, key=lambda version: version.digest != seen.default_digest)


def _wait_until_quiet(work: Work, step: HostStep, seen: ModelObservation, origin: Version) -> None:
    held = fleet.version_on(seen, origin)
    if held is None or held.state != "ready":
        return
    now = database_now()
    if held.in_flight or step.baseline.get("seen") != held.requests:
        change(step, baseline={"seen": held.requests, "since": now.isoformat()})
    quiet = (now - datetime.datetime.fromisoformat(step.baseline["since"])).total_seconds()
    waited = (now - datetime.datetime.fromisoformat(step.marks[S.DRAINED])).total_seconds()
    if quiet < QUIET_SECONDS and waited < float(work.document.body["drain_seconds"]):
        raise StepWaits(LOOK_AGAIN_SECONDS)


def _begin_share(work: Work, step: HostStep) -> None:
    """The target takes the first share of the host's requests."""
    remote, percent = work.remote(step), work.document.shares[0]
    effect(
        work,
        step,
        name="share",
        holds=lambda seen: _has_share(work, seen, percent) or _all_of_it(work, step, seen),
        call=lambda: remote.share(work.target, percent, work.run.fence),
        also=lambda: _note_share(work, step, percent),
    )


def _grow_share(work: Work, step: HostStep) -> None:
    """After the time and the questions of a share the next one, after the last one all of the requests."""
    if _all_of_it(work, step, work.look(step)):
        switch(work, step)
        return
    _ask_share(work, step)
    percent = int(step.baseline["share"])
    larger = next((share for share in work.document.shares if share > percent), None)
    if larger is None:
        switch(work, step)
        return
    remote = work.remote(step)
    act(
        work,
        step,
        name="share",
        holds=lambda seen: _has_share(work, seen, larger),
        call=lambda: remote.share(work.target, larger, work.run.fence),
    )
    _note_share(work, step, larger)


def _has_share(work: Work, seen: ModelObservation, percent: int) -> bool:
    share = seen.share
    return share is not None and share.digest == work.target.digest and share.percent >= percent and _barred(work, seen)


def _all_of_it(work: Work, step: HostStep, seen: ModelObservation) -> bool:
    return seen.share is None and fleet.serves(seen, work.target, read_back=work.reads_back(step))


def _note_share(work: Work, step: HostStep, percent: int) -> None:
    """From when, and from which counters on, the share is judged."""
    seen = work.look(step)
    kept = {name: told for name, told in step.baseline.items() if name == "shadow"}
    baseline: dict[str, Any] = {
        **kept,
        "share": percent,
        "since": database_now().isoformat(),
        **_counted(seen, work.target),
        "beside": _counted(seen, work.origin) if work.origin is not None else None,
    }
    change(step, baseline=baseline, notes={**step.notes, S.SHARED: f"{percent} % of its requests"})


def _counted(seen: ModelObservation, version: Version) -> dict[str, int]:
    held = fleet.version_on(seen, version)
    return {"requests": held.requests if held else 0, "failures": held.failures if held else 0}


def _ask_share(work: Work, step: HostStep) -> None:
    """The gate's questions of the host with its share. Raises StepWaits, and StepFailed for what does not pass."""
    now, percent = database_now(), step.baseline["share"]
    due = datetime.datetime.fromisoformat(step.baseline["since"]) + datetime.timedelta(
        seconds=work.document.wave_soak_seconds
    )
    if now < due:
        raise StepWaits((due - now).total_seconds())
    seen = work.look(step, anew=True)
    if not _has_share(work, seen, int(percent)) or not fleet.is_loaded(seen, work.target):
        raise StepFailed(f"{step.host.name} lost the version that takes {percent} % of its requests. Look at the host.")
    answers = _answers(work, step, seen)
    with transaction.atomic():
        keep(run=work.run, stage="share", wave=step.wave, answers=answers)
    found = verdict(answers)
    if found == CheckAnswer.PASS:
        return
    worst = next(answered for answered in answers if answered.answer == found)
    patient = now < due + datetime.timedelta(seconds=work.document.gate_patience_seconds)
    if worst.wait and patient:
        raise StepWaits(LOOK_AGAIN_SECONDS)
    raise StepFailed(f"{worst.question} {found.label} with {percent} % of the requests: {worst.observed}.")


def _answers(work: Work, step: HostStep, seen: ModelObservation) -> list[Answered]:
    answers: list[Answered] = []
    if (gate := work.document.gate("errors")) is not None:
        answers.append(gates.errors_of(work, step, seen, gate, fresh=True))
        if verdict(answers) == CheckAnswer.INCONCLUSIVE:
            answers += _beside(work, step, seen, gate)
    if verdict(answers) == CheckAnswer.PASS:
        answers += gates.latency_of(work, step) or []
    return answers


def _beside(work: Work, step: HostStep, seen: ModelObservation, gate: dict[str, str]) -> list[Answered]:
    """Failures that are too few to tell by themselves are held against those of the version that has the other
    requests. Not asked without a failure, or where a host that was restarted has begun to count anew."""
    if work.origin is None or not step.baseline.get("beside"):
        return []
    now = [_counted(seen, version) for version in (work.target, work.origin)]
    since = [{name: int(step.baseline[name]) for name in now[0]}, step.baseline["beside"]]
    new, old = ({name: a[name] - b[name] for name in a} for a, b in zip(now, since, strict=True))
    if new["failures"] <= 0 or min(*new.values(), *old.values()) < 0:
        return []
    where = f"version {work.target.number} on {step.host.name}"
    return [compared_errors(new=new, old=old, max_more=Decimal(gate["max_share"]), host=step.host, where=where)]


def _mark_drained(host: Host, reason: str, work: Work) -> None:
    if Host.objects.filter(pk=host.pk, drained_at=None).exists():
        actions.drain(host=host, reason=reason, actor=work.actor)


def _mark_back(host: Host, reason: str, work: Work) -> None:
    try:
        actions.bring_back(host=host, reason=reason, actor=work.actor)
    except RegistryError:
        return  # it is back already


def _drain(work: Work, step: HostStep) -> None:
    """Take the host out of service, and enter that it is. An engine that can't be told is only entered as drained: the
    plan has said that whoever runs the load balancer takes it out."""
    remote, can = work.remote(step), work.remote(step).driver.capabilities.drain
    effect(
        work,
        step,
        name="drain",
        holds=lambda seen: not can or (not seen.in_service and _barred(work, seen)),
        call=lambda: remote.set_service(False, work.run.fence),
        also=lambda: _mark_drained(step.host, f"Drained by plan {work.run.plan.plan_hash[:12]}.", work),
    )


def _return(work: Work, step: HostStep) -> None:
    """Bring the host back into service with what the endpoint serves by now; a switch ends its absence as well."""
    seen, target = work.look(step), work.target
    if step.intent == "switch" or seen.default_digest != target.digest:
        remote, fences = work.remote(step), work.remote(step).driver.capabilities.fencing
        act(
            work,
            step,
            name="switch",
            holds=lambda seen: seen.default_digest == target.digest and (_barred(work, seen) or not fences),
            call=lambda: remote.switch(target, work.run.fence),
        )
    if not Placement.objects.filter(endpoint=work.run.endpoint, host=step.host, desired=target).exists():
        book_switch(work, step, target)
    _bring_back(work, step)


def _bring_back(work: Work, step: HostStep) -> None:
    """Bring the host back into service, and enter that it is."""
    remote, can = work.remote(step), work.remote(step).driver.capabilities.drain
    effect(
        work,
        step,
        name="bring_back",
        holds=lambda seen: not can or (seen.in_service and _barred(work, seen)),
        call=lambda: remote.set_service(True, work.run.fence),
        also=lambda: _mark_back(step.host, f"Brought back by plan {work.run.plan.plan_hash[:12]}.", work),
    )


TURNS: dict[tuple[str, str], Callable[[Work, HostStep], None]] = {
    (S.STAGED, S.DRAINED): _leave_service,
    (S.DRAINED, S.EMPTIED): _empty,
    (S.GOLDEN_OK, S.SHARED): _begin_share,
    (S.SHARED, S.SWITCHED): _grow_share,
    (S.LOCKED, S.DRAINED): _drain,
    (S.DRAINED, S.DONE): finish,
    (S.GOLDEN_OK, S.IN_SERVICE): _return,
    (S.IN_SERVICE, S.DONE): finish,
    (S.COMPENSATING, "drain"): _bring_back,
    (S.COMPENSATING, "bring_back"): _drain,
}
"""What incidents.rollback.steps does not do by itself, by the state that is left and the one that is reached; of a host
that goes back, by the plan's outcome."""
