import threading

from django.db import connections

from monitoring import detect
from monitoring.models import Finding, Window
from tests.monitoring.stream import watch
from tests.monitoring.world import START, WINDOW, answers, log, make_endpoint, make_hosts, make_version, part


def test_eight_workers_judge_a_window_once(committed_db):
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1")
    make_version(endpoint, 1, profiled=False)
    watch(endpoint)
    log(endpoint, hosts[0], answers(part(2017, 0, 300)))
    window = Window.objects.create(endpoint=endpoint, start=START, end=START + WINDOW, due_at=START + WINDOW)
    results = []

    def work():
        results.append(detect.judge(window.pk))
        connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(results) == [False] * 7 + [True]
    assert Finding.objects.filter(rule__kind="accuracy", host=None).count() == 1
