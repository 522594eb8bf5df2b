import numpy as np
import pytest

from monitoring.drift.classifier import classifier_test


def table(rng, rows, together=0.0):
    a, b, c = rng.normal(size=(3, rows))
    return {"a": a, "b": together * a + (1 - together**2) ** 0.5 * b, "c": c, "k": rng.choice(list("xyz"), rows)}


def test_a_relation_that_changed_is_found_where_no_single_column_did():
    rng = np.random.default_rng(1)
    found = classifier_test(table(rng, 1500), table(rng, 1500, together=0.7))
    assert found.auc > 0.6
    assert found.p < 1e-6
    assert found.telling[0][0] == "a with b"
    assert sum(share for _, share in found.telling) == pytest.approx(1)


def test_a_changed_spread_an_outlier_and_a_category_are_told_by_their_columns():
    rng = np.random.default_rng(2)
    wide, named = table(rng, 800), table(rng, 800)
    wide["c"] = wide["c"] * 2
    wide["a"][0] = 1e9
    named["k"] = np.where(rng.random(800) < 0.5, "x", named["k"])
    reference = table(rng, 800)
    assert classifier_test(reference, wide).telling[0][0] == "c"
    assert classifier_test(reference, named).telling[0][0] == "k"
    assert max(classifier_test(reference, other).p for other in (wide, named)) < 1e-4


def test_samples_of_one_distribution_are_not_told_apart():
    rng = np.random.default_rng(3)
    small = sum(classifier_test(table(rng, 120), table(rng, 160)).p < 0.05 for _ in range(60))
    assert small <= 8


def test_values_that_went_missing_are_told():
    rng = np.random.default_rng(4)
    window = table(rng, 500)
    window["b"][::3] = np.nan
    found = classifier_test(table(rng, 500), window)
    assert found.p < 1e-6
    assert found.telling[0][0] == "b"


def test_too_few_rows_or_a_lacking_column_are_refused():
    rng = np.random.default_rng(5)
    with pytest.raises(ValueError, match="at least 50 rows"):
        classifier_test(table(rng, 500), table(rng, 20))
    with pytest.raises(ValueError, match="lacks these columns: k"):
        classifier_test(table(rng, 60), {n: c for n, c in table(rng, 60).items() if n != "k"})


def test_one_missing_value_does_not_make_numbers_names():
    rng = np.random.default_rng(6)
    reference, window = table(rng, 500), table(rng, 500)
    for sample in (reference, window):
        sample["b"] = sample["b"].astype(object)
        sample["b"][7] = None
    window["b"] = np.array([None if v is None else v + 1 for v in window["b"]], dtype=object)
    found = classifier_test(reference, window)
    assert found.auc > 0.7
    assert found.telling[0][0] == "b"


def test_text_in_a_column_of_numbers_is_told():
    rng = np.random.default_rng(7)
    window = table(rng, 500)
    window["c"] = window["c"].astype(object)
    window["c"][::3] = "n/a"
    assert classifier_test(table(rng, 500), window).telling[0][0] == "c"
