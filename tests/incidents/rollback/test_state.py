"""The tables of moves, and that a move happens once."""

import threading
from typing import Any

import pytest
from django.db import connections

from incidents.rollback import state
from incidents.rollback.models import HostStep, Plan, PlanState, Run, RunState, StepState, WatchState, WaveState
from tests.incidents.rollback.fleet import Fleet


@pytest.mark.parametrize(
    ("moves", "states"),
    [
        (state.PLAN_MOVES, PlanState),
        (state.RUN_MOVES, RunState),
        (state.WAVE_MOVES, WaveState),
        (state.STEP_MOVES, StepState),
        (state.WATCH_MOVES, WatchState),
    ],
)
def test_every_state_has_its_row_in_the_table_and_moves_to_known_states(moves: dict[str, Any], states: Any) -> None:
    assert set(moves) == set(states.values)
    assert set().union(*moves.values()) <= set(states.values)


def test_what_has_ended_moves_no_more() -> None:
    for ended in (RunState.STOPPED, RunState.SWITCHED, RunState.FAILED, RunState.COMPENSATED):
        assert state.RUN_MOVES[ended] == frozenset()
    assert state.STEP_MOVES[StepState.RESTORED] == frozenset()
    assert state.PLAN_MOVES[PlanState.VOID] == frozenset()


def test_no_host_is_switched_before_its_golden_test() -> None:
    def before(step: str) -> set[str]:
        return {here for here, there in state.STEP_MOVES.items() if step in there}

    assert before(StepState.SWITCHED) == {StepState.GOLDEN_OK, StepState.SHARED, StepState.COMPARED}
    assert before(StepState.SHARED) == {StepState.GOLDEN_OK, StepState.COMPARED}
    assert before(StepState.COMPARED) == {StepState.SHADOWED}
    assert before(StepState.SHADOWED) == {StepState.GOLDEN_OK}
    assert before(StepState.IN_SERVICE) == {StepState.GOLDEN_OK}


def test_an_illegal_move_is_refused_and_changes_nothing(fleet: Fleet) -> None:
    plan = fleet.propose()

    with pytest.raises(state.IllegalMove):
        state.move(plan, PlanState.STARTED)

    assert Plan.objects.get(pk=plan.pk).state == PlanState.DRAFT


def test_of_eight_moves_at_once_one_wins(fleet: Fleet) -> None:
    run = fleet.started()
    step = HostStep.objects.filter(run=run)[0]
    won: list[int] = []
    barrier = threading.Barrier(8)

    def move(number: int) -> None:
        try:
            mine = HostStep.objects.get(pk=step.pk)
            barrier.wait()
            state.move(mine, StepState.LOCKED)
            won.append(number)
        except state.LostRace:
            return
        finally:
            connections.close_all()

    threads = [threading.Thread(target=move, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(won) == 1
    assert (HostStep.objects.get(pk=step.pk).version, Run.objects.get(pk=run.pk).state) == (2, RunState.RUNNING)
