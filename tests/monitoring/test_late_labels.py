from datetime import timedelta

import pytest
from django.utils import timezone

from monitoring import detect, due
from monitoring.models import Answer, Finding, MetricPoint, Window
from tests.monitoring.stream import alerts_of, play, watch
from tests.monitoring.world import (
    START,
    WINDOW,
    answers,
    label_lines,
    make_endpoint,
    make_hosts,
    make_version,
    part,
    send,
)

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


@pytest.fixture
def world():
    endpoint, [host] = make_endpoint(), make_hosts("gpu-1")
    make_version(endpoint, 1)
    watch(endpoint, grace_seconds=10, label_delay_seconds=86_400)
    return endpoint, host


def open_late(endpoint, index):
    start = START + WINDOW * index
    return Window.objects.create(
        endpoint=endpoint, start=start, end=start + WINDOW, due_at=start, labels_due_at=start + WINDOW + DAY
    )


def judge_labels_now(window):
    Window.objects.filter(pk=window.pk).update(labels_due_at=timezone.now() - timedelta(seconds=1))
    return detect.judge_labels(window.pk)


def test_a_window_whose_labels_take_a_day_is_judged_at_once_for_all_but_accuracy(world):
    endpoint, host = world
    window = open_late(endpoint, 0)

    play(endpoint, [host], 0, labelled=False)

    assert set(Finding.objects.values_list("rule__kind", flat=True)) == {
        "input_drift", "output_drift", "latency", "joint_drift",
    }  # fmt: skip
    window.refresh_from_db()
    assert window.state == "judged"
    assert due.late_labels(window.labels_due_at - timedelta(seconds=1)) == []
    assert due.late_labels(window.labels_due_at) == [window.pk]


def test_accuracy_is_judged_once_when_its_labels_have_come(world):
    endpoint, host = world
    window = open_late(endpoint, 0)
    given = answers(part(2017, 0, 300), start=START, seed=0, accuracy=0.6)
    play(endpoint, [host], 0, labelled=False, accuracy=0.6)

    send("labels", label_lines(given), endpoint)
    judged = [judge_labels_now(window), detect.judge_labels(window.pk)]

    assert judged == [True, False]
    assert Finding.objects.get(rule__kind="accuracy").answer == Answer.BREACH
    assert MetricPoint.objects.get(series__name="accuracy", series__host=None).n == 300
    window.refresh_from_db()
    assert (window.labelled, window.labels_due_at) == (300, None)


def test_an_accuracy_alert_waits_for_labels_and_is_not_resolved_by_windows_without(world):
    endpoint, host = world
    windows = [open_late(endpoint, index) for index in range(6)]
    for index in range(6):
        play(endpoint, [host], index, labelled=False, accuracy=0.6)
        columns = part(2017, index * 300, 300)
        given = answers(columns, start=START + WINDOW * index, seed=1000 * index, accuracy=0.6)
        send("labels", label_lines(given), endpoint)
    assert alerts_of(endpoint) == []

    for window in windows[:2]:
        assert judge_labels_now(window) is True

    assert alerts_of(endpoint) == [("accuracy", "1", "firing")]


def test_labels_that_come_within_a_window_are_waited_for(world):
    endpoint, _ = world
    monitor = watch(endpoint, grace_seconds=10, label_delay_seconds=65)
    start = timezone.now().replace(microsecond=0) - timedelta(seconds=61)
    type(monitor).objects.filter(pk=monitor.pk).update(next_window_at=start)

    detect.open_windows(monitor.pk)

    window = Window.objects.get()
    assert (window.due_at, window.labels_due_at) == (window.end + timedelta(seconds=65), None)


def test_labels_that_take_longer_are_not(world):
    endpoint, _ = world
    monitor = watch(endpoint, grace_seconds=10, label_delay_seconds=71)
    start = timezone.now().replace(microsecond=0) - timedelta(seconds=61)
    type(monitor).objects.filter(pk=monitor.pk).update(next_window_at=start)

    detect.open_windows(monitor.pk)

    window = Window.objects.get()
    assert window.due_at == window.end + timedelta(seconds=10)
    assert window.labels_due_at == window.end + timedelta(seconds=71)
