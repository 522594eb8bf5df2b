"""Window after window of an endpoint's traffic, judged as the worker would judge it, with time standing still."""

from collections.abc import Callable, Mapping

import numpy as np

from audit.actions import service_actor
from monitoring import detect
from monitoring.actions import watch_endpoint
from monitoring.models import Alert, Monitor, Window
from registry.models import Endpoint, Host
from tests.monitoring.world import START, WINDOW, answers, log, part

Columns = Mapping[str, np.ndarray]


def watch(endpoint: Endpoint, **lengths: int) -> Monitor:
    """Watch the endpoint in windows of WINDOW from START on."""
    wanted = {"window_seconds": 60, "grace_seconds": 0, "label_delay_seconds": 0, **lengths}
    monitor = watch_endpoint(endpoint=endpoint, actor=service_actor("test"), **wanted)
    Monitor.objects.filter(pk=monitor.pk).update(next_window_at=START)
    monitor.refresh_from_db()
    return monitor


def play(
    endpoint: Endpoint,
    hosts: list[Host],
    index: int,
    *,
    rows: int = 300,
    year: int = 2017,
    version: int = 1,
    accuracy: float = 0.8,
    latency_ms: float = 1.0,
    change: Callable[[dict], None] = lambda columns: None,
    labelled: bool = True,
    on: Mapping[str, Mapping[str, float]] | None = None,
) -> Window:
    """Log window number `index` with `rows` rows a host, and judge it. `on` overrides figures for single hosts."""
    start = START + WINDOW * index
    for number, host in enumerate(hosts):
        columns = dict(part(year, (index * len(hosts) + number) * rows % 60_000, rows))
        change(columns)
        figures = {"accuracy": accuracy, "latency_ms": latency_ms, **(on or {}).get(host.name, {})}
        given = answers(columns, start=start, version=version, seed=1000 * index + number, **figures)
        log(endpoint, host, given, labelled=labelled)
    return judge(endpoint, index)


def judge(endpoint: Endpoint, index: int) -> Window:
    start = START + WINDOW * index
    window, _ = Window.objects.get_or_create(
        endpoint=endpoint, start=start, defaults={"end": start + WINDOW, "due_at": start + WINDOW}
    )
    assert detect.judge(window.pk) is True
    window.refresh_from_db()
    return window


def alerts_of(endpoint: Endpoint) -> list[tuple[str, str, str]]:
    """(rule, version, state) of the endpoint's alerts, in the order in which they fired."""
    return list(Alert.objects.filter(endpoint=endpoint).order_by("pk").values_list("rule__kind", "version", "state"))
