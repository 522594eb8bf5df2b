"""The legal moves of plans, runs, waves, steps and watches, and the one way to make a move.

A move is a conditional UPDATE: it names the state it leaves and the row's version. Who comes second finds no row.
"""

from typing import Any, TypeVar

from django.db.models import F, Model

from incidents.rollback.models import (
    HostStep,
    Plan,
    PlanState,
    Run,
    RunState,
    StepState,
    Watch,
    WatchState,
    Wave,
    WaveState,
)

S, R, P, W = StepState, RunState, PlanState, WaveState

STEP_PATH: list[str] = [
    S.PENDING,
    S.LOCKED,
    S.PREFLIGHT,
    S.STAGED,
    S.LOADED,
    S.GOLDEN_OK,
    S.SWITCHED,
    S.POSTCHECK_OK,
    S.DONE,
]

RECREATE_PATH: list[str] = [*STEP_PATH[:4], S.DRAINED, S.EMPTIED, *STEP_PATH[4:]]
"""Where memory holds one version only: out of service, the old one unloaded, before the new one is loaded."""
WEIGHTED_PATH: list[str] = [*STEP_PATH[:6], S.SHARED, *STEP_PATH[6:]]
SHADOW_PATH: list[str] = [*STEP_PATH[:6], S.SHADOWED, S.COMPARED, *STEP_PATH[6:]]
"""Asked the live requests beside what answers them, before any of them is answered by it."""
SHADOW_WEIGHTED_PATH: list[str] = [*SHADOW_PATH[:8], S.SHARED, *STEP_PATH[6:]]
DRAIN_PATH: list[str] = [S.PENDING, S.LOCKED, S.DRAINED, S.DONE]
RETURN_PATH: list[str] = [*STEP_PATH[:6], S.IN_SERVICE, S.DONE]
"""A host that was drained may have missed a change of version, or have been started again with nothing loaded."""

PATHS = (
    STEP_PATH, RECREATE_PATH, WEIGHTED_PATH, SHADOW_PATH, SHADOW_WEIGHTED_PATH, DRAIN_PATH, RETURN_PATH,
)  # fmt: skip


def _after(here: str) -> set[str]:
    return {path[path.index(here) + 1] for path in PATHS if here in path[:-1]}


AT_ONCE = {S.PENDING: {S.PREFLIGHT, S.STAGED, S.LOADED}}
"""Edges that one look at a host shows to be true are recorded by one move."""

STEP_MOVES: dict[str, frozenset[str]] = {
    **{
        here: frozenset({*_after(here), *AT_ONCE.get(S(here), ()), S.FAILED, S.UNREACHABLE, S.COMPENSATING})
        for path in PATHS
        for here in path[:-1]
    },
    S.DONE: frozenset({S.COMPENSATING}),
    S.FAILED: frozenset({S.PENDING, S.COMPENSATING}),
    S.UNREACHABLE: frozenset({S.PENDING, S.COMPENSATING}),
    S.COMPENSATING: frozenset({S.RESTORED, S.FAILED, S.UNREACHABLE}),
    S.RESTORED: frozenset(),
}

RUN_MOVES: dict[str, frozenset[str]] = {
    R.RUNNING: frozenset({R.HALTED, R.STOPPED, R.COMPENSATING, R.SWITCHED, R.FAILED}),
    R.HALTED: frozenset({R.RUNNING, R.STOPPED, R.COMPENSATING, R.FAILED}),
    R.COMPENSATING: frozenset({R.COMPENSATED, R.FAILED, R.HALTED, R.STOPPED}),
    R.STOPPED: frozenset(),
    R.SWITCHED: frozenset(),
    R.FAILED: frozenset(),
    R.COMPENSATED: frozenset(),
}

WAVE_MOVES: dict[str, frozenset[str]] = {
    W.PENDING: frozenset({W.RUNNING}),
    W.RUNNING: frozenset({W.SOAKING, W.FAILED}),
    W.SOAKING: frozenset({W.DONE, W.FAILED}),
    W.FAILED: frozenset({W.RUNNING, W.SOAKING}),
    W.DONE: frozenset(),
}

PLAN_MOVES: dict[str, frozenset[str]] = {
    P.DRAFT: frozenset({P.PREFLIGHTED, P.VOID}),
    P.PREFLIGHTED: frozenset({P.AWAITING, P.VOID}),
    P.AWAITING: frozenset({P.STARTED, P.VOID}),
    P.STARTED: frozenset(),
    P.VOID: frozenset(),
}

WATCH_MOVES: dict[str, frozenset[str]] = {
    WatchState.WATCHING: frozenset({WatchState.PASSED, WatchState.FAILED, WatchState.INCONCLUSIVE}),
    WatchState.INCONCLUSIVE: frozenset({WatchState.PASSED, WatchState.FAILED}),
    WatchState.PASSED: frozenset(),
    WatchState.FAILED: frozenset(),
}

MOVES: dict[type[Model], dict[str, frozenset[str]]] = {
    Plan: PLAN_MOVES,
    Run: RUN_MOVES,
    Wave: WAVE_MOVES,
    HostStep: STEP_MOVES,
    Watch: WATCH_MOVES,
}

Row = TypeVar("Row", Plan, Run, Wave, HostStep, Watch)

COUNTED = (Plan, HostStep, Watch)
"""Rows whose `version` guards a change. A run's is only the ETag of its lanes: all of its hosts raise it at once."""


class IllegalMove(ValueError):
    """No such edge in the table of moves: a mistake in the program, never a matter of timing."""


class LostRace(Exception):
    """The row was moved by somebody else in between; nothing was changed. Look again."""


def move(row: Row, to: str, **fields: Any) -> None:
    """Move `row` from the state it was read in to `to`, setting `fields` with it, and bring `row` up to date.

    Raises IllegalMove for an edge that the table does not have, LostRace when the row is no longer as it was read.
    """
    if to not in MOVES[type(row)].get(row.state, frozenset()):
        raise IllegalMove(f"{type(row).__name__} can't go from {row.state} to {to}.")
    _set(row, state=to, **fields)


def change(row: Row, **fields: Any) -> None:
    """Set fields of a row that stays in its state. Raises LostRace when the row is no longer as it was read."""
    _set(row, **fields)


def _set(row: Row, **fields: Any) -> None:
    where: dict[str, Any] = {"pk": row.pk, "state": row.state}
    if isinstance(row, COUNTED):
        where["version"] = row.version
    if isinstance(row, (*COUNTED, Run)):
        fields["version"] = F("version") + 1
    if type(row)._default_manager.filter(**where).update(**fields) != 1:
        raise LostRace(f"{type(row).__name__} {row.pk} was changed by somebody else.")
    if isinstance(row, HostStep):
        _take_over(row, fields)
    else:
        row.refresh_from_db()


def _take_over(step: HostStep, fields: dict[str, Any]) -> None:
    """Bring a step up to date by what was just set. Its version says that nothing else has changed, so only what the
    database computed is read: a run over many hosts makes this move thousands of times."""
    step.version += 1
    computed = []
    for name, value in fields.items():
        if name == "version":
            continue
        if hasattr(value, "resolve_expression"):
            computed.append(name)
        else:
            setattr(step, name, str(value) if isinstance(value, StepState) else value)
    if computed:
        step.refresh_from_db(fields=computed)
