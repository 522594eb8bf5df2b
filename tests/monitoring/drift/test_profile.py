import json

import numpy as np
import pytest

from monitoring.drift import profile as profile_module
from monitoring.drift.profile import Profile, build_profile

RNG = np.random.default_rng(11)
COLUMNS = {
    "age": np.append(RNG.integers(0, 96, 4999).astype(float), np.nan),
    "income": RNG.lognormal(10, 1, 5000),
    "school": RNG.integers(0, 25, 5000),
}
KINDS = {"age": "numeric", "income": "numeric", "school": "categorical"}


def test_a_profile_survives_json():
    document = build_profile(COLUMNS, KINDS)
    read = Profile.from_json(json.loads(json.dumps(document, allow_nan=False)))
    assert document["format"] == "lastgood-profile/1"
    assert read.to_json() == document
    assert read.fingerprint == Profile.from_json(document).fingerprint
    assert read.rows == 5000


def test_a_numeric_column_is_described_as_numpy_describes_it():
    age, finite = Profile.from_json(build_profile(COLUMNS, KINDS)).columns["age"], COLUMNS["age"][:-1]
    assert (age.n, age.missing, age.infinite, age.rows) == (4999, 1, 0, 5000)
    assert (age.minimum, age.maximum) == (0.0, 95.0)
    assert age.mean == pytest.approx(finite.mean(), rel=1e-12)
    assert age.std == pytest.approx(finite.std(), rel=1e-12)


def test_few_distinct_values_are_kept_exactly():
    age, finite = Profile.from_json(build_profile(COLUMNS, KINDS)).columns["age"], COLUMNS["age"][:-1]
    assert age.edges == sorted(set(finite.tolist()))
    assert age.at_or_below == [int((finite <= edge).sum()) for edge in age.edges]
    assert age.below == [int((finite < edge).sum()) for edge in age.edges]


@pytest.mark.parametrize("quantiles", [10, 64, 1024])
def test_between_two_edges_lies_less_than_one_quantile_of_the_reference(quantiles):
    income = Profile.from_json(build_profile(COLUMNS, KINDS, quantiles=quantiles)).columns["income"]
    assert len(income.edges) == quantiles + 1
    assert income.counts.sum() == 5000
    assert income.counts[2:-1:2].max() / 5000 < 1 / quantiles
    assert income.counts[0] == income.counts[-1] == 0


def test_decile_cells_hold_a_tenth_each():
    income = Profile.from_json(build_profile(COLUMNS, KINDS)).columns["income"]
    held = np.diff([0, *(income.at_or_below[i] for i in income.deciles)])
    assert len(held) == 10
    assert held / 5000 == pytest.approx(np.full(10, 0.1), abs=2e-3)


def test_a_column_without_a_value_and_one_of_one_value_have_profiles():
    empty = build_profile({"a": [np.nan] * 3, "b": [7.0] * 3}, {"a": "numeric", "b": "numeric"})["columns"]
    assert (empty["a"]["n"], empty["a"]["missing"], empty["a"]["edges"], empty["a"]["mean"]) == (0, 3, [], None)
    assert (empty["b"]["edges"], empty["b"]["below"], empty["b"]["at_or_below"]) == ([7.0], [0], [3])


def test_categories_beyond_the_limit_are_counted_together(monkeypatch):
    monkeypatch.setattr(profile_module, "CATEGORY_LIMIT", 2)
    column = build_profile({"c": list("aaabbcd")}, {"c": "categorical"})["columns"]["c"]
    assert (column["counts"], column["other"], column["n"]) == ([("a", 3), ("b", 2)], 2, 7)


def test_bad_input_is_refused_with_a_sentence():
    with pytest.raises(ValueError, match="no values: b"):
        build_profile({"a": [1.0]}, {"a": "numeric", "b": "numeric"})
    with pytest.raises(ValueError, match="a has 1, b has 2"):
        build_profile({"a": [1.0], "b": [1.0, 2.0]}, {"a": "numeric", "b": "numeric"})
    with pytest.raises(ValueError, match="kind text"):
        build_profile({"a": [1.0]}, {"a": "text"})
    with pytest.raises(ValueError, match="10 quantiles"):
        build_profile({"a": [1.0]}, {"a": "numeric"}, quantiles=4)
    with pytest.raises(ValueError, match="format lastgood-profile/1"):
        Profile.from_json({"format": "lastgood-profile/9", "columns": {}})
