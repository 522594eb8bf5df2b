"""How often a rule would cry wolf: measured on its own past without trouble, and on a chart's stable period."""

from datetime import timedelta

import numpy as np
import pytest

from incidents.intake import take_alert
from incidents.learning.models import Cause, ContributingCause
from monitoring import alerts
from monitoring.models import Alert, AlertState
from monitoring.rules import measured as measuring
from monitoring.rules.measured import Measured, of_past, of_stable_period, sentences
from monitoring.rules.models import AlertRule
from monitoring.rules.preview import preview
from registry.models import Placement
from tests.monitoring.rules.test_rule_api import api, wanted
from tests.monitoring.rules.test_worth import review
from tests.monitoring.rules.world import MINUTE, ask, now, points, rule
from tests.monitoring.test_pages import sign_in
from tests.monitoring.world import make_endpoint, make_hosts

pytestmark = pytest.mark.django_db
STEP = timedelta(minutes=10)
DAY = 144
HOUR_S, DAY_S = 3_600, 86_400


@pytest.fixture
def endpoint(monkeypatch):
    monkeypatch.setattr(alerts, "gather_on_commit", lambda *_, **__: None)
    return make_endpoint()


def past(endpoint, *, days, breaches=(), **more):
    """A point each ten minutes of so many days until `end`, at 5, and at 20 at the places counted from the newest."""
    values = [5.0] * (days * DAY)
    for place in breaches:
        values[-1 - place] = 20.0
    points(endpoint, values, until=more.pop("until", now()), step=STEP, **more)


def watch(endpoint, **fields):
    return rule(endpoint, window_seconds=600, **fields)


def measured(one, end):
    return of_past(preview(one, until=end, days=30))


def test_the_rules_own_machine_is_run_over_its_past_and_an_interval_stands_beside_what_it_raised(endpoint):
    end = now()
    past(endpoint, days=20, breaches=(10, 500, 900, 1_500), until=end)

    found = measured(watch(endpoint), end)

    assert found.alarms == 4
    assert found.seconds == pytest.approx(20 * DAY_S, abs=2 * HOUR_S)
    # Poisson: 4 seen, 95 % of 1.090 to 10.242
    assert found.interval() == pytest.approx((1.0899, 10.2416), abs=1e-4)
    assert found.often == "4 alarms: about one in 5 days (95 % interval: 47 h to 18 days)"


def test_none_in_21_days_is_at_most_about_one_in_7():
    assert Measured(0, 21 * DAY_S).often == "no alarm, so at most about one in 7 days (95 %)"


def test_a_breach_that_must_last_is_measured_as_it_would_fire(endpoint):
    end = now()
    past(endpoint, days=3, breaches=(10, 100, 101, 102), until=end)

    assert measured(watch(endpoint, for_seconds=1_200), end).alarms == 1


def test_what_another_alert_touches_is_left_out_with_what_still_remembers_it(endpoint):
    end = now()
    past(endpoint, days=10, breaches=(10, 500), until=end)
    one = watch(endpoint)
    began = end - 510 * STEP
    Alert.objects.create(
        fingerprint="other", source="alertmanager", endpoint=endpoint, severity=2, summary="It is slow.",
        state=AlertState.RESOLVED, started_at=began, fired_at=began, ended_at=end - 490 * STEP,
    )  # fmt: skip

    found = measured(one, end)

    assert found.alarms == 1
    assert found.left_out == pytest.approx(20 * 600 + 600, abs=120)
    said = sentences(one, end)
    assert said == [
        "Run over its own past, 9 d 20 h with data and without trouble, it raised 1 alarm: about one in 10 days (95 % "
        "interval: 42 h to 389 days). 3 h 30 min that incidents or other alerts touch are left out."
    ]


def test_an_incident_that_is_the_rules_own_alone_counts_until_a_review_finds_it_right(endpoint):
    end = now()
    past(endpoint, days=10, breaches=(0,), until=end)
    one = watch(endpoint)
    ask(one, since=end - 3 * STEP)
    incident = take_alert(alert_id=Alert.objects.get().pk)

    unjudged = measured(one, end)
    said = sentences(one, end)[0]
    review(incident, Cause.FALSE_ALARM)
    wrong = measured(one, end)
    ContributingCause.objects.all().delete()
    review(incident, next(kind for kind in Cause if kind != Cause.FALSE_ALARM))
    right = measured(one, end)

    assert (unjudged.alarms, unjudged.unjudged) == (1, 1)
    assert said.endswith(" 1 incident of that time is its own alone and not judged yet: it may have been right.")
    assert (wrong.alarms, wrong.unjudged) == (1, 0)
    assert (right.alarms, right.left_out > 0) == (0, True)


def test_a_past_of_less_than_a_day_says_that_it_is_too_short(endpoint):
    points(endpoint, [5.0] * 60, until=now())

    assert sentences(rule(endpoint), now()) == [
        "How often it raises false alarms can't be measured yet: its past without trouble holds 1 h, and a day is "
        "needed."
    ]


def test_time_without_data_or_with_nothing_to_compare_with_is_no_time_without_false_alarms(endpoint):
    end = now()
    past(endpoint, days=2, until=end)
    seasonal = watch(endpoint, name="seasonal", kind="seasonal", params={"floor": 1.0})

    assert measured(watch(endpoint), end).seconds == pytest.approx(2 * DAY_S, abs=HOUR_S)
    assert measured(seasonal, end).seconds == 0


def test_a_rule_over_hosts_counts_each_hosts_alarms_in_the_time_that_any_of_them_had_data(endpoint):
    end = now()
    for host, breaches in zip(make_hosts("gpu-1", "gpu-2"), ((10,), (10, 200)), strict=True):
        Placement.objects.create(endpoint=endpoint, host=host)
        past(endpoint, days=3, breaches=breaches, until=end, host=host)

    found = measured(watch(endpoint, scope="hosts"), end)

    assert (found.alarms, found.seconds) == (3, pytest.approx(3 * DAY_S, abs=HOUR_S))


def test_a_control_chart_is_measured_on_its_stable_period_too_in_the_order_in_which_it_came(endpoint):
    end, values = now(), np.random.default_rng(6).normal(50, 2, 2_000)
    # Points that hang together raise more than theory's one in 500.
    slow = np.convolve(values, np.full(10, 0.1), mode="valid")[-1_900:]
    points(endpoint, values[-1_900:].tolist(), until=end, name="apart")
    points(endpoint, slow.tolist(), until=end, name="slow")
    period = {"since": (end - 1_900 * MINUTE).isoformat(), "until": end.isoformat()}

    def chart(metric):
        return rule(endpoint, name=metric, metric=metric, kind="control", params={"chart": "ewma", **period})

    apart, together = of_stable_period(chart("apart")), of_stable_period(chart("slow"))

    assert (apart.seconds, together.seconds) == (1_900 * 60, 1_900 * 60)
    assert apart.alarms <= 12
    assert together.alarms > 3 * apart.alarms
    theory, stable, past = sentences(AlertRule.objects.get(name="apart"), end)
    assert theory.startswith("By theory")
    assert stable.startswith("Run over its stable period, 1 d 7 h with data, it raised ")
    assert past.startswith("Run over its own past, 1 d 7 h with data and without trouble, it raised ")


def test_other_kinds_have_no_stable_period_and_neither_has_a_chart_whose_points_are_gone(endpoint):
    gone = {"centre": 50.0, "sigma": 2.0, "points": 20}
    dated = {**gone, "since": "2020-01-01T00:00+00:00", "until": "2020-01-02T00:00+00:00"}

    assert of_stable_period(rule(endpoint, metric="load")) is None
    assert of_stable_period(rule(endpoint, name="gone", kind="control", params=dated)) is None
    assert of_stable_period(rule(endpoint, name="undated", kind="control", params=gone)) is None


def test_the_rules_page_and_a_programs_preview_say_it(endpoint, client):
    past(endpoint, days=9, until=now())
    one = watch(endpoint)
    sign_in(client, "viewer")

    address = f"/monitoring/rules/{one.pk}/?days=1&part=false-alarms"
    page = client.get(f"/monitoring/rules/{one.pk}/").content.decode()
    part = client.get(address, HTTP_HX_REQUEST="true").content.decode()
    without_script = client.get(address).content.decode()
    seen = api("administrator").post(
        "/api/v1/alert-rules/preview/", wanted(endpoint, window_seconds=600), format="json"
    ).json()  # fmt: skip

    assert '<h2 id="false-alarms">False alarms</h2>' in page
    # measuring replays weeks: it comes behind the page
    assert f'hx-get="{address.replace("&", "&amp;")}" hx-trigger="load"' in page
    assert "it raised" not in page
    for shown in (part, without_script):
        assert "it raised no alarm, so at most about one in 3 days (95 %)." in shown
    assert ("<html" in part, "<html" in without_script) == (False, True)
    [said] = seen["false_alarms"]
    assert "it raised no alarm, so at most about one in 3 days (95 %)." in said


def test_what_was_measured_is_kept_until_the_rule_changes_or_more_is_known_of_trouble(endpoint, monkeypatch):
    past(endpoint, days=9, breaches=(DAY,), until=now())
    one = watch(endpoint)
    measurings = []
    monkeypatch.setattr(measuring, "preview", lambda *one, **more: measurings.append(1) or preview(*one, **more))

    first = [measuring.kept(one, now()) for _ in range(2)]
    # when the alarm turns out to have been within an incident's time, and when the rule is changed
    Alert.objects.create(
        fingerprint="x", source="other", endpoint=endpoint, severity=2, summary="It was down.",
        state=AlertState.RESOLVED, fired_at=now(),
        started_at=now() - timedelta(days=1, hours=2), ended_at=now() - timedelta(hours=22),
    )  # fmt: skip
    known = [measuring.kept(one, now()) for _ in range(2)]
    one.revision += 1
    changed = measuring.kept(one, now())

    assert first[0] == first[1] != known[0] == known[1] == changed
    assert "it raised 1 alarm:" in first[0][0]
    assert "it raised no alarm" in known[0][0]
    assert len(measurings) == 3
