"""What is sent, against what was sent before: broken by itself, moved with people, or as it was."""

import numpy as np
import pytest

from incidents.diagnosing.inputs import Columns, compared
from tests.monitoring.world import FEATURES, part


def people(start: int, rows: int = 1500) -> dict[str, np.ndarray]:
    columns = part(2017, start, rows)
    return {name: columns[name] for name in FEATURES}


BEFORE = people(0, 3000)


def sent(**changed: np.ndarray) -> Columns:
    return people(4000) | changed


def test_other_people_of_the_same_kind_are_the_same() -> None:
    found = compared(BEFORE, sent())
    assert (found.verdict, found.moved, found.others) == ("same", [], None)


NOW = people(4000)


@pytest.mark.parametrize(
    ("changed", "how", "says"),
    [
        ({"AGEP": NOW["AGEP"] * 12}, "scaled", "AGEP is 12.4 times what it was"),
        ({"DIS": 3 - NOW["DIS"]}, "recoded", "DIS has the shares from before under other codes"),
        ({"SEX": np.ones_like(NOW["SEX"])}, "stuck", "SEX is 1 in 100% of the rows"),
        (
            {"SCHL": np.where(np.arange(1500) % 4, NOW["SCHL"], 99)},
            "new",
            "SCHL has values that it never had before (99) in 25% of the rows",
        ),
        (
            {"AGEP": np.where(np.arange(1500) % 2, NOW["AGEP"].astype(float), np.nan)},
            "missing",
            "AGEP is missing in 50%",
        ),
    ],
)
def test_a_broken_column_is_upstreams(changed: dict[str, np.ndarray], how: str, says: str) -> None:
    found = compared(BEFORE, sent(**changed))
    assert found.verdict == "upstream"
    assert [(one.how, one.broken) for one in found.moved] == [(how, True)]
    assert found.moved[0].because.startswith(says)


def test_a_column_that_is_not_sent_any_more_is_missing() -> None:
    now = {name: column for name, column in NOW.items() if name != "MAR"}
    found = compared(BEFORE, now)
    assert (found.verdict, found.moved[0].because) == ("upstream", "MAR is not sent any more")


def test_younger_people_move_many_columns_together() -> None:
    everybody = part(2017, 0, 20_000)
    young = (everybody["AGEP"] >= 16) & (everybody["AGEP"] <= 24)
    found = compared(BEFORE, {name: everybody[name][young] for name in FEATURES})
    assert found.verdict == "shift"
    assert {"AGEP", "MAR"} <= {one.column for one in found.moved}
    assert not any(one.broken for one in found.moved)


def test_one_column_that_moves_while_no_other_knows_of_it_is_upstreams() -> None:
    rng = np.random.default_rng(3)
    changed = np.where(rng.random(1500) < 0.4, 1, NOW["DREM"])
    found = compared(BEFORE, sent(DREM=changed))
    assert (found.verdict, found.others, [one.how for one in found.moved]) == ("upstream", False, ["spread"])


def test_few_rows_are_not_compared() -> None:
    assert compared(BEFORE, people(4000, 60)).verdict == "unknown"
