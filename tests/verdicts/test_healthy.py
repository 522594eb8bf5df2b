"""Traffic that changes as healthy traffic does wakes nobody; where somebody asks all the same, nothing is accused."""

import numpy as np
import pytest

from demo.census import People
from tests.verdicts.town import Columns, Situation, Town

pytestmark = pytest.mark.verdicts


def weekend(group: People) -> np.ndarray:
    """On some days fewer of the older people come."""
    return (group.features["AGEP"] < 60) | (np.arange(len(group)) % 4 != 0)


def new_category(columns: Columns, rng: np.random.Generator) -> Columns:
    """One person in a hundred has a code of RELP that the codebook got this year."""
    return columns | {"RELP": np.where(rng.random(len(columns["RELP"])) < 0.01, 38, columns["RELP"])}


def irrelevant(columns: Columns, rng: np.random.Generator) -> Columns:
    """A question that the model hardly reads was put otherwise: far more say yes."""
    return columns | {"DEYE": np.where(rng.random(len(columns["DEYE"])) < 0.3, 1, columns["DEYE"])}


HEALTHY = {
    "weekly season": Situation(who=weekend),
    "slow growth in volume": Situation(traffic=1.4),
    "a new but harmless category": Situation(sent=new_category),
    "small windows": Situation(rows=20),
    "an irrelevant column has drifted": Situation(sent=irrelevant),
}


@pytest.mark.parametrize("kind", HEALTHY)
def test_healthy_traffic_wakes_nobody_and_accuses_nothing(town: Town, kind: str) -> None:
    began = town.happen(HEALTHY[kind])

    alerts = town.alerts()
    judged = town.judged(began)

    assert alerts == [], judged.told()
    assert judged.word is None, judged.told()
    assert judged.suggested == []
    assert not judged.diagnosis.options[0].suggested
