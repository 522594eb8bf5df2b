"""The control chart of accuracy says how often it is out of control by chance: by theory, and as measured."""

from datetime import timedelta

import pytest

from monitoring.charts import accuracy_control
from monitoring.charts.over import span
from monitoring.models import Alert, AlertState
from tests.monitoring.rules.world import MINUTE, now, points
from tests.monitoring.world import make_endpoint

pytestmark = pytest.mark.django_db
USUAL, LOW = 0.8, 0.6


def drawn(shares, *, trouble=None):
    """The summary of the chart over windows of 100 labelled rows, and of an alert that fired over some of them."""
    endpoint, end = make_endpoint(), now()
    points(endpoint, shares, until=end, name="accuracy")
    points(endpoint, [100.0] * len(shares), until=end, name="rows")
    if trouble is not None:
        since, until = (end - minutes * MINUTE for minutes in trouble)
        Alert.objects.create(
            fingerprint="t", source="alertmanager", endpoint=endpoint, severity=2, summary="It is wrong.",
            state=AlertState.RESOLVED, started_at=since, fired_at=since, ended_at=until,
        )  # fmt: skip
    chart = accuracy_control(span(endpoint, end - timedelta(hours=2), end + MINUTE))
    assert chart is not None
    return chart.summary


def test_points_beyond_three_sigma_that_nothing_explains_are_counted_beside_what_theory_says():
    said = drawn([USUAL] * 39 + [LOW])

    # around 79.5 %, of 100 rows, fewer than 68 or more than 91 are right about once in 340 windows
    assert "By theory one point in 340 is beyond 3 sigma by chance; " in said
    assert said.endswith(
        "of the 40 that no incident or alert touches, 1 were (95 % interval of their share: 0.44% to 12.88%)."
    )


def test_what_an_alert_touches_is_no_false_alarm():
    assert "of the 37 that no incident or alert touches, 0 were" in drawn([USUAL] * 38 + [LOW, LOW], trouble=(2, 0))


def test_too_few_points_without_trouble_are_said_to_be_too_few():
    assert drawn([USUAL] * 5).endswith(
        "measured it can't be yet: 5 points are without an incident or alert, and 20 are needed."
    )
