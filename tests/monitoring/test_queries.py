from datetime import timedelta

import numpy as np
import pytest

from monitoring.drift.measures import wilson
from monitoring.queries import accuracy_between, latency_between
from tests.monitoring.world import START, WINDOW, answers, log, make_endpoint, make_hosts, part

pytestmark = pytest.mark.django_db
END = START + WINDOW


def right_ones(given):
    return int((given.table.column("output").to_numpy() == given.label).sum())


def test_accuracy_counts_labelled_rows_of_the_version_and_host_asked_for():
    endpoint, [one, two] = make_endpoint(), make_hosts("gpu-1", "gpu-2")
    good, bad = (
        answers(part(2017, 0, 300), accuracy=0.9),
        answers(part(2017, 300, 100), accuracy=0.3, version=2, seed=1),
    )
    log(endpoint, one, good)
    log(endpoint, two, bad)
    log(endpoint, two, answers(part(2017, 400, 50), seed=2), labelled=False)

    everything = accuracy_between(endpoint, START, END)
    second = accuracy_between(endpoint, START, END, version="2")
    on_one = accuracy_between(endpoint, START, END, host="gpu-1")

    assert (everything.n, everything.correct) == (400, right_ones(good) + right_ones(bad))
    assert (second.n, second.correct) == (100, right_ones(bad))
    assert (second.low, second.high) == wilson(right_ones(bad), 100)
    assert (on_one.n, on_one.correct) == (300, right_ones(good))


def test_accuracy_without_labels_is_unknown_and_not_zero():
    found = accuracy_between(make_endpoint(), START, END)

    assert (found.n, found.correct, found.share, found.low, found.high) == (0, 0, None, 0.0, 1.0)


def test_latency_is_the_median_and_the_95th_percentile():
    endpoint, [host] = make_endpoint(), make_hosts("gpu-1")
    given = answers(part(2017, 0, 200), latency_ms=3.0)
    log(endpoint, host, given, labelled=False)

    n, p50, p95 = latency_between(endpoint, START, END)

    values = given.table.column("latency_ms").to_numpy()
    assert n == 200
    assert (p50, p95) == pytest.approx(tuple(np.quantile(values, [0.5, 0.95])))
    assert latency_between(endpoint, END, END + timedelta(seconds=1)) == (0, None, None)
