"""The enumeration is whole: every legal move is killed at, or it is said why not."""

import pytest

from incidents.rollback.models import HostStep, Plan, Run, TrialState, Watch, Wave
from incidents.rollback.state import MOVES
from tests.faults.matrix.edges import CASES, NOT_ENUMERATED

NAMES = {HostStep: "step", Plan: "plan", Run: "run", Watch: "watch", Wave: "wave"}


@pytest.mark.parametrize("table", list(NAMES))
def test_every_legal_move_is_enumerated_or_excused(table: type) -> None:
    legal = {f"{NAMES[table]}:{before}>{after}" for before, to in MOVES[table].items() for after in to}
    killed = {case.edge for case in CASES}
    assert legal - killed - set(NOT_ENUMERATED) == set()
    assert {edge for edge in killed | set(NOT_ENUMERATED) if edge.startswith(f"{NAMES[table]}:")} - legal == set()


def test_what_every_trial_can_come_to_is_enumerated_or_excused() -> None:
    known = {*(case.edge for case in CASES), *NOT_ENUMERATED}
    assert {edge for edge in known if edge.startswith("trial:")} == {f"trial:{state}" for state in TrialState.values}


def test_no_edge_is_both_enumerated_and_excused() -> None:
    assert {case.edge for case in CASES} & set(NOT_ENUMERATED) == set()
