"""The tasks under the names by which the clock and other floors send them, in a real worker."""

import time

import pytest

from audit.dispatch import send
from monitoring import due, intake, partials
from monitoring.models import Delivery, DeliveryState, Finding, Monitor, PartialSketch, Window, WindowState
from monitoring.reading import ARROW
from tests.monitoring.stream import watch
from tests.monitoring.world import START, WINDOW, answers, make_endpoint, make_hosts, make_version, part, stream


def until(question, seconds=120.0):
    deadline = time.monotonic() + seconds
    while not question():
        if time.monotonic() > deadline:
            pytest.fail(f"still not so after {seconds} s")
        time.sleep(0.1)


def test_a_worker_reads_a_delivery_and_judges_its_window(committed_db, celery_worker_process):
    endpoint, [host] = make_endpoint(), make_hosts("gpu-1")
    make_version(endpoint, 1, profiled=False)
    monitor = watch(endpoint)
    given = answers(part(2017, 0, 300))
    celery_worker_process(queues="intake,compute", concurrency=2)

    delivery, _ = intake.accept(
        source="predictions", key="", endpoint=endpoint, host=host, content_type=ARROW, body=stream(given.table)
    )
    until(lambda: Delivery.objects.get().state == DeliveryState.PROCESSED)
    Monitor.objects.filter(pk=monitor.pk).update(next_window_at=START)
    Window.objects.create(endpoint=endpoint, start=START, end=START + WINDOW, due_at=START + WINDOW)
    for source in due.SOURCES:
        for identity in source.ids(START + 2 * WINDOW):
            send(source.task, [identity], source.queue)
    until(lambda: Window.objects.filter(start=START, state=WindowState.JUDGED).exists())

    assert Window.objects.get(start=START).rows == 300
    assert Finding.objects.get(rule__kind="accuracy", window__start=START).sentence.startswith(
        "0 rows of version 1 have"
    )


def test_a_worker_sketches_a_fleets_rows_before_their_window_is_judged(committed_db, celery_worker_process):
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1", "gpu-2")
    make_version(endpoint, 1)
    monitor = watch(endpoint)
    celery_worker_process(queues="intake,compute", concurrency=2)
    for number, host in enumerate(hosts):
        given = answers(part(2017, number * 12_000, 12_000), length=WINDOW / 2, seed=number)
        intake.accept(
            source="predictions", key="", endpoint=endpoint, host=host, content_type=ARROW, body=stream(given.table)
        )
    until(lambda: Delivery.objects.filter(state=DeliveryState.PROCESSED).count() == 2)

    [source] = [one for one in due.SOURCES if one.task == "monitoring.sketch_partials"]
    send(source.task, partials.due(START), source.queue)
    until(lambda: PartialSketch.objects.count() == 2)
    assert partials.due(START) == []
    window = Window.objects.create(endpoint=endpoint, start=START, end=START + WINDOW, due_at=START + WINDOW)
    Monitor.objects.filter(pk=monitor.pk).update(next_window_at=START + WINDOW)
    send("monitoring.judge", [window.pk], "compute")
    until(lambda: Window.objects.filter(pk=window.pk, state=WindowState.JUDGED).exists())

    told = Finding.objects.get(rule__kind="input_drift", window=window)
    assert (told.rows, told.data["sketch_error"] <= 1 / 512) == (24_000, True)
    assert PartialSketch.objects.count() == 0
