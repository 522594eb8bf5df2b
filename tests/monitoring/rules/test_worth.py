from datetime import timedelta

import pytest

from incidents.intake import take_alert
from incidents.learning.models import Cause, ContributingCause
from incidents.models import Incident, IncidentState, Review, ReviewState
from monitoring import alerts
from monitoring.models import Alert
from monitoring.rules import worth
from tests.monitoring.rules.world import ask, now, points, rule
from tests.monitoring.world import make_endpoint

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)


@pytest.fixture
def asked(monkeypatch):
    """A rule with two alerts, each with an incident of its own."""
    monkeypatch.setattr(alerts, "gather_on_commit", lambda *_, **__: None)
    asked, at = rule(make_endpoint()), now()
    points(asked.endpoint, [12], until=at - 2 * MINUTE)
    ask(asked, since=at - 3 * MINUTE)
    take_alert(alert_id=Alert.objects.get().pk)
    Incident.objects.update(state=IncidentState.CLOSED)
    points(asked.endpoint, [5, 12], until=at)
    ask(asked, since=at - 2 * MINUTE)
    take_alert(alert_id=Alert.objects.order_by("pk").last().pk)
    return asked


def review(incident, *causes, state=ReviewState.PUBLISHED):
    made, _ = Review.objects.update_or_create(incident=incident, defaults={"state": state})
    for kind in causes:
        ContributingCause.objects.create(review=made, kind=kind)


def test_delays_run_from_the_start_of_the_harm_as_it_is_known_now_and_a_false_alarm_has_none(asked):
    right, wrong = Incident.objects.order_by("number")
    fired = {link.incident_id: link.alert.fired_at for one in (right, wrong) for link in one.incident_alerts.all()}
    Incident.objects.filter(pk=right.pk).update(impact_started_at=fired[right.pk] - timedelta(seconds=90))
    review(right, Cause.BAD_RELEASE)
    review(wrong, Cause.FALSE_ALARM)

    found = worth.of(asked)

    assert sorted((row.outcome.false_alarm, row.delay_seconds) for row in found.rows) == [(False, 90), (True, None)]
    assert found.sentence == (
        "It has raised 2 alerts. Half of them came within 1 min 30 s of the start of the harm. "
        "Of 2 that were judged, 1 were false alarms."
    )


def test_what_no_published_review_says_is_not_known(asked):
    first, second = Incident.objects.order_by("number")
    review(first, Cause.FALSE_ALARM, state=ReviewState.DRAFT)
    review(second)

    found = worth.of(asked)

    assert [row.outcome.false_alarm for row in found.rows] == [None, None]
    assert found.sentence.endswith("None has been judged in a review yet, so how many were false alarms is not known.")


def test_a_rule_that_raised_nothing_says_so(asked):
    other = rule(asked.endpoint, name="quiet")

    assert worth.of(other).sentence == "It has raised no alert yet."
