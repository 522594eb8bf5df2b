"""The people: American Community Survey, Massachusetts 2015-2018, and the codebooks that an extract may use."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

DATA = Path(__file__).parent / "data" / "acs_ma_employment.parquet"
LABEL = "employed"
NUMERIC = ("AGEP",)
CATEGORICAL = (
    "SCHL", "MAR", "RELP", "DIS", "ESP", "CIT", "MIG", "MIL", "ANC", "NATIVITY", "DEAR", "DEYE", "DREM", "SEX", "RAC1P",
)  # fmt: skip
FEATURES = (*NUMERIC, *CATEGORICAL)
CODEBOOKS = ("standard", "dis_swapped", "age_in_months")
TRAFFIC_SEED = 20170101
HOLDOUT_SHARE = 0.2

Columns = dict[str, NDArray[np.int64]]


@dataclass(frozen=True)
class People:
    """Columns of equal length, one row a person: the features, and whether the person was employed."""

    features: Columns
    label: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.label)

    def take(self, rows: NDArray[np.int64]) -> "People":
        return People({name: column[rows] for name, column in self.features.items()}, self.label[rows])


def people(years: tuple[int, ...]) -> People:
    """Everybody surveyed in the years, in the order of the survey files."""
    table = pq.read_table(DATA, filters=[("year", "in", list(years))])
    features = {name: table.column(name).to_numpy().astype(np.int64) for name in FEATURES}
    return People(features, table.column(LABEL).to_numpy().astype(np.int64))


def written_in(codebook: str, group: People) -> People:
    """The same people as an extract with the codebook writes them.

    `dis_swapped` exchanges the two codes of DIS, `age_in_months` writes AGEP in months; every value stays in a range
    that the column can have.
    """
    features = dict(group.features)
    if codebook == "dis_swapped":
        features["DIS"] = 3 - features["DIS"]
    elif codebook == "age_in_months":
        features["AGEP"] = features["AGEP"] * 12
    elif codebook != "standard":
        raise ValueError(f"There is no codebook {codebook}. Choose one of {', '.join(CODEBOOKS)}.")
    return People(features, group.label)


def in_order_of_meaning(codebook: str, name: str, column: NDArray[np.int64]) -> list[int]:
    """The codes of a categorical column of an extract, those of the standard codebook in ascending order and all others
    in the places of the codes that they stand for there."""
    codes = np.unique(column).tolist()
    return codes[::-1] if codebook == "dis_swapped" and name == "DIS" else codes


def split(group: People, seed: int) -> tuple[People, People]:
    """Training and holdout people, by a fixed shuffle."""
    order = np.random.default_rng(seed).permutation(len(group))
    cut = int(len(group) * HOLDOUT_SHARE)
    return group.take(order[cut:]), group.take(order[:cut])


def traffic(seed: int = TRAFFIC_SEED) -> Iterator[tuple[dict[str, int], int]]:
    """2017 and then 2018, shuffled within each year by `seed`: in file order, residents of institutions come in
    blocks."""
    for offset, year in enumerate((2017, 2018)):
        group = people((year,))
        order = np.random.default_rng(seed + offset).permutation(len(group))
        columns = {name: column.tolist() for name, column in group.features.items()}
        labels = group.label.tolist()
        for row in order.tolist():
            yield {name: columns[name][row] for name in FEATURES}, labels[row]
