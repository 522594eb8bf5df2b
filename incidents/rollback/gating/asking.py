"""The registered gates of a plan, asked in a wave. What is found is kept, and asked for again now and then only."""

import datetime
from collections.abc import Callable
from dataclasses import dataclass

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from audit.clock import database_now
from audit.dispatch import send_on_commit
from incidents.rollback.checks import Answered
from incidents.rollback.gating.httpcheck import ask_http
from incidents.rollback.gating.models import Asking, AskingState, GateDefinition, GateKind
from incidents.rollback.gating.planned import Planned, asked_at
from incidents.rollback.gating.series import ask_series
from incidents.rollback.gating.told import About, Asked, Said
from incidents.rollback.models import CheckAnswer, HostStep, Run, Wave
from registry.serving.base import ServingError

FAIL, PASS, INCONCLUSIVE = CheckAnswer.FAIL, CheckAnswer.PASS, CheckAnswer.INCONCLUSIVE
AGAIN_SECONDS = {
    GateKind.SERIES: 2.0, GateKind.HTTP: 2.0, GateKind.HARDWARE: 2.0, GateKind.SUITE: 2.0, GateKind.ACCEPTANCE: 5.0,
}  # fmt: skip
"""How long after an answer the next is asked for. A suite that ends and a person who accepts wake the run at once."""
FAILURES_IN_A_ROW = 3
"""So often an HTTP check or a figure has to fail before it counts: one answer may be lost on its way."""


@dataclass(frozen=True)
class _Gate:
    planned: Planned
    row: Asking
    asked: Asked


def answers_of(work: About, wave: Wave | None, steps: list[HostStep]) -> list[Answered]:
    """An answer to each registered gate that the plan has asked in the wave, or in the watch (None). A suite
    is ordered, and its answer comes when it has ended."""
    planned = asked_at(work.document.body["gates"], "watch" if wave is None else "wave")
    return [_answer(work, wave, steps, gate, planned) for gate in planned]


def _answer(work: About, wave: Wave | None, steps: list[HostStep], gate: Planned, beside: list[Planned]) -> Answered:
    # One that was retired and registered again as it was has the digest of the retired one.
    known = GateDefinition.objects.filter(digest=gate.digest, model=work.run.endpoint.model_id)
    definition = known.order_by(F("retired_at").desc(nulls_first=True)).first()
    if definition is None or definition.retired_at is not None:
        why = definition.retired_reason if definition is not None else "it is not registered"
        observed = f"the gate was retired since the plan was made: {why} Propose the plan again."
        return Answered(gate.name, gate.question, INCONCLUSIVE, observed[:300], gate.expected)
    row = _asking_of(work.run, wave, definition, steps)
    asked = Asked(
        work=work,
        gate=gate,
        steps=steps,
        fresh=[step for step in steps if wave is None or step.wave_id == wave.pk],
        series=sum(one.kind == GateKind.SERIES for one in beside),
        asked_before=row.attempts,
    )
    if row.state != AskingState.ENDED and _is_time(row):
        said = ASK[GateKind(gate.kind)](_Gate(gate, row, asked))
        if said is not None:
            _keep(row, said)
    return _told(gate, row)


def _told(gate: Planned, row: Asking) -> Answered:
    age = (database_now() - row.asked_at).total_seconds()
    waits = row.state != AskingState.ENDED and age < gate.patience_seconds
    return Answered(
        gate.name,
        gate.question,
        CheckAnswer(row.answer),
        row.observed,
        gate.expected,
        row.interval,
        wait=waits,
        again=AGAIN_SECONDS[GateKind(gate.kind)],
    )


@transaction.atomic
def _asking_of(run: Run, wave: Wave | None, definition: GateDefinition, steps: list[HostStep]) -> Asking:
    """The gate's row in this wave, made when it is first asked; begun anew where the run was taken up again since."""
    row, made = Asking.objects.select_for_update().get_or_create(run=run, wave=wave, definition=definition)
    begun = wave.soak_until if wave is not None else None
    anew = definition.kind != GateKind.ACCEPTANCE and begun is not None and row.asked_at < begun
    if anew and not made:
        Asking.objects.filter(pk=row.pk).update(
            state=AskingState.WAITING,
            answer=INCONCLUSIVE,
            observed="",
            interval="",
            attempts=0,
            holder="",
            lease_until=None,
            asked_at=Now(),
            answered_at=None,
            ended_at=None,
        )
        row.refresh_from_db()
    if (made or anew) and definition.kind == GateKind.SUITE:
        hosts = [{"name": step.host.name, "address": step.host.address} for step in steps]
        Asking.objects.filter(pk=row.pk).update(hosts=hosts, observed="it waits for a worker")
        row.refresh_from_db()
        send_on_commit("gating.run_suite", [str(row.pk)], queue="suites")
    return row


def _is_time(row: Asking) -> bool:
    again = datetime.timedelta(seconds=AGAIN_SECONDS[GateKind(row.definition.kind)])
    return row.answered_at is None or database_now() - row.answered_at >= again


def _keep(row: Asking, said: Said) -> None:
    """Store what was found; pass and fail end the asking."""
    ended = said.answer != INCONCLUSIVE
    Asking.objects.filter(pk=row.pk, state=row.state).update(
        answer=said.answer,
        observed=said.observed[:300],
        interval=said.interval[:100],
        attempts=said.asked,
        answered_at=Now(),
        **({"state": AskingState.ENDED, "ended_at": Now()} if ended else {}),
    )
    row.refresh_from_db()


def _several(gate: _Gate, said: Said) -> Said:
    """A failure counts once it was seen often enough in a row."""
    if said.answer != FAIL:
        return said
    failures = gate.row.attempts + 1
    if failures >= FAILURES_IN_A_ROW:
        return Said(FAIL, said.observed, asked=failures)
    return Said(INCONCLUSIVE, f"{said.observed} (asked {failures} of {FAILURES_IN_A_ROW} times)", asked=failures)


def _hardware(gate: _Gate) -> Said:
    figure, body = gate.planned.body["figure"], gate.planned.body
    told, outside, silent = [], [], []
    for step in gate.asked.steps:
        try:
            remote = gate.asked.work.remote(step)
            found = remote.driver.metrics(remote.address)
        except ServingError as error:
            silent.append(f"{step.host.name}: {error}")
            continue
        values = [value for name, value in found.items() if name.partition("{")[0] == figure]
        if not values:
            silent.append(f"{step.host.name} has no figure {figure}")
        told += [f"{step.host.name} {_number(value)}" for value in values]
        outside += [f"{step.host.name} {_number(value)}" for value in values if not _within(value, body)]
    if outside:
        return _several(gate, Said(FAIL, ", ".join(outside)))
    if silent:
        return Said(INCONCLUSIVE, "; ".join(silent))
    return Said(PASS, ", ".join(told))


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1e6 else f"{value:g}"


def _within(value: float, body: dict[str, str]) -> bool:
    return value >= float(body.get("at_least", "-inf")) and value <= float(body.get("at_most", "inf"))


def _acceptance(gate: _Gate) -> Said:
    said = list(gate.row.acceptances.order_by("at"))
    accepted, refused = [one for one in said if one.accepted], [one for one in said if not one.accepted]
    needed = gate.planned.body["needed"]
    observed = f"{len(accepted)} of {needed} accepted"
    if refused:
        return Said(FAIL, f"refused: {refused[0].reason}")
    return Said(PASS if len(accepted) >= needed else INCONCLUSIVE, observed)


ASK: dict[GateKind, Callable[[_Gate], Said | None]] = {
    GateKind.SERIES: lambda gate: ask_series(gate.asked),
    GateKind.HTTP: lambda gate: _several(gate, ask_http(gate.asked)),
    GateKind.HARDWARE: _hardware,
    GateKind.SUITE: lambda gate: None,  # its worker says it
    GateKind.ACCEPTANCE: _acceptance,
}
