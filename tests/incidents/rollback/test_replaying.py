"""What a replay says of a candidate, and why callers could not be served by it."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from incidents.rollback.replaying import (
    _compared,
    _shares,
    figures_of,
    objections,
    sentences,
)
from incidents.rollback.slices import Hit, Slice, _cut, slices_of
from registry.models import Model, Version

INPUTS = [{"name": "AGE", "datatype": "INT64"}, {"name": "SEX", "datatype": "INT64"}]
OUTPUTS = [{"name": "employed", "datatype": "INT64"}, {"name": "score", "datatype": "FP32"}]


def version(inputs: list[dict[str, str]] = INPUTS, outputs: list[dict[str, str]] = OUTPUTS) -> Version:
    return Version(number=2, signature={"inputs": inputs, "outputs": outputs})


def test_the_same_signature_serves_the_same_callers() -> None:
    assert objections(version(), version()) == []


def test_an_input_that_callers_do_not_send_and_one_that_it_does_not_take_are_named() -> None:
    older = version(inputs=[{"name": "AGE", "datatype": "INT64"}, {"name": "MAR", "datatype": "INT64"}])
    [said] = objections(older, version())
    assert said == (
        "Its signature differs from that of the live version. It asks for MAR, which callers of version 2 don't send. "
        "It does not take SEX, which callers send."
    )


def test_an_output_that_callers_may_read_and_another_datatype_are_named() -> None:
    [said] = objections(version(outputs=[{"name": "employed", "datatype": "BOOL"}]), version())
    assert "It does not answer score, which callers of version 2 may read." in said
    assert "The datatype differs of employed (INT64 there, BOOL here)." in said


def test_an_output_more_than_callers_know_is_no_objection() -> None:
    assert objections(version(outputs=[*OUTPUTS, {"name": "why", "datatype": "BYTES"}]), version()) == []


def replay(**more: Any) -> dict[str, Any]:
    found = {
        "rows": 900, "labelled": 900, "changed": 100, "candidate": {"accuracy": 0.8}, "live": {"accuracy": 0.7},
        "paired": {"low": 0.08, "high": 0.12, "p": 1e-9}, "groups": [],
    }  # fmt: skip
    return found | more


def test_a_sure_difference_is_told_with_its_interval() -> None:
    assert sentences(replay()) == [
        "On 900 labelled rows of this incident it is right in 80.0 %, the live version in 70.0 %: +8.0 to +12.0 points."
    ]


def test_a_difference_that_chance_explains_is_told_as_such() -> None:
    [said] = sentences(replay(paired={"low": -0.01, "high": 0.02, "p": 0.4}))
    assert said.endswith("the live version in 70.0 %; chance explains the difference.")


def test_a_group_for_which_it_is_surely_worse_is_named() -> None:
    groups = [{"column": "SEX", "value": "2", "worse": True}, {"column": "SEX", "value": "1", "worse": False}]
    assert sentences(replay(groups=groups))[1] == "It does worse than the live version for SEX 2."


def test_numbers_of_many_values_are_cut_into_bands_that_hold_each_row_once() -> None:
    column = np.arange(100)
    bands = _cut(column)
    assert [name for name, _ in bands][:2] == ["0 to below 19.8", "19.8 to below 39.6"]
    assert np.array_equal(np.sum([mine for _, mine in bands], axis=0), np.ones(100))


def grouped(right: np.ndarray, was: np.ndarray, sex: np.ndarray) -> tuple[list[dict[str, Any]], int]:
    asked = Version(model=Model(group_columns=["SEX", "AGEP"]))
    rows = pa.table({"feature.SEX": pa.array(sex)})
    slices, small = slices_of(asked, rows, np.ones(len(sex), dtype=bool), "feature.")
    return _compared(slices, right, was), small


def test_a_slice_that_surely_loses_stands_first_with_its_interval() -> None:
    sex = np.repeat([1, 2, 3], [200, 200, 20])
    was = np.tile([True, True, True, False], 105)
    right = np.where(sex == 2, np.tile([True, False], 210), True)
    groups, small = grouped(right, was, sex)
    assert [(group["value"], group["worse"]) for group in groups] == [("2", True), ("1", False)]
    assert (groups[0]["candidate"], groups[0]["live"]) == (0.5, 0.75)
    assert groups[0]["low"] < 0.5 < groups[0]["high"]
    assert -0.35 < groups[0]["gain_low"] < -0.25 < groups[0]["gain_high"] < 0
    assert groups[1]["gain_low"] > 0
    assert small == 1


def test_of_a_holdout_the_slice_that_is_surely_below_the_rest_is_marked() -> None:
    sex = np.repeat([1, 2], 300)
    right = np.where(sex == 2, np.tile([True, True, False], 200), np.tile([True] * 9 + [False], 60))
    slices = [Slice("SEX", "1", sex == 1), Slice("SEX", "2", sex == 2)]
    groups = _shares(slices, right)
    assert [(group["value"], group["n"], group["accuracy"], group["worse"]) for group in groups] == [
        ("2", 300, 0.666667, True), ("1", 300, 0.9, False),
    ]  # fmt: skip
    assert 0.6 < groups[0]["low"] < 0.666667 < groups[0]["high"] < 0.73


def test_slices_that_are_alike_are_not_marked() -> None:
    sex = np.repeat([1, 2], 300)
    assert not any(
        group["worse"]
        for group in _shares(
            [Slice("SEX", "1", sex == 1), Slice("SEX", "2", sex == 2)], np.tile([True, True, False], 200)
        )
    )


def test_a_band_that_was_hit_most_holds_the_rows_of_the_evidence_and_stands_first() -> None:
    age, sex = np.arange(600) % 100, np.repeat([1, 2], 300)
    hit = Hit("AGEP", "30 to 60", 30.0, 60.0)
    asked = Version(model=Model(group_columns=["SEX", "AGEP"]))
    rows = pa.table({"feature.SEX": pa.array(sex), "feature.AGEP": pa.array(age)})

    slices, small = slices_of(asked, rows, np.ones(600, dtype=bool), "feature.", hit)
    groups = _compared(slices, np.ones(600, dtype=bool), age < 30)

    assert np.array_equal(slices[0].rows, (age >= 30) & (age < 60))
    assert [(one.column, one.value, one.hit) for one in slices[:2]] == [("AGEP", "30 to 60", True), ("SEX", "1", False)]
    assert (groups[0]["value"], groups[0]["hit"], groups[0]["n"]) == ("30 to 60", True, 180)
    assert (groups[0]["live"], groups[0]["candidate"], small) == (0.0, 1.0, 0)


@pytest.mark.parametrize("column", [np.array([1, 2, 2]), np.array([1.0, 2.0, np.nan]), np.array(["1", "2", "x"])])
def test_a_value_that_was_hit_most_is_found_whatever_its_columns_type(column: np.ndarray) -> None:
    assert Hit("SEX", "2").rows(column).tolist() == [False, True, column[2] == 2]
    assert Hit("SEX", "None").rows(column).tolist() == [False, False, column[2] != column[2]]


def test_open_bands_have_one_end() -> None:
    ages = np.array([10.0, 20.0, 80.0, np.nan])
    assert Hit("AGEP", "up to 20", None, 20.0).rows(ages).tolist() == [True, False, False, False]
    assert Hit("AGEP", "80 to on", 80.0, None).rows(ages).tolist() == [False, False, True, False]


def test_the_value_that_was_hit_most_is_not_told_twice() -> None:
    asked = Version(model=Model(group_columns=["SEX"]))
    rows = pa.table({"SEX": pa.array(np.repeat([1, 2], 100))})

    slices, _ = slices_of(asked, rows, np.ones(200, dtype=bool), "", Hit("SEX", "2"))

    assert [(one.value, one.hit) for one in slices] == [("2", True), ("1", False)]


def test_what_becomes_of_the_slice_that_was_hit_most_is_told_of_both_sets() -> None:
    window = {
        "column": "SEX",
        "value": "2",
        "hit": True,
        "worse": False,
        "live": 0.5,
        "candidate": 0.75,
        "low": 0.7,
        "high": 0.8,
    }
    held = {"column": "SEX", "value": "2", "hit": True, "worse": False, "accuracy": 0.78, "low": 0.72, "high": 0.83}
    holdout = {"n": 1000, "accuracy": 0.82, "low": 0.795, "high": 0.843, "groups": [held]}
    hit = {"column": "SEX", "value": "2"}

    assert sentences(replay(hit=hit, groups=[window], holdout=holdout))[1] == (
        "For SEX 2, which the incident hit most, it is right in 75.0 % (70.0 % to 80.0 %), the live version in 50.0 %; "
        "of its holdout's rows of that kind in 78.0 % (72.0 % to 83.0 %)."
    )
    assert sentences(replay(hit=hit, groups=[]))[1] == (
        "Too few labelled rows are of SEX 2, which the incident hit most, to tell it apart."
    )


def test_the_holdout_is_told_with_its_interval_and_the_slices_below_the_rest() -> None:
    holdout = {"n": 1000, "accuracy": 0.82, "low": 0.795, "high": 0.843, "groups": []}
    assert sentences(replay(holdout=holdout))[1] == (
        "On 1000 rows of its holdout it is right in 82.0 % (79.5 % to 84.3 %)."
    )
    worse = holdout | {"groups": [{"column": "SEX", "value": "2", "worse": True}]}
    assert sentences(replay(holdout=worse))[1].endswith("(79.5 % to 84.3 %), less for SEX 2 than for the rest.")


def test_the_figures_for_the_record_are_texts() -> None:
    interval = {"accuracy": 0.8, "low": 0.78, "high": 0.82}
    found = figures_of(replay(candidate=interval, live=interval))
    assert (found["accuracy"], found["live_high"], found["difference_low"]) == ("0.800000", "0.820000", "0.080000")
    assert figures_of({"rows": 20, "changed": 3}) == {}
