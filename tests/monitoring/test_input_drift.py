import json
import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from monitoring.asked import Asked
from monitoring.drift.profile import Profile, build_profile
from monitoring.drift.sketch import sketch_column
from monitoring.models import Answer, RuleKind
from monitoring.questions import ask, checked_params, limits_in_words
from monitoring.windows import numpy_column

RNG = np.random.default_rng(8)
ROWS = 4000
TRAINING = {"age": RNG.normal(40, 10, ROWS), "shoe": RNG.normal(42, 2, ROWS)}
DOCUMENT = build_profile(TRAINING, {"age": "numeric", "shoe": "numeric"})
WEIGHED = {**DOCUMENT, "importance": {"weights": {"age": 1.0, "shoe": 0.01}}}


def asked(document, **shift):
    rng = np.random.default_rng(9)
    columns = {f"feature.{n}": rng.normal(*p, 400) + shift.get(n, 0) for n, p in (("age", (40, 10)), ("shoe", (42, 2)))}
    table = pa.table(columns | {"host": ["a"] * 400})
    params = checked_params(RuleKind.INPUT_DRIFT, {})
    profile = Profile.from_json(json.loads(json.dumps(document)))
    return Asked(version="7", table=table, min_rows=200, params=params, inputs=profile, false_alarms="None in a year.")


def test_drift_of_a_column_that_the_version_hardly_reads_is_told_and_is_no_breach():
    [found] = ask(RuleKind.INPUT_DRIFT, asked(WEIGHED, shoe=5))
    assert found.answer == Answer.OK
    assert found.sentence == (
        "The inputs of version 7 are unlike its training data only in shoe, which it hardly reads: less than 5% as "
        "important as its most important one."
    )
    assert (found.data["drifted"], found.data["unimportant"]) == ([], ["shoe"])


def test_the_same_drift_is_a_breach_where_importance_is_not_known_or_great():
    [unknown] = ask(RuleKind.INPUT_DRIFT, asked(DOCUMENT, shoe=5))
    assert (unknown.answer, unknown.data["drifted"]) == (Answer.BREACH, ["shoe"])
    [great] = ask(RuleKind.INPUT_DRIFT, asked(WEIGHED, age=20))
    assert (great.answer, great.data["drifted"]) == (Answer.BREACH, ["age"])


def test_columns_are_ranked_by_what_their_drift_weighs():
    [found] = ask(RuleKind.INPUT_DRIFT, asked(WEIGHED, age=15, shoe=8))
    assert [column["column"] for column in found.data["columns"]] == ["age", "shoe"]
    age, shoe = found.data["columns"]
    assert (age["importance"], shoe["importance"]) == (1.0, 0.01)
    assert shoe["psi"] > age["psi"]
    assert age["score"] > shoe["score"]
    assert found.data["drifted"] == ["age"]
    assert found.data["false_alarms"] == "None in a year."
    assert found.data["weighed"] is True
    assert ask(RuleKind.INPUT_DRIFT, asked(DOCUMENT))[0].data["weighed"] is False


def test_the_rule_says_what_it_leaves_out():
    assert limits_in_words(RuleKind.INPUT_DRIFT, {}).endswith(
        "A column known to be less than 5% as important to the version as its most important one is told and is no "
        "breach."
    )
    assert "important" not in limits_in_words(RuleKind.INPUT_DRIFT, {"importance": 0.0})
    assert "important" not in limits_in_words(RuleKind.OUTPUT_DRIFT, {})


def test_columns_that_are_not_logged_and_columns_that_nobody_knows_are_named():
    given = asked(DOCUMENT)
    table = given.table.rename_columns(["feature.age", "feature.hat", "host"])

    [found] = ask(RuleKind.INPUT_DRIFT, replace(given, table=table))

    assert (found.data["absent"], found.data["unknown"]) == (["shoe"], ["hat"])
    assert (found.answer, found.data["drifted"]) == (Answer.BREACH, ["shoe"])
    [whole] = ask(RuleKind.INPUT_DRIFT, given)
    assert (whole.data["absent"], whole.data["unknown"]) == ([], [])


def test_what_the_signature_says_of_inputs_is_told_with_and_without_a_profile():
    given = asked(DOCUMENT)
    table = given.table.append_column("feature.size", pa.array(["M"] * 400)).append_column("feature.town", [[7] * 400])
    signed = {"age": "FP64", "size": "INT64", "town": "BYTES", "job": "INT64"}

    [known] = ask(RuleKind.INPUT_DRIFT, replace(given, table=table, signed=signed))
    [unprofiled] = ask(RuleKind.INPUT_DRIFT, replace(given, table=table, signed=signed, inputs=None))

    for found in (known, unprofiled):
        told = [found.data[name] for name in ("absent", "unknown", "mistyped")]
        assert told == [["job"], ["shoe"], ["size", "town"]]
    assert (known.answer, unprofiled.answer) == (Answer.OK, Answer.NOT_ENOUGH)
    assert unprofiled.sentence == "Version 7 came without a profile of its training data."


@pytest.mark.parametrize("profiled", [True, False])
def test_what_came_as_another_type_is_told_from_a_fleets_sketches_as_from_its_rows(profiled):
    signed = {
        "age": "FP64", "shoe": "INT64", "town": "BYTES", "size": "INT64", "job": "BYTES", "late": "FP64",
        "none": "INT64", "code": "BYTES",
    }  # fmt: skip
    sent = {
        "age": pa.array([40.0, math.inf] * 200), "shoe": pa.array(["42", "XL"] * 200), "town": pa.array([7] * 400),
        "size": pa.array(["M"] * 400), "job": pa.array(["cook", None] * 200), "late": pa.array([1.5] * 400),
        "none": pa.nulls(400), "code": pa.array([0.5] * 400),
    }  # fmt: skip
    table = pa.table({f"feature.{name}": column for name, column in sent.items()} | {"host": ["a"] * 400})
    kinds = dict.fromkeys(("feature.age", "feature.shoe", "feature.late", "feature.code"), "numeric")
    sketches = {
        name: sketch_column(numpy_column(table, name), kinds.get(name, "categorical"))
        for name in table.column_names
        if name != "host"
    }
    given = replace(asked(DOCUMENT), signed=signed, inputs=asked(DOCUMENT).inputs if profiled else None)

    def told(**more):
        return ask(RuleKind.INPUT_DRIFT, replace(given, **more))[0].data["mistyped"]

    of_fleet = {"table": table.select(["host"]), "read": table.select}
    assert told(table=table) == ["shoe", "town", "size", "code"]
    assert told(sketches=sketches, **of_fleet) == ["shoe", "town", "size", "code"]
    # Hosts that count a column in two ways sent it as two types.
    assert told(sketches={**sketches, "feature.late": None}, **of_fleet) == ["shoe", "town", "size", "late", "code"]


def test_inputs_taken_together_are_those_that_the_version_is_not_known_to_hardly_read():
    def together(weights):
        params = checked_params(RuleKind.JOINT_DRIFT, {})
        held = {"holdout": TRAINING, "weights": weights}
        return ask(RuleKind.JOINT_DRIFT, replace(asked(DOCUMENT, shoe=5), params=params, **held))[0]

    weighed, unknown = together({"age": 1.0, "shoe": 0.01}), together({})
    assert (weighed.answer, weighed.data["columns_compared"]) == (Answer.OK, 1)
    assert (unknown.answer, unknown.data["columns_compared"]) == (Answer.BREACH, 2)
    assert limits_in_words(RuleKind.JOINT_DRIFT, {}).endswith(
        "without columns known to be less than 5% as important as the most important one."
    )
