"""One host's way through a run.

Each edge: observe; if it is true already, record and go on; else commit the intent, call, observe, record the outcome.
A call whose outcome is not known is never repeated blindly: the host is observed first.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import takewhile

from django.db import transaction
from django.db.models import F

from audit.clock import database_now
from incidents.rollback import fleet
from incidents.rollback.checks import golden_answer, keep
from incidents.rollback.counted import counts
from incidents.rollback.effects import (
    MAX_ATTEMPTS,
    act,
    book_switch,
    bring,
    effect,
    judge_by,
    next_state,
    pass_on,
    record_step,
    states_ahead,
)
from incidents.rollback.models import CheckAnswer, HostStep, StepState
from incidents.rollback.state import change, move
from incidents.rollback.work import FenceLost, StepFailed, StepWaits, Work, has_acted
from registry.golden import golden_of
from registry.models import Version
from registry.serving.base import HostUnreachable, ModelObservation, OutcomeUnknown, Refused, ServingError, StaleFence
from registry.store import ArtifactDamaged, ArtifactMissing, ArtifactUnavailable

ENDED = [StepState.DONE, StepState.FAILED, StepState.UNREACHABLE, StepState.RESTORED]


def advance_step(work: Work, step_id: int, until: StepState | None = None) -> float | None:
    """Take one host as far as it goes now, `until` that state at most. None when it is there or has ended, else the
    seconds to wait before the next look.

    Runs in one of the run's own threads (hands.py). Raises LeaseLost, LostRace, FenceLost.
    """
    step = HostStep.objects.select_related("host", "wave").get(pk=step_id)
    while step.state not in ENDED and step.state != until:
        try:
            _edge(work, step)(work, step)
        except StepWaits as waits:
            return waits.seconds
        except HostUnreachable as error:
            return _count_unreachable(work, step, error)
        except StaleFence as error:
            raise FenceLost(f"{step.host.name} refused fence {work.run.fence}: {error.detail}") from error
        except StepFailed as error:
            end(work, step, StepState.FAILED, str(error))
        except OutcomeUnknown:
            return _count_unknown(work, step)
        except ServingError as error:
            end(work, step, StepState.FAILED, f"{step.host.name}: {error}")
    return None


def end(work: Work, step: HostStep, state: StepState, reason: str) -> None:
    """Record that the step can't go on."""
    with transaction.atomic():
        at = step.state
        marks = {**step.marks, state: database_now().isoformat()}
        move(step, state, state_reason=reason[:500], marks=marks, intent_deadline=None)
        record_step(
            work, step, "rollback.step.outcome", outcome="failed", data={"step": at, "state": state}, reason=reason
        )


def _count_unreachable(work: Work, step: HostStep, error: HostUnreachable) -> float | None:
    if step.attempts + 1 < MAX_ATTEMPTS:
        change(step, attempts=F("attempts") + 1)
        return 0.5
    end(work, step, StepState.UNREACHABLE, f"{step.host.name} can't be reached: {error}{_doubt(step)}")
    return None


def _count_unknown(work: Work, step: HostStep) -> float | None:
    """A question (not an act) got no answer: ask again later, and give up as unreachable in the end."""
    if step.attempts + 1 < MAX_ATTEMPTS:
        change(step, attempts=F("attempts") + 1)
        return 1.0
    said = f"{step.host.name} accepts connections but gives no answer.{_doubt(step)}"
    end(work, step, StepState.UNREACHABLE, said)
    return None


def _doubt(step: HostStep) -> str:
    return " Whether it switched is not known." if step.intent in ("switch", "restore") else ""


def _lock(work: Work, step: HostStep) -> None:
    seen = work.look(step, anew=True)
    # A run's fence is new when it starts: a host that has seen it without a call of ours on record has seen another
    # run's, which a database that came back without its last commits has forgotten.
    if seen.fence > work.run.fence or (seen.fence == work.run.fence and not has_acted(step)):
        raise FenceLost(
            f"{step.host.name} has seen fence {seen.fence}, and this run holds {work.run.fence}: somebody else acted."
        )
    notes = _true_already(work, step, seen)
    pass_on(work, step, notes, before_digest=fleet.serving_digest(seen), baseline={"before": counts(seen)})


def _true_already(work: Work, step: HostStep, seen: ModelObservation) -> dict[str, str]:
    """The edges from here on that ask nothing of the host but what this look has shown, each with its note."""
    serving = fleet.serving_digest(seen)
    reads_back, so = work.reads_back(step), "was so already"
    shown: dict[str, str] = {
        StepState.LOCKED: f"fence {work.run.fence}",
        StepState.PREFLIGHT: _known(serving) if serving in work.document.tolerated else "",
        StepState.STAGED: so if fleet.is_staged(seen, work.target) else "",
        StepState.LOADED: so if fleet.is_loaded(seen, work.target, read_back=reads_back) else "",
    }
    return {state: shown[state] for state in takewhile(lambda state: shown.get(state), states_ahead(work, step))}


def _preflight(work: Work, step: HostStep) -> None:
    seen = work.look(step)
    serving = fleet.serving_digest(seen)
    if serving not in work.document.tolerated:
        raise StepFailed(
            f"{step.host.name} serves {serving[:12] or 'nothing'}, which the plan does not know. "
            "Look at the host, then propose a plan that fits."
        )
    pass_on(work, step, {StepState.PREFLIGHT: _known(serving)})


def _known(serving: str) -> str:
    return f"serves {serving[:12] or 'nothing'}"


def _stage(work: Work, step: HostStep) -> None:
    remote = work.remote(step)
    effect(
        work,
        step,
        name="stage",
        holds=lambda seen: fleet.is_staged(seen, work.target),
        call=lambda: remote.stage(work.target),
    )


def load(work: Work, step: HostStep) -> None:
    remote, reads_back = work.remote(step), work.reads_back(step)
    effect(
        work,
        step,
        name="load",
        holds=lambda seen: fleet.is_loaded(seen, work.target, read_back=reads_back),
        call=lambda: remote.load(work.target),
    )


def ask_golden(work: Work, step: HostStep) -> None:
    if work.golden is None:
        raise StepFailed(f"Version {work.target.number} has no golden test that can be read. Register one that has.")
    if not work.remote(step).driver.capabilities.versioned_inference:
        pass_on(work, step, {next_state(work, step): "its engine asks only what serves: tested after the switch"})
        return
    where = f"version {work.target.number} on {step.host.name}"
    result = work.remote(step).golden(work.target, work.golden)
    answered = golden_answer(step.host, result, work.target.digest, where)
    judge_by(work, step, "golden", answered)


def switch(work: Work, step: HostStep) -> None:
    remote = work.remote(step)
    effect(
        work,
        step,
        name="switch",
        holds=lambda seen: _answers_with(work, step, seen, work.target),
        call=lambda: remote.switch(work.target, work.run.fence),
        also=lambda: book_switch(work, step, work.target),
    )


def _postcheck(work: Work, step: HostStep) -> None:
    remote = work.remote(step)
    if not fleet.serves(work.look(step), work.target, read_back=work.reads_back(step)):
        raise StepFailed(f"{step.host.name} no longer serves version {work.target.number}, though it had switched.")
    if work.golden is None:
        raise StepFailed(f"Version {work.target.number} has no golden test that can be read.")
    result = remote.golden(None, work.golden)
    answered = golden_answer(step.host, result, work.target.digest, f"what now answers on {step.host.name}")
    judge_by(work, step, "postcheck", answered)


def finish(work: Work, step: HostStep) -> None:
    seen = work.look(step)
    held = fleet.version_on(seen, work.target)
    counters = {"requests": held.requests, "failures": held.failures} if held else {}
    work.remote(step).asked.clear()  # that was before these counts
    pass_on(work, step, {StepState.DONE: ""}, baseline={**step.baseline, **counters, "after": counts(seen)})


def _restore(work: Work, step: HostStep) -> None:
    """Back to the version that the host served before: the same act, with a newer fence. Where it is no longer in
    memory, since the engine drops it at a switch or the host was started again, it is loaded and tested first."""
    origin = work.origin
    if origin is None:
        raise StepFailed(f"Nothing was served on {step.host.name} before, so there is nothing to go back to.")
    remote = work.remote(step)

    def there(seen: ModelObservation) -> bool:
        return _answers_with(work, step, seen, origin)

    if not there(work.look(step)):
        _be_ready(work, step, origin)
    effect(
        work,
        step,
        name="restore",
        holds=there,
        call=lambda: remote.switch(origin, work.run.fence),
        also=lambda: book_switch(work, step, origin),
    )


def _be_ready(work: Work, step: HostStep, origin: Version) -> None:
    """Whatever it takes until the host can be switched back at once. A copy that was loaded after the switch is asked
    first, and loaded anew where it does not answer as it should: to load what is said to be ready does nothing."""
    remote, reads_back = work.remote(step), work.reads_back(step)
    if fleet.is_loaded(work.look(step), origin, read_back=reads_back):
        if step.host.name not in work.document.kept:
            return
        try:
            _ask_origin(work, step, origin)
        except (StepFailed, Refused):
            act(
                work, step, name="unload", call=lambda: remote.unload(origin), version=origin,
                holds=lambda seen: not fleet.is_loaded(seen, origin, read_back=False),
            )  # fmt: skip
        else:
            return
    _load_again(work, step, origin)


def _load_again(work: Work, step: HostStep, origin: Version) -> None:
    """The origin into memory, beside what answers, or on a host that holds one version only in its place; and asked
    before it serves, for it is not the copy that served."""
    if step.host.name in work.document.recreated:
        _make_room(work, step)
    bring(work, step, origin)
    _ask_origin(work, step, origin)


def _make_room(work: Work, step: HostStep) -> None:
    """Out of service, and the target unloaded."""
    remote, target, fence = work.remote(step), work.target, work.run.fence
    act(work, step, name="drain", holds=lambda seen: not seen.in_service, call=lambda: remote.set_service(False, fence))
    act(
        work, step, name="unload", call=lambda: remote.unload(target),
        holds=lambda seen: not fleet.is_loaded(seen, target, read_back=False),
    )  # fmt: skip


def _ask_origin(work: Work, step: HostStep, origin: Version) -> None:
    try:
        golden = golden_of(origin)
    except (ArtifactMissing, ArtifactDamaged, ArtifactUnavailable) as error:
        raise StepFailed(f"The golden test of version {origin.number} can't be read: {error}") from error
    if golden is None or not work.remote(step).driver.capabilities.versioned_inference:
        return
    where = f"version {origin.number}, loaded again on {step.host.name},"
    answered = golden_answer(step.host, work.remote(step).golden(origin, golden), origin.digest, where)
    with transaction.atomic():
        keep(run=work.run, stage="golden", wave=step.wave, answers=[replace(answered, name="golden-origin")])
    if answered.answer != CheckAnswer.PASS:
        raise StepFailed(f"{answered.question} No: {answered.observed}.")


def _answers_with(work: Work, step: HostStep, seen: ModelObservation, version: Version) -> bool:
    """The host serves the version and, where it knows fences, has seen this run's: no late call of an earlier one can
    take it elsewhere any more."""
    barred = seen.fence >= work.run.fence or not work.remote(step).driver.capabilities.fencing
    return barred and seen.share is None and fleet.serves(seen, version, read_back=work.reads_back(step))


EDGES: dict[str, Callable[[Work, HostStep], None]] = {
    StepState.PENDING: _lock,
    StepState.LOCKED: _preflight,
    StepState.PREFLIGHT: _stage,
    StepState.STAGED: load,
    StepState.EMPTIED: load,
    StepState.LOADED: ask_golden,
    StepState.GOLDEN_OK: switch,
    StepState.SWITCHED: _postcheck,
    StepState.POSTCHECK_OK: finish,
    StepState.COMPENSATING: _restore,
}
TURNS: dict[tuple[str, str], Callable[[Work, HostStep], None]] = {}
"""Edges of the paths that take requests off a host or share them, by the state they leave and the one they reach: see
incidents.rollback.steering."""


def _edge(work: Work, step: HostStep) -> Callable[[Work, HostStep], None]:
    if step.state == StepState.COMPENSATING:
        return TURNS.get((step.state, work.document.outcome), EDGES[step.state])
    return TURNS.get((step.state, next_state(work, step))) or EDGES[step.state]
