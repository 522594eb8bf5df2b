"""A control chart says how often its own stable period would have been called out of control."""

import re

import numpy as np
import pytest

from monitoring.rules.stable import false_alarms
from tests.monitoring.rules.world import MINUTE, now, points, rule
from tests.monitoring.test_pages import sign_in
from tests.monitoring.world import make_endpoint

pytestmark = pytest.mark.django_db
POINTS = 300
TOLD = re.compile(r"Its stable period, 300 points shuffled 166 times, raised ([\d,]+) alarms: at most about (.+)\.$")


@pytest.fixture
def endpoint():
    endpoint = make_endpoint()
    points(endpoint, np.random.default_rng(6).normal(50, 2, POINTS).tolist(), until=now(), name="load")
    return endpoint


def chart(endpoint, **fields):
    """A control chart of the load by the minute, its limits frozen from all of its points."""
    params = {"since": (now() - POINTS * MINUTE).isoformat(), "until": now().isoformat(), **fields.pop("params", {})}
    wanted = {"name": "load", "metric": "load", "kind": "control", "params": params}
    return rule(endpoint, **{**wanted, **fields})


def alarms(one):
    """How many alarms the shuffles raised, and how often that is."""
    told = TOLD.match(false_alarms(one))
    assert told, false_alarms(one)
    return int(told.group(1).replace(",", "")), told.group(2)


def test_points_that_are_normal_and_independent_raise_what_theory_says(endpoint):
    # Beyond three sigma lies one normal point in 370: some 135 of 49,800, some 4 in a day of minutes.
    beyond, often = alarms(chart(endpoint, params={"runs": "nelson", "numbers": [1]}))
    assert beyond < 400
    assert "false alarm" in often

    # Nine in a row on one side begin at one normal point in 512 or so.
    nine, often = alarms(chart(endpoint, name="nine", params={"runs": "nelson", "numbers": [2]}))
    assert 50 <= nine <= 200
    assert often.endswith("false alarms a day")


def test_more_rules_raise_more_alarms_and_a_breach_that_must_last_raises_fewer(endpoint):
    few, _ = alarms(chart(endpoint, params={"numbers": [2]}))
    more, _ = alarms(chart(endpoint, name="more", params={"numbers": [1, 2, 3, 4, 5, 6, 7, 8]}))
    lasting, _ = alarms(chart(endpoint, name="lasting", params={"numbers": [2]}, for_seconds=180))

    assert lasting < few < more


def test_other_kinds_have_none_and_neither_has_a_chart_whose_points_are_gone(endpoint):
    assert false_alarms(rule(endpoint, metric="load")) == ""
    gone = chart(endpoint, params={"centre": 50.0, "sigma": 2.0, "points": 20, "since": "2020-01-01T00:00+00:00",
                                   "until": "2020-01-02T00:00+00:00"})  # fmt: skip
    assert false_alarms(gone) == ""
    undated = chart(endpoint, name="undated", params={"centre": 50.0, "sigma": 2.0, "points": 20, "since": "",
                                                      "until": ""})  # fmt: skip
    assert false_alarms(undated) == ""


def test_the_rules_page_says_it(endpoint, client):
    sign_in(client, "viewer")
    one = chart(endpoint)

    page = client.get(f"/monitoring/rules/{one.pk}/").content.decode()

    assert false_alarms(one) in page
