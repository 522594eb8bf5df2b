import numpy as np
import pytest

from monitoring.drift.slices import worst_slice


def people(rng, rows, broken=None, rate=0.5):
    features = {
        "sex": rng.integers(1, 3, rows),
        "region": rng.choice(list("nesw"), rows),
        "plan": rng.choice(np.array(["free", "paid", None], dtype=object), rows),
    }
    correct = rng.random(rows) < 0.9
    if broken is not None:
        correct &= ~(broken(features) & (rng.random(rows) < rate))
    return correct, features


def found(broken, rate=0.5, seed=1):
    rng = np.random.default_rng(seed)
    reference_correct, reference_features = people(rng, 20_000)
    correct, features = people(rng, 3000, broken, rate)
    return worst_slice(correct, features, reference_correct=reference_correct, reference_features=reference_features)


def test_a_slice_of_two_features_that_holds_the_fall_is_found():
    worst = found(lambda f: (f["sex"] == 2) & (f["region"] == "s"))
    assert (worst.group.feature, worst.group.group) == ("sex and region", "2, s")
    assert worst.explains == pytest.approx(1, abs=0.25)
    assert worst.rows == pytest.approx(1 / 8, abs=0.02)
    assert worst.sentence.endswith(f"That is {worst.explains:.0%} of the fall on {worst.rows:.0%} of the rows.")


def test_a_slice_of_one_feature_is_not_made_narrower_than_it_is():
    worst = found(lambda f: f["region"] == "w")
    assert (worst.group.feature, worst.group.group) == ("region", "w")


def test_rows_without_a_value_can_be_the_slice():
    worst = found(lambda f: np.array([value is None for value in f["plan"]]))
    assert (worst.group.feature, worst.group.group) == ("plan", None)


def test_without_a_fall_there_is_no_slice():
    assert all(found(None, seed=seed) is None for seed in range(5))


def test_a_fall_that_is_spread_evenly_has_no_slice():
    everywhere = [
        found(lambda f: np.ones(len(f["sex"]), bool), rate, seed) for seed in range(20) for rate in (0.2, 0.5)
    ]
    assert everywhere == [None] * 40


def test_a_reference_without_the_feature_is_refused():
    with pytest.raises(ValueError, match="lacks these features: b"):
        worst_slice([1], {"b": [1]}, reference_correct=[1], reference_features={"a": [1]})
