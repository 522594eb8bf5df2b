"""The edges of a host that mirrors its requests to the target, and the one verdict on all such hosts of a wave.

No host is switched before the shadows of all of them were compared together. A shadow that nobody renews ends by
itself, so that what a dead worker has begun lasts a minute.
"""

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from audit.clock import database_now
from incidents.rollback import fleet, limits, steering
from incidents.rollback.checks import Answered, keep, put_on_record, verdict
from incidents.rollback.effects import act, effect, pass_on
from incidents.rollback.models import CheckAnswer, HostStep, StepState, Wave
from incidents.rollback.shadow.judging import answers, too_few
from incidents.rollback.shadow.terms import FAILED, UNDECIDED, Terms, is_only_shadowed, terms_of
from incidents.rollback.shadow.told import counted_in, figures_of
from incidents.rollback.state import change
from incidents.rollback.steps import EDGES, switch
from incidents.rollback.work import StepFailed, StepWaits, Work
from registry.serving.base import ModelObservation
from registry.serving.mirrored import Shadow

S = StepState
LASTS_SECONDS = 60.0
RENEWED_BELOW_SECONDS = 40.0
LOOK_SECONDS = 1.0
BEFORE = (S.PENDING, S.LOCKED, S.PREFLIGHT, S.STAGED, S.LOADED, S.GOLDEN_OK)


@dataclass(frozen=True)
class Ended:
    """The wave does not go on: it has `failed`, or a person has to say."""

    code: str
    sentence: str
    failed: bool


def _terms(work: Work) -> Terms:
    shadow = work.document.shadow
    assert shadow is not None
    return terms_of(shadow)


def _mine(work: Work, seen: ModelObservation) -> Shadow | None:
    """The run's shadow on the host, while it goes on against what the plan leaves."""
    shadow, origin = seen.shadow, work.origin
    if shadow is None or origin is None or not shadow.running or seen.fence < work.run.fence:
        return None
    same = (shadow.digest, shadow.against, shadow.fence) == (work.target.digest, origin.digest, work.run.fence)
    return shadow if same else None


def _serves_already(work: Work, step: HostStep, seen: ModelObservation) -> bool:
    return fleet.serves(seen, work.target, read_back=work.reads_back(step))


def _call(work: Work, step: HostStep) -> None:
    asked = _terms(work)
    tolerance = float(asked.tolerance)
    work.remote(step).mirror(work.target, asked.percent, LASTS_SECONDS, tolerance, work.run.fence)


def _begun(step: HostStep) -> dict[str, Any]:
    """Time and patience count from here; what was compared before stays."""
    kept = step.baseline.get("shadow", {})
    return {**step.baseline, "shadow": {**kept, "since": database_now().isoformat()}}


def _begin(work: Work, step: HostStep) -> None:
    effect(
        work,
        step,
        name="shadow",
        holds=lambda seen: _mine(work, seen) is not None or _serves_already(work, step, seen),
        call=lambda: _call(work, step),
        also=lambda: change(step, baseline=_begun(step)),
    )


def _go_on(work: Work, step: HostStep) -> None:
    """Keep the shadow going and its figures on the step. The wave's verdict moves the step on, never this."""
    seen = work.look(step, anew=True)
    shadow = _mine(work, seen)
    if shadow is None and not _serves_already(work, step, seen):
        _begin_again(work, step, seen)
    elif shadow is not None and shadow.ends_in < RENEWED_BELOW_SECONDS:
        work.lease.check()
        _call(work, step)
    kept = dict(step.baseline.get("shadow", {}))
    if shadow is not None:
        kept = _counted(kept, shadow)
    if not kept.get("since"):
        kept["since"] = database_now().isoformat()
    if kept != step.baseline.get("shadow"):
        change(step, baseline={**step.baseline, "shadow": kept})
    raise StepWaits(LOOK_SECONDS)


def _begin_again(work: Work, step: HostStep, seen: ModelObservation) -> None:
    """It ran out while nobody moved the run, or its host was started again."""
    if not fleet.is_loaded(seen, work.target):
        raise StepFailed(
            f"{step.host.name} lost version {work.target.number}, which it asked beside. Look at the host."
        )
    act(
        work,
        step,
        name="shadow",
        holds=lambda seen: _mine(work, seen) is not None,
        call=lambda: _call(work, step),
        baseline=_begun(step),
    )


def _counted(kept: dict[str, Any], shadow: Shadow) -> dict[str, Any]:
    """What a shadow that counts from nothing has counted before is kept beside what it counts now."""
    if kept.get("id") not in (None, shadow.id):
        kept["earlier"] = counted_in(kept).facts
    return {**kept, "id": shadow.id, "now": shadow.figures.facts, "failure": shadow.failure}


def first(work: Work, left: list[HostStep]) -> list[HostStep]:
    """Of the hosts of a wave that are left, those that are to be compared before any other is touched; else all."""
    waiting = (*BEFORE, S.SHADOWED)
    return [step for step in left if step.host.name in work.document.shadowed and step.state in waiting] or left


def judge(work: Work, wave: Wave) -> Ended | None:
    """The verdict on the shadows of a wave once it is due: their hosts go on, or none does. None while there is none,
    or nothing to judge."""
    if not work.document.shadowed:
        return None
    steps = list(wave.steps.filter(host__name__in=work.document.shadowed).select_related("host", "wave").order_by("id"))
    shadowed = [step for step in steps if step.state == S.SHADOWED]
    since = [step.baseline.get("shadow", {}).get("since") for step in shadowed]
    if not shadowed or not all(since) or any(step.state in BEFORE for step in steps):
        return None
    broken = limits.broken(work, wave)
    if broken is not None and broken[0] != "quorum":  # none is done yet
        return Ended(*broken, failed=True)
    asked, now, figures = _terms(work), database_now(), figures_of(shadowed)
    due = max(map(datetime.datetime.fromisoformat, since)) + datetime.timedelta(seconds=asked.seconds)
    if now < due:
        return None
    looks = max(int(step.baseline["shadow"].get("looks", 0)) for step in shadowed)
    needed = max(asked.rows, 2 * max(int(step.baseline["shadow"].get("looked_at", 0)) for step in shadowed))
    patient = now < due + datetime.timedelta(seconds=asked.patience_seconds)
    number = work.target.number
    if figures.rows >= needed:
        return _decide(work, wave, shadowed, answers(figures, asked, number, looks + 1), looks + 1, patient=patient)
    if patient:
        return None
    return _decide(work, wave, shadowed, [too_few(figures, asked, needed, number)], looks, patient=False)


def _decide(
    work: Work, wave: Wave, steps: list[HostStep], found: list[Answered], looks: int, *, patient: bool
) -> Ended | None:
    answer = verdict(found)
    waits = answer == CheckAnswer.INCONCLUSIVE and patient
    rows = figures_of(steps).rows
    with transaction.atomic():
        work.lease.confirm()
        keep(run=work.run, stage="shadow", wave=wave, answers=found)
        for step in steps:
            kept = {**step.baseline["shadow"], "looks": looks, "looked_at": rows}
            if answer == CheckAnswer.INCONCLUSIVE and not patient:
                kept["since"] = ""  # who resumes it waits for it anew
            if answer == CheckAnswer.PASS:
                pass_on(work, step, {S.COMPARED: found[0].observed}, baseline={**step.baseline, "shadow": kept})
            else:
                change(step, baseline={**step.baseline, "shadow": kept})
        if not waits:
            put_on_record(
                run=work.run,
                action="rollback.shadow.answer",
                answers=found,
                actor=work.actor,
                data={"plan_hash": work.run.plan.plan_hash, "wave": wave.index, "look": looks, "answer": str(answer)},
            )
    if waits or answer == CheckAnswer.PASS:
        return None
    worst = next(answered for answered in found if answered.answer == answer)
    sentence = f"{worst.question} {answer.label}: {worst.observed} (expected: {worst.expected}). Nothing was switched."
    failed = answer == CheckAnswer.FAIL
    return Ended(FAILED if failed else UNDECIDED, sentence, failed)


def _back(work: Work, step: HostStep) -> None:
    """A host whose requests were mirrored at most only ends that: what it answers with never changed."""
    if not is_only_shadowed(step, work.document.shadow, work.document.shares):
        EDGES[S.COMPENSATING](work, step)
        return
    remote = work.remote(step)
    effect(
        work,
        step,
        name="end_shadow",
        holds=lambda seen: seen.fence >= work.run.fence and (seen.shadow is None or not seen.shadow.running),
        call=lambda: remote.end_mirror(work.run.fence),
    )


TURNS: dict[tuple[str, str], Callable[[Work, HostStep], None]] = {
    (S.GOLDEN_OK, S.SHADOWED): _begin,
    (S.SHADOWED, S.COMPARED): _go_on,
    (S.COMPARED, S.SHARED): steering.TURNS[S.GOLDEN_OK, S.SHARED],
    (S.COMPARED, S.SWITCHED): switch,
    (S.COMPENSATING, "roll_forward"): _back,
    (S.COMPENSATING, "roll_back"): _back,
    (S.COMPENSATING, "fallback"): _back,
}
"""As steering.TURNS: by the state that is left and the one that is reached; of a host that goes back, by outcome."""
