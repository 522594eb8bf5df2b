"""Where the version is not to blame, nobody is told to go back from it."""

import numpy as np
import pytest

from demo.census import People
from tests.verdicts.town import Columns, Situation, Town

pytestmark = pytest.mark.verdicts


def recoded(columns: Columns, rng: np.random.Generator) -> Columns:
    return columns | {"DIS": 3 - columns["DIS"]}


def in_months(columns: Columns, rng: np.random.Generator) -> Columns:
    return columns | {"AGEP": columns["AGEP"] * 12}


def stuck(columns: Columns, rng: np.random.Generator) -> Columns:
    """The join upstream finds nobody: everybody has the code that stands for nothing."""
    return columns | {"SCHL": np.zeros_like(columns["SCHL"])}


def shuffled(columns: Columns, rng: np.random.Generator) -> Columns:
    """A join on the wrong key: every value is somebody else's. No column shows it."""
    order = rng.permutation(len(columns["AGEP"]))
    return columns | {name: columns[name][order] for name in ("AGEP", "SCHL", "RELP")}


def in_months_for_women(columns: Columns, rng: np.random.Generator) -> Columns:
    """One of two sources has begun to send months."""
    return columns | {"AGEP": np.where(columns["SEX"] == 2, columns["AGEP"] * 12, columns["AGEP"])}


def swapped(columns: Columns, rng: np.random.Generator) -> Columns:
    """Two columns of numbers stand in each other's place."""
    return columns | {"AGEP": columns["SCHL"], "SCHL": np.minimum(columns["AGEP"], 24)}


def capped(columns: Columns, rng: np.random.Generator) -> Columns:
    """A form that knows no age above 50."""
    return columns | {"AGEP": np.minimum(columns["AGEP"], 50)}


@pytest.mark.parametrize(
    ("sent", "names"),
    [
        (recoded, "DIS has the shares from before under other codes"),
        (in_months, "AGEP is 12 times what it was"),
        (stuck, "SCHL"),
        (in_months_for_women, "AGEP"),
        (swapped, "AGEP"),
        (capped, "AGEP"),
    ],
)
def test_a_broken_column_is_upstreams_and_no_older_version_is_suggested(town: Town, sent: object, names: str) -> None:
    began = town.happen(Situation(sent=sent))

    judged = town.judged(began)

    assert town.alerts(), judged.told()
    assert (judged.word, judged.suggested) == ("upstream data", ["Freeze", "Fix forward"]), judged.told()
    assert names in judged.because, judged.told()


def test_other_people_are_a_population_shift(town: Town) -> None:
    """Only people between 14 and 24 come: what they answer is usual for them, and they are harder to tell."""

    def young(group: People) -> np.ndarray:
        return (group.features["AGEP"] >= 16) & (group.features["AGEP"] <= 24)

    began = town.happen(Situation(who=young))

    judged = town.judged(began)

    assert (judged.word, judged.suggested) == ("a population shift", ["Retrain"]), judged.told()
    assert "moved together" in judged.because


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        ("lie", "golden rows otherwise"),
        ("bits", "golden rows otherwise"),
        ("slow", "answers take"),
        ("gone", "none since"),
        ("codes", "golden rows otherwise"),
        ("stale", "golden rows otherwise"),
    ],
)
def test_a_bad_host_is_named_and_drained(town: Town, mode: str, says: str) -> None:
    began = town.happen(Situation(host=mode))

    judged = town.judged(began)

    third = town.hosts[2].name
    assert (judged.word, judged.suggested) == ("a bad host", [f"Drain {third}"]), judged.told()
    assert third in judged.because
    assert says in judged.because, judged.told()


def test_a_host_that_lies_after_a_release_is_not_taken_for_the_release(town: Town) -> None:
    began = town.happen(Situation(release="none", host="lie"))

    judged = town.judged(began)

    assert (judged.word, judged.suggested) == ("a bad host", [f"Drain {town.hosts[2].name}"]), judged.told()


def test_a_column_that_broke_with_an_honest_release_is_not_held_against_the_release(town: Town) -> None:
    began = town.happen(Situation(release="none", sent=in_months))

    judged = town.judged(began)

    assert (judged.word, judged.suggested) == ("upstream data", ["Freeze", "Fix forward"]), judged.told()


def flipped(label: np.ndarray, output: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.where(rng.random(len(label)) < 0.25, 1 - label, label).astype(float)


def flipped_for_the_employed(label: np.ndarray, output: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.where((label == 1) & (rng.random(len(label)) < 0.4), 0, label).astype(float)


def only_the_employed(label: np.ndarray, output: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.where(label == 1, 1.0, np.nan)


def late_for_the_refused(label: np.ndarray, output: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Who was told no is not asked again for months; of one in twenty it is known by chance."""
    return np.where((output == 1) | (rng.random(len(label)) < 0.05), label, np.nan)


@pytest.mark.parametrize("truth", [flipped, flipped_for_the_employed, only_the_employed, late_for_the_refused])
def test_labels_that_can_not_be_relied_on_accuse_nobody(town: Town, truth: object) -> None:
    began = town.happen(Situation(truth=truth))

    judged = town.judged(began)

    assert (judged.word, judged.suggested) == ("suspect labels", ["Wait"]), judged.told()


def test_flipped_labels_after_a_release_do_not_accuse_the_release(town: Town) -> None:
    began = town.happen(Situation(release="none", truth=flipped))

    judged = town.judged(began)

    assert (judged.word, judged.suggested) == ("suspect labels", ["Wait"]), judged.told()


def late(label: np.ndarray, output: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.where(rng.random(len(label)) < 0.02, label, np.nan)


def test_labels_that_have_not_come_yet_are_not_enough_data(town: Town) -> None:
    began = town.happen(Situation(truth=late))

    judged = town.judged(began)

    assert (judged.word, judged.suggested) == ("not enough data", ["Wait"]), judged.told()
    assert "they may be late" in judged.because


def test_slow_answers_under_more_traffic_are_load(town: Town) -> None:
    began = town.happen(Situation(traffic=3.0, slowness=4.0))

    judged = town.judged(began)

    assert (judged.word, judged.suggested) == ("load", ["Fix forward"]), judged.told()
    assert "3.0 times the traffic" in judged.because
