"""What a replay says of a candidate, and why callers could not be served by it."""

from typing import Any

import numpy as np

from incidents.rollback.replaying import _slices, objections, sentences
from registry.models import Version

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
    bands = _slices(column)
    assert [name for name, _ in bands][:2] == ["0 to below 19.8", "19.8 to below 39.6"]
    assert np.array_equal(np.sum([mine for _, mine in bands], axis=0), np.ones(100))
