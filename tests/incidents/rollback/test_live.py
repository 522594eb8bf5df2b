"""What is asked of a switched fleet's live traffic, by real rows of a prediction log."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from incidents.rollback.checks import compared_errors, error_answer
from incidents.rollback.live import accuracy_answer, live_accuracy, live_latency, live_outputs
from incidents.rollback.models import CheckAnswer
from tests.monitoring.stream import play, watch
from tests.monitoring.world import START, WINDOW, answers, log, make_endpoint, make_hosts, make_version, part

PASS, FAIL, INCONCLUSIVE = CheckAnswer.PASS, CheckAnswer.FAIL, CheckAnswer.INCONCLUSIVE
SWITCHED = START + 3 * WINDOW
LATENCY = {"max_ratio": "2.0", "floor_ms": "1.0", "min_rows": "50"}
ACCURACY = {"promised": "0.8", "margin": "0.03", "min_rows": "300"}


def errors(failures: int, requests: int, min_requests: int = 16):
    return error_answer(
        failures=failures,
        requests=requests,
        max_share=Decimal("0.01"),
        min_requests=min_requests,
        host=None,
        where="h1",
    )


@pytest.mark.parametrize(
    ("failures", "requests", "min_requests", "answer", "observed"),
    [
        (0, 4, 5, INCONCLUSIVE, "4 of 16 requests needed for an answer"),
        (0, 15, 5, INCONCLUSIVE, "15 of 16 requests needed for an answer"),
        (1, 4, 5, INCONCLUSIVE, "4 of 5 requests needed for an answer"),
        (0, 16, 5, PASS, "0 of 16 failed"),
        (1, 20, 20, INCONCLUSIVE, "1 of 20 failed"),
        (2, 20, 20, FAIL, "2 of 20 failed"),
        (40, 40, 20, FAIL, "40 of 40 failed"),
        (4, 1000, 20, INCONCLUSIVE, "4 of 1000 failed"),
        (3, 1000, 20, PASS, "3 of 1000 failed"),
        (0, 0, 0, PASS, "no live traffic here"),
        (0, 3, 0, PASS, "0 of 3 failed"),
        (1, 3, 0, INCONCLUSIVE, "1 of 3 failed"),
        (2, 60, 0, INCONCLUSIVE, "2 of 60 failed"),
        (3, 3, 0, FAIL, "3 of 3 failed"),
    ],
)
def test_errors_since_the_switch(failures, requests, min_requests, answer, observed):
    answered = errors(failures, requests, min_requests)
    assert (answered.answer, answered.observed) == (answer, observed)
    assert answered.wait == (answer == INCONCLUSIVE)


def test_an_answer_about_errors_shows_the_exact_interval():
    assert errors(2, 20).interval == "1.2 % to 31.7 %"
    assert errors(0, 0, 0).interval == ""


@pytest.mark.parametrize(
    ("new", "old", "answer"),
    [
        ((2, 60), (0, 900), FAIL),
        ((2, 60), (28, 900), INCONCLUSIVE),
        ((6, 2000), (9, 2000), PASS),
        ((1, 20), (0, 9), INCONCLUSIVE),
    ],
)
def test_errors_beside_those_of_the_other_version(new, old, answer):
    counted = [dict(zip(("failures", "requests"), pair, strict=True)) for pair in (new, old)]
    more = Decimal("0.01")
    answered = compared_errors(new=counted[0], old=counted[1], max_more=more, host=None, where="version 2 on h1")
    assert (answered.answer, answered.wait) == (answer, answer == INCONCLUSIVE)
    assert answered.observed == f"{new[0]} of {new[1]} failed, {old[0]} of {old[1]} beside it"


def test_an_accuracy_on_few_rows_is_no_pass_however_good():
    asked = {"promised": Decimal("0.9"), "margin": Decimal("0.02")}
    assert accuracy_answer("accuracy", "?", np.ones(30), **asked).answer == PASS
    right = np.random.default_rng(1).permutation(np.repeat([1, 0], [28, 2]))
    few = accuracy_answer("accuracy", "?", right, **asked)
    assert (few.answer, few.observed, few.wait) == (INCONCLUSIVE, "93.3 % of 30 rows", True)
    assert accuracy_answer("accuracy", "?", np.tile(right, 40), **asked).answer == PASS
    none = accuracy_answer("accuracy", "?", np.array([]), **asked)
    assert (none.answer, none.observed, none.interval) == (INCONCLUSIVE, "no labelled rows", "")


@pytest.mark.parametrize(("right", "answer"), [(27, PASS), (26, INCONCLUSIVE), (18, FAIL), (0, FAIL)])
def test_a_holdout_that_keeps_its_promise_passes_however_few_its_rows(right, answer):
    asked = {"promised": Decimal("0.9"), "margin": Decimal("0.02"), "holdout": True}
    assert accuracy_answer("holdout", "?", np.repeat([1, 0], [right, 30 - right]), **asked).answer == answer


def traffic(latency_ms: float = 1.0, accuracy: float = 0.8, rows: int = 600, always: int | None = None):
    """Three good windows of version 1, then version 2 after the switch, which gives one answer `always` where that is
    said: the endpoint and version 2."""
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1")
    make_version(endpoint, 1)
    version = make_version(endpoint, 2)
    watch(endpoint)
    for index in range(3):
        play(endpoint, hosts, index)
    given = answers(part(2017, 9000, rows), start=SWITCHED, version=2, accuracy=accuracy, latency_ms=latency_ms)
    if always is not None:
        given = replace(given, table=one_answer(given.table, always))
    log(endpoint, hosts[0], given)
    return endpoint, version


def one_answer(table: pa.Table, always: int) -> pa.Table:
    """The rows, all answered alike and as surely."""
    for name, values in (("output", np.full(len(table), always)), ("score", np.full(len(table), always, np.float32))):
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    return table


@pytest.mark.django_db
def test_live_latency_and_accuracy_that_are_as_good_pass():
    endpoint, version = traffic()
    latency = live_latency(endpoint, version, SWITCHED, SWITCHED, SWITCHED + WINDOW, LATENCY)
    assert (latency.answer, latency.wait) == (PASS, False)
    assert latency.observed.endswith(" ms)")
    assert latency.interval.endswith(" times")
    accuracy = live_accuracy(endpoint, version, SWITCHED, SWITCHED + WINDOW, ACCURACY)
    assert (accuracy.answer, accuracy.expected) == (PASS, "at least 77.0 % (promised 80.0 %)")


@pytest.mark.django_db
def test_live_latency_and_accuracy_that_are_worse_fail():
    endpoint, version = traffic(latency_ms=8.0, accuracy=0.6)
    latency = live_latency(endpoint, version, SWITCHED, SWITCHED, SWITCHED + WINDOW, LATENCY)
    assert (latency.answer, latency.name) == (FAIL, "latency")
    assert live_accuracy(endpoint, version, SWITCHED, SWITCHED + WINDOW, ACCURACY).answer == FAIL


OUTPUTS = {"max_psi": "0.25", "min_rows": "300"}


@pytest.mark.django_db
@pytest.mark.parametrize(("always", "answer"), [(None, PASS), (1, FAIL)], ids=["as in training", "one answer for all"])
def test_outputs_are_held_against_the_versions_reference(always, answer):
    endpoint, version = traffic(always=always)
    found = live_outputs(endpoint, version, SWITCHED, SWITCHED + WINDOW, OUTPUTS)
    assert (found.name, found.answer, found.wait) == ("outputs", answer, False)
    assert found.observed.endswith("600 rows)")


@pytest.mark.django_db
def test_outputs_of_a_version_without_a_reference_are_not_asked_about():
    endpoint, version = traffic()
    version.profile = None
    assert live_outputs(endpoint, version, SWITCHED, SWITCHED + WINDOW, OUTPUTS) is None


@pytest.mark.django_db
def test_live_traffic_that_is_too_little_waits():
    endpoint, version = traffic(rows=40)
    latency = live_latency(endpoint, version, SWITCHED, SWITCHED, SWITCHED + WINDOW, LATENCY)
    assert (latency.answer, latency.observed, latency.wait) == (
        INCONCLUSIVE,
        "40 of 50 requests needed for an answer",
        True,
    )
    accuracy = live_accuracy(endpoint, version, SWITCHED, SWITCHED + WINDOW, ACCURACY)
    assert (accuracy.observed, accuracy.wait) == ("40 of 300 labelled rows needed for an answer", True)
    outputs = live_outputs(endpoint, version, SWITCHED, SWITCHED + WINDOW, OUTPUTS)
    assert (outputs.answer, outputs.observed, outputs.wait) == (
        INCONCLUSIVE,
        "40 of 300 rows needed for an answer",
        True,
    )
