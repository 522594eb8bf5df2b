from datetime import timedelta

import pytest
from django.utils import timezone

from audit.models import AuditEvent
from monitoring import detect, due
from monitoring.models import Monitor, Window
from tests.monitoring.stream import watch
from tests.monitoring.world import make_endpoint

pytestmark = pytest.mark.django_db


def watched(started_ago: timedelta, **lengths):
    monitor = watch(make_endpoint(), **lengths)
    start = (timezone.now() - started_ago).replace(microsecond=0)
    Monitor.objects.filter(pk=monitor.pk).update(next_window_at=start)
    return monitor, start


def test_each_window_that_has_ended_is_opened_once():
    monitor, start = watched(timedelta(seconds=200), grace_seconds=5, label_delay_seconds=20)

    assert due.monitors(timezone.now()) == [monitor.pk]
    assert detect.open_windows(monitor.pk) == 3
    assert detect.open_windows(monitor.pk) == 0

    windows = list(Window.objects.order_by("start"))
    assert [window.start for window in windows] == [start + timedelta(seconds=60 * i) for i in range(3)]
    assert windows[0].due_at == windows[0].end + timedelta(seconds=20)
    monitor.refresh_from_db()
    assert monitor.next_window_at == start + timedelta(seconds=180)
    assert due.monitors(timezone.now()) == []


def test_the_window_that_is_running_is_not_opened():
    monitor, _ = watched(timedelta(seconds=30))

    assert detect.open_windows(monitor.pk) == 0
    assert not Window.objects.exists()


def test_after_a_long_stop_the_newest_windows_are_opened_and_the_gap_is_on_record():
    monitor, start = watched(timedelta(seconds=60 * 200 + 10))

    assert detect.open_windows(monitor.pk) == detect.MAX_CATCH_UP

    first = Window.objects.earliest("start").start
    assert first == start + timedelta(seconds=60 * (200 - detect.MAX_CATCH_UP))
    assert AuditEvent.objects.get(action="monitor.skip").target_id == "employment-production"


def test_an_endpoint_that_is_no_longer_watched_opens_none():
    monitor, _ = watched(timedelta(seconds=200))
    Monitor.objects.update(enabled=False)

    assert detect.open_windows(monitor.pk) == 0
    assert due.monitors(timezone.now()) == []


def test_a_window_is_due_when_its_labels_have_had_their_time():
    monitor, _ = watched(timedelta(seconds=70), grace_seconds=0, label_delay_seconds=50)
    detect.open_windows(monitor.pk)
    window = Window.objects.get()

    assert window.due_at == window.end + timedelta(seconds=50)
    assert due.windows(window.due_at - timedelta(seconds=1)) == []
    assert due.windows(window.due_at) == [window.pk]
