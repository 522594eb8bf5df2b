"""The people, the codebooks that an extract may use, and the traffic made of them."""

import itertools

import numpy as np
import pytest

from demo.census import CODEBOOKS, FEATURES, people, split, traffic, written_in
from demo.traffic import for_ever

YEARS = {2015: 68_785, 2016: 69_126, 2017: 69_635, 2018: 70_131}


def test_every_year_has_the_people_that_were_surveyed() -> None:
    assert {year: len(people((year,))) for year in YEARS} == YEARS


def test_the_swapped_codebook_exchanges_two_codes_and_leaves_the_rest() -> None:
    group = people((2015,))

    swapped = written_in("dis_swapped", group)

    assert sorted(np.unique(swapped.features["DIS"])) == [1, 2]
    assert ((swapped.features["DIS"] == 1) == (group.features["DIS"] == 2)).all()
    assert all((swapped.features[name] == group.features[name]).all() for name in FEATURES if name != "DIS")
    assert (written_in("dis_swapped", swapped).features["DIS"] == group.features["DIS"]).all()


def test_the_codebook_in_months_multiplies_the_age_and_the_original_stays_as_it_is() -> None:
    group = people((2015,))
    before = group.features["AGEP"].copy()

    months = written_in("age_in_months", group)

    assert (months.features["AGEP"] == before * 12).all()
    assert (group.features["AGEP"] == before).all()


def test_an_unknown_codebook_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=f"There is no codebook metric. Choose one of {', '.join(CODEBOOKS)}."):
        written_in("metric", people((2015,)))


def test_training_and_holdout_share_nobody_and_leave_nobody_out() -> None:
    group = people((2015,))
    group.features["row"] = np.arange(len(group))

    training, holdout = split(group, seed=1)

    together = np.concatenate([training.features["row"], holdout.features["row"]])
    assert sorted(together) == list(range(len(group)))
    assert len(holdout) == 13_757


def test_the_traffic_is_the_same_each_time_and_spreads_those_in_institutions() -> None:
    first, again = (list(itertools.islice(traffic(), 2000)) for _ in range(2))

    assert first == again
    assert set(first[0][0]) == set(FEATURES)
    # 16 and 17 are people in institutions and other group quarters, who come in blocks in the survey's files.
    quarters = [[person["RELP"] in (16, 17) for person, _ in first[at : at + 500]] for at in range(0, 2000, 500)]
    assert all(0.01 < np.mean(block) < 0.15 for block in quarters)


def test_the_traffic_goes_on_when_everybody_was_sent() -> None:
    everybody = len(people((2017, 2018)))

    first, later = (list(itertools.islice(for_ever(), since, since + 1000)) for since in (0, everybody))

    assert first == list(itertools.islice(traffic(), 1000))
    assert len(later) == 1000
    assert later != first
