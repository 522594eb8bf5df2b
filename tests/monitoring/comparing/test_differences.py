import numpy as np
import pytest

from monitoring.comparing.differences import of_latency, of_shares


@pytest.mark.parametrize(
    ("now", "before", "found"),
    [
        ((700, 1000), (800, 1000), "worse"),
        ((800, 1000), (700, 1000), "better"),
        ((8010, 10_000), (8000, 10_000), "alike"),
        ((8, 10), (7, 10), "unclear"),
    ],
)
def test_accuracy_is_worse_better_alike_or_too_little_is_known(now, before, found):
    assert of_shares("Accuracy", now, before, matters=0.03, good="up").found == found


def test_a_share_that_is_neither_good_nor_bad_is_another():
    one = of_shares("Share", (300, 1000), (500, 1000), matters=0.05)

    assert (one.found, one.now, one.before, one.difference) == (
        "other", "30.0% (27.2% to 32.9%) of 1,000", "50.0% (46.9% to 53.1%) of 1,000", "-20.0 points (-24.1 to -15.8)",
    )  # fmt: skip


def test_more_failures_are_worse():
    assert of_shares("Failures", (90, 1000), (10, 1000), matters=0.01, good="down").found == "worse"


def test_without_rows_on_one_side_there_is_no_difference():
    assert of_shares("Accuracy", (0, 0), (1, 2), matters=0.03) is None


@pytest.mark.parametrize(("scale", "found"), [(3.0, "worse"), (1 / 3.0, "better"), (1.0, "alike"), (1.02, "alike")])
def test_latency_is_slower_faster_or_alike(scale, found):
    rng = np.random.default_rng(0)
    before = np.sort(rng.gamma(9.0, 1.0, 4000))

    assert of_latency("Median", np.sort(rng.gamma(9.0, scale, 4000)), before, 0.5).found == found


def test_too_few_latencies_say_nothing():
    assert of_latency("Median", np.ones(99), np.ones(500), 0.5) is None
