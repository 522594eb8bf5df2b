"""The chart of a detector's alert: what it found in each window around it."""

import csv

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from monitoring import alerts
from monitoring.charts import detected as charts
from monitoring.models import Alert, AlertState, Answer, Finding, Rule, RuleKind, Window, WindowState
from tests.monitoring.stream import play, watch
from tests.monitoring.world import START, WINDOW, make_endpoint, make_hosts, make_version
from tests.registry.test_pages import person

pytestmark = pytest.mark.django_db


@pytest.fixture
def endpoint(monkeypatch):
    monkeypatch.setattr(alerts, "gather_on_commit", lambda *_, **__: None)
    return make_endpoint()


@pytest.fixture
def responder():
    client = Client()
    client.force_login(person("responder"), backend="django.contrib.auth.backends.ModelBackend")
    return client


def found(endpoint, rows, *, kind=RuleKind.ACCURACY, host=None, first=0):
    """Judged windows one after the other with (answer, value, limit) of version 2 in each, None where it has none."""
    rule, _ = Rule.objects.get_or_create(endpoint=endpoint, kind=kind)
    for index, row in enumerate(rows, first):
        start = START + WINDOW * index
        window, _ = Window.objects.get_or_create(
            endpoint=endpoint, start=start, end=start + WINDOW, due_at=start, state=WindowState.JUDGED
        )
        if row is not None:
            answer, value, limit = row
            Finding.objects.create(
                rule=rule, window=window, version="2", host=host, answer=answer, value=value, limit=limit, rows=900
            )
    return rule


def fired(rule, began, *, value, ended=None):
    return Alert.objects.create(
        fingerprint="a", source="rule", rule=rule, endpoint=rule.endpoint, version="2", summary="Version 2 is worse.",
        state=AlertState.RESOLVED if ended else AlertState.FIRING, annotations={"value": value, "limit": 0.75},
        started_at=START + WINDOW * began, ended_at=START + WINDOW * ended if ended else None,
    )  # fmt: skip


def stamps(*indices):
    return [f"{START + WINDOW * (index + 1):%Y-%m-%dT%H:%M:%S}" for index in indices]


OK = (Answer.OK, 0.8, 0.75)
FEW = (Answer.NOT_ENOUGH, None, 0.75)
BREACH = (Answer.BREACH, 0.6, 0.75)


def test_each_window_has_its_value_its_limit_then_and_a_mark_where_it_is_beyond_it(endpoint):
    rule = found(endpoint, [OK, FEW, BREACH, (Answer.BREACH, 0.5, 0.7), OK, None, BREACH])
    alert = fired(rule, 2, value=0.6, ended=6)

    chart = charts.detected(alert)

    value, limit, beyond = chart.figure["data"]
    assert value["x"] == stamps(0, 1, 2, 3, 4, 5)
    assert value["y"] == [0.8, None, 0.6, 0.5, 0.8, None]
    assert limit["y"] == [0.75, 0.75, 0.75, 0.7, 0.75, None]
    assert (beyond["x"], beyond["y"], beyond["mode"]) == (stamps(2, 3), [0.6, 0.5], "markers")
    assert chart.title == ("While the alert lasted, version 2 was beyond the limit in 2 of 3 judged windows.")
    assert chart.summary == (
        "Share of labelled answers that were right of version 2 in each window, 2026-11-21 12:00 to 2026-11-21 12:06 "
        "UTC. Dashed: the limit as it stood then. Points: windows beyond the limit. 1 window had not enough data: a "
        "gap. In 1 window there was nothing of it to judge: a gap."
    )
    assert chart.table["rows"][2:5] == [
        ["2026-11-21 12:04:00", "50.0%", "70.0%", "Beyond the limit", "900"],
        ["2026-11-21 12:03:00", "60.0%", "75.0%", "Beyond the limit", "900"],
        ["2026-11-21 12:02:00", "", "75.0%", "Not enough data", "900"],
    ]
    assert chart.table["rows"][0] == ["2026-11-21 12:06:00", "", "", "nothing to judge", ""]


def test_the_alerts_span_is_the_shaded_band(endpoint):
    rule = found(endpoint, [OK, OK, BREACH, BREACH, OK])

    bands = charts.detected(fired(rule, 2, value=0.6, ended=4)).figure["lastgood"]["bands"]

    # the page shades the second of two
    assert bands == [
        {"x0": "2026-11-21T12:00:00", "x1": "2026-11-21T12:02:00", "label": "before"},
        {"x0": "2026-11-21T12:02:00", "x1": "2026-11-21T12:04:00", "label": "the alert"},
    ]


def test_one_that_fires_is_shown_to_the_newest_window_and_from_48_windows_before_it_began(endpoint):
    rule = found(endpoint, [OK] * 60 + [BREACH] * 5)

    value, *_ = charts.detected(fired(rule, 60, value=0.6)).figure["data"]

    assert (value["x"][0], value["x"][-1], len(value["x"])) == (*stamps(12, 64), 53)


def test_the_host_is_drawn_whose_value_the_alert_carries(endpoint):
    one, two = make_hosts("gpu-1", "gpu-2")
    rule = found(endpoint, [OK] * 4)
    found(endpoint, [(Answer.OK, 0.81, 0.75)] * 4, host=one)
    found(endpoint, [OK, OK, (Answer.BREACH, 0.55, 0.75), (Answer.BREACH, 0.56, 0.75)], host=two)

    chart = charts.detected(fired(rule, 2, value=0.56))

    assert chart.figure["data"][0]["y"] == [0.8, 0.8, 0.55, 0.56]
    assert chart.title == ("While the alert lasted, version 2 on gpu-2 was beyond the limit in 2 of 2 judged windows.")


def test_a_breach_that_is_not_of_the_value_is_said(endpoint):
    rule = found(endpoint, [(Answer.OK, 0.1, 0.2), (Answer.BREACH, None, 0.2)], kind=RuleKind.INPUT_DRIFT)

    chart = charts.detected(fired(rule, 1, value=None))

    assert len(chart.figure["data"]) == 2
    assert chart.summary.endswith("1 window was judged by something else than this value: a gap.")


def test_an_alert_longer_than_what_is_shown_says_so(endpoint, monkeypatch):
    monkeypatch.setattr(charts, "MOST_WINDOWS", 3)
    rule = found(endpoint, [OK, BREACH, BREACH, BREACH, BREACH])

    chart = charts.detected(fired(rule, 1, value=0.6))

    assert chart.figure["data"][0]["x"] == stamps(0, 1, 2, 3)
    assert chart.summary.endswith("Of the alert its first 3 windows are shown; it lasted longer.")


def test_nothing_is_drawn_where_no_window_has_a_value(endpoint, responder):
    alert = fired(found(endpoint, [FEW, FEW]), 1, value=None)

    assert charts.detected(alert) is None
    assert responder.get(f"/monitoring/alerts/{alert.pk}/?as=csv").status_code == 404
    assert "alert-chart" not in responder.get(f"/monitoring/alerts/{alert.pk}/").content.decode()


@pytest.mark.parametrize("kind", RuleKind.values)
def test_the_page_of_every_detectors_alert_has_the_chart_and_its_numbers(endpoint, responder, kind):
    alert = fired(found(endpoint, [OK, BREACH, BREACH], kind=kind), 1, value=0.6)

    page = responder.get(f"/monitoring/alerts/{alert.pk}/").content.decode()
    taken = responder.get(f"/monitoring/alerts/{alert.pk}/?as=csv")

    assert 'data-plot="alert-chart-figure"' in page
    assert f'href="/monitoring/alerts/{alert.pk}/?as=csv"' in page
    head, *rows = csv.reader(taken.content.decode().splitlines())
    assert head == ["line", "x", "y"]
    assert [row for row in rows if row[0] == "beyond the limit"] == [
        ["beyond the limit", at, "0.6"] for at in stamps(1, 2)
    ]


def test_more_windows_cost_no_more_queries(endpoint, responder):
    rule = found(endpoint, [OK] * 5 + [BREACH] * 2)
    alert = fired(rule, 5, value=0.6)
    address = f"/monitoring/alerts/{alert.pk}/"
    responder.get(address)

    with CaptureQueriesContext(connection) as few:
        responder.get(address)
    found(endpoint, [BREACH] * 60, first=7)
    with CaptureQueriesContext(connection) as many:
        responder.get(address)

    assert len(many) == len(few)


def test_what_the_detectors_find_in_traffic_is_what_is_drawn(endpoint):
    hosts = make_hosts("gpu-1", "gpu-2")
    make_version(endpoint, 2)
    watch(endpoint, for_windows=2, clear_windows=3)
    play(endpoint, hosts, 0, version=2)
    for index in (1, 2):
        play(endpoint, hosts, index, version=2, accuracy=0.6)
    alert = Alert.objects.get(rule__kind=RuleKind.ACCURACY)

    chart = charts.detected(alert)

    value, limit, beyond = chart.figure["data"]
    assert value["y"][-1] == pytest.approx(0.6, abs=0.06)
    assert limit["y"] == pytest.approx([0.77] * 3)
    assert beyond["x"] == stamps(1, 2)
    assert beyond["y"][-1] == alert.annotations["value"]
