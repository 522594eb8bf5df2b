"""Groups of an incident's evidence, whatever the columns hold."""

import json
from typing import Any

import pyarrow as pa
import pytest

from incidents.evidence import _groups
from monitoring.windows import Mixed
from registry.models import Model

ROWS = 2400
MODEL = Model(slug="toy", group_columns=["AGE"])
AGES = [18 + 7 * row % 72 for row in range(ROWS)]


def rows(ages: list[Any], wrong: Any) -> pa.Table:
    """The answer 0 where 1 is right, for those whose age is `wrong`."""
    mixed = len({type(age) for age in ages if age is not None}) > 1
    texts = [None if age is None else json.dumps(age) for age in ages]
    column = pa.ExtensionArray.from_storage(Mixed(), pa.array(texts, pa.string())) if mixed else pa.array(ages)
    outputs = [0 if wrong(age) else 1 for age in ages]
    return pa.table({"output": outputs, "label": [1] * len(ages), "feature.AGE": column})


def worst(during: pa.Table, before: pa.Table) -> list[str]:
    return [group["group"] for claim in _groups(MODEL, during, before) for group in claim.data["groups"]]


def test_ages_become_bands_and_rows_without_one_a_group_of_their_own() -> None:
    ages = [None if row % 3 == 0 else age for row, age in enumerate(AGES)]
    before = rows(ages, lambda age: False)
    assert worst(rows(ages, lambda age: age is None), before) == ["None"]
    assert worst(rows(ages, lambda age: age is not None and age < 20), before)[0].startswith("up to ")


def test_a_band_is_kept_with_its_ends() -> None:
    before = rows(AGES, lambda age: False)

    [claim] = _groups(MODEL, rows(AGES, lambda age: 40 <= age < 48), before)

    worst = claim.data["groups"][0]
    low, high = float(worst["low"]), float(worst["high"])
    assert worst["group"] == f"{low:g} to {high:g}"
    assert sum(low <= age < high for age in AGES) == worst["n"]


@pytest.mark.parametrize("side", ["during", "before", "both"])
def test_a_column_of_mixed_types_is_told_apart_by_its_values(side: str) -> None:
    """One sender wrote 41, another "41": they have no order, so they are groups as they stand."""
    mixed = ["many" if row % 2 else age for row, age in enumerate(AGES)]
    during = rows(AGES if side == "before" else mixed, lambda age: age == "many" or (isinstance(age, int) and age > 80))
    before = rows(AGES if side == "during" else mixed, lambda age: False)

    found = worst(during, before)

    assert (found[:1] == ["many"]) is (side == "both")


def test_many_different_texts_are_told_apart_by_their_values() -> None:
    names = [f"branch {row % 40}" for row in range(ROWS)]
    found = worst(rows(names, lambda name: name == "branch 30"), rows(names, lambda name: False))
    assert found == ["branch 30"]
