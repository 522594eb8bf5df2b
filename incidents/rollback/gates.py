"""The gate after each wave: questions with three answers, asked of the hosts that have switched.

Inconclusive never goes forward by itself: it is asked again while the plan's patience lasts, and then a person decides.
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal

from django.db import transaction

from incidents.rollback import counted, fleet, limits
from incidents.rollback.checks import (
    Answered,
    error_answer,
    golden_answer,
    keep,
    latency_answer,
    put_on_record,
    verdict,
)
from incidents.rollback.gating.asking import answers_of
from incidents.rollback.models import CheckAnswer, HostStep, StepState, Wave
from incidents.rollback.work import Work
from registry.serving.base import HostUnreachable, ModelObservation, ServingError


@dataclass(frozen=True)
class Judged:
    """All answers of one gate."""

    answers: list[Answered]

    @property
    def failed(self) -> bool:
        return verdict(self.answers) == CheckAnswer.FAIL

    @property
    def inconclusive(self) -> bool:
        return verdict(self.answers) == CheckAnswer.INCONCLUSIVE

    @property
    def wait(self) -> bool:
        """More time could turn it: what has not passed asks to be asked again."""
        return all(answered.wait for answered in self.answers if answered.answer == verdict(self.answers)) and (
            self.failed or self.inconclusive
        )

    @property
    def look_again(self) -> float:
        """Seconds until what has not passed is asked again."""
        worst = verdict(self.answers)
        return min((answered.again for answered in self.answers if answered.answer == worst), default=0.2)

    @property
    def sentence(self) -> str:
        worst = verdict(self.answers)
        found = next((answered for answered in self.answers if answered.answer == worst), None)
        if found is None or worst == CheckAnswer.PASS:
            return "The gate has passed."
        return f"{found.question} {worst.label}: {found.observed} (expected: {found.expected})."


def judge(work: Work, wave: Wave) -> Judged:
    """Ask the plan's gates of every host of this wave and of those before it, and whether enough hosts serve, which is
    asked without gates as well. Changes nothing of the run; what registered gates found is kept beside it,
    and how much was asked of engines that count it."""
    if work.document.gates_off:
        return Judged(_capacity(work))
    done = work.run.steps.filter(wave__index__lte=wave.index, state=StepState.DONE).select_related("host", "wave")
    steps = list(done)
    if not steps:
        question = "Has any host switched whose answers could be looked at?"
        none = Answered("serving", question, CheckAnswer.INCONCLUSIVE, "none has", "at least one")
        return Judged([*_capacity(work), none])
    for step in steps:
        with suppress(HostUnreachable):  # said again as the answer about that host
            work.remote(step)
    with ThreadPoolExecutor(max_workers=min(16, len(steps))) as pool:
        asked = list(pool.map(lambda step: _ask_host(work, step, fresh=step.wave_id == wave.pk), steps))
    answers = _capacity(work) + [answered for answers in asked for answered in answers]
    fresh = [step for step in steps if step.wave_id == wave.pk]
    if work.document.gate("latency") is not None and verdict(answers) == CheckAnswer.PASS:
        answers += _latencies(work, fresh)
    if verdict(answers) != CheckAnswer.FAIL:
        answers += answers_of(work, wave, steps)
    for step in steps:
        with suppress(HostUnreachable):
            counted.keep_asked(step, work.remote(step))
    return Judged(answers)


def _capacity(work: Work) -> list[Answered]:
    answered = limits.enough_serve(work)
    return [] if answered is None else [answered]


def keep_waiting(work: Work, wave: Wave, judged: Judged) -> None:
    """Show the answers so far, without an event: nothing was decided."""
    with transaction.atomic():
        keep(run=work.run, stage="gate", wave=wave, answers=judged.answers)


def settle(work: Work, wave: Wave, judged: Judged) -> None:
    """Store the answers that decide, and put them on record."""
    with transaction.atomic():
        keep(run=work.run, stage="gate", wave=wave, answers=judged.answers)
        put_on_record(
            run=work.run,
            action="rollback.gate.answer",
            answers=judged.answers,
            actor=work.actor,
            data={"plan_hash": work.run.plan.plan_hash, "wave": wave.index, "answer": str(verdict(judged.answers))},
        )


def _ask_host(work: Work, step: HostStep, *, fresh: bool) -> list[Answered]:
    try:
        remote, seen = work.remote(step), work.look(step, anew=True)
        answers = [_serving(work, step, seen)]
        if (gate := work.document.gate("errors")) is not None:
            answers.append(errors_of(work, step, seen, gate, fresh=fresh))
        if fresh and work.document.gate("golden") is not None and work.golden is not None:
            where = f"version {work.target.number} on {step.host.name}"
            asked = work.target if remote.driver.capabilities.versioned_inference else None
            answers.append(golden_answer(step.host, remote.golden(asked, work.golden), work.target.digest, where))
    except ServingError as error:
        return [_silent(step, error)]
    return answers


def _silent(step: HostStep, error: ServingError) -> Answered:
    question = f"Does {step.host.name} answer?"
    return Answered("serving", question, CheckAnswer.INCONCLUSIVE, str(error), "an answer", host=step.host, wait=True)


def _serving(work: Work, step: HostStep, seen: ModelObservation) -> Answered:
    right = fleet.serves(seen, work.target, read_back=work.reads_back(step))
    return Answered(
        "serving",
        f"Does {step.host.name} serve version {work.target.number}?",
        CheckAnswer.PASS if right else CheckAnswer.FAIL,
        f"digest {fleet.serving_digest(seen)[:12] or 'none'}",
        f"digest {work.target.digest[:12]}",
        host=step.host,
    )


def errors_of(work: Work, step: HostStep, seen: ModelObservation, gate: dict[str, str], *, fresh: bool) -> Answered:
    """Live requests that the target answered on this host since its step was done, by the host's own count."""
    held = fleet.version_on(seen, work.target)
    requests, failures = counted.since_done(step, held, work.remote(step).driver.capabilities, work.golden)
    return error_answer(
        failures=failures,
        requests=requests,
        max_share=Decimal(gate["max_share"]),
        min_requests=int(gate["min_requests"]) if fresh else 0,
        host=step.host,
        where=step.host.name,
    )


def _latencies(work: Work, steps: list[HostStep]) -> list[Answered]:
    """Whether hosts answer as fast with the target as before. First all at once, each version once: probes that run
    side by side slow each other, so who is within the floor even then needs no other. The rest are asked one after the
    other, since they would not slow each other alike."""
    if not steps:
        return []
    with ThreadPoolExecutor(max_workers=min(16, len(steps))) as pool:
        at_once = list(pool.map(lambda step: latency_of(work, step, at_once=True), steps))
    found = [
        latency_of(work, step) if answers is None else answers for step, answers in zip(steps, at_once, strict=True)
    ]
    return [answered for answers in found for answered in answers or []]


def latency_of(work: Work, step: HostStep, *, at_once: bool = False) -> list[Answered] | None:
    """Both versions asked for one row on the same host, in the order new old old new, so that both bear the same load,
    which only ever adds: the fastest answers are compared. A slow one is asked again while there is patience.
    An answer within the floor can't be slower by more than it, so that is enough of them. Not asked where the old
    version is gone, or the engine knows no versions. Where other hosts are asked `at_once`, None for one that is not
    within the floor: they may have slowed it."""
    origin, remote, gate = work.origin, work.remote(step), work.document.gate("latency")
    if gate is None or origin is None or work.golden is None or not remote.driver.capabilities.versioned_inference:
        return []
    row = {name: list(values)[:1] for name, values in work.golden["inputs"].items()}
    new: list[float] = []
    old: list[float] = []
    turns = [(work.target, new), (origin, old)]
    try:
        if not fleet.is_loaded(work.look(step), origin, read_back=work.reads_back(step)):
            return []
        for _ in range(1 if at_once else int(gate["probes"])):
            for version, times in turns:
                times.append(remote.infer(row, version).latency_ms)
            turns.reverse()
            if min(new) <= float(gate["floor_ms"]):
                break
    except ServingError as error:
        return [_silent(step, error)]
    if at_once and min(new) > float(gate["floor_ms"]):
        return None
    return [
        latency_answer(
            new_ms=min(new),
            old_ms=min(old),
            max_ratio=Decimal(gate["max_ratio"]),
            floor_ms=Decimal(gate["floor_ms"]),
            host=step.host,
            where=f"version {work.target.number} on {step.host.name}",
            n=len(new),
        )
    ]
