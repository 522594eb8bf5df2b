"""How long an endpoint's page of charts takes over 10 million metric points of 90 days.

``endpoint_page_p95_ms``: a signed-in viewer asks for the charts over 90 days, 7 days, 24 hours, 6 hours and the newest
windows in turn, through the whole middleware, without an ETag; the 95th percentile of all answers.
``floor``: the same percentile of the smallest signed-in page.

``first_chart_ms``: from the click in Chromium to the first chart drawn, over 90 days, the median of five; the browser's
cache is empty each time. The points lie in partitions by week with their rollups, as ingest leaves them: 20 hosts with
two GPUs each, 60 inputs, two versions, a point every five minutes.
"""

import os
import statistics
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from bench.audit_events_per_second import database
from bench.report import machine, report

POINTS = int(os.environ.get("POINTS", "10000000"))
DAYS = int(os.environ.get("DAYS", "90"))
EVERY, HOSTS, COLUMNS = timedelta(minutes=5), 20, 60
ASKED = int(os.environ.get("ASKED", "50"))
SPANS = ("?hours=2160", "?hours=168", "?hours=24", "?hours=6", "")
PAGE_TARGET, CHART_TARGET = 200.0, 1500.0
OF_ALL = ("rows", "accuracy", "positive_share", "latency_p25_ms", "latency_p50_ms", "latency_p75_ms", "latency_p95_ms",
          "latency_p99_ms")  # fmt: skip
OF_HOSTS = ("accuracy", "latency_p50_ms", "latency_p95_ms", "requests_per_second", "engine_latency_p95_ms")
OF_GPUS = ("gpu_utilisation", "gpu_memory_used_bytes", "gpu_temperature")


def series_of(endpoint: Any, hosts: list[Any]) -> list[int]:
    """The keys of the endpoint's series, as many as make POINTS points of 90 days."""
    from monitoring.series import series_for

    keys = {(name, None, "2", ""): "" for name in OF_ALL}
    keys |= {("psi", None, "2", f"FEATURE_{number}"): "" for number in range(COLUMNS)}
    keys |= {(name, host, "2", ""): "" for name in OF_HOSTS for host in hosts}
    keys |= {(name, host, "", f"gpu={gpu}"): "" for name in OF_GPUS for host in hosts for gpu in (0, 1)}
    wanted = max(POINTS // int(timedelta(days=DAYS) / EVERY), len(keys))
    keys |= {(f"other_{number}", None, "", ""): "" for number in range(wanted - len(keys))}
    return list(series_for(endpoint, keys).values())


def fill(now: datetime) -> int:
    """An endpoint with its points, rollups and windows. Returns how many points."""
    from monitoring.models import MetricPoint, Monitor, Window, WindowState
    from monitoring.partitions import MODELS, Partition, make
    from monitoring.points import keep
    from monitoring.rollups import Points
    from registry.models import Endpoint, Host, Model

    model = Model.objects.create(slug="bench", name="Bench", team="bench")
    endpoint = Endpoint.objects.create(slug="bench", name="Bench", model=model)
    hosts = [Host.objects.create(name=f"host-{n}", address=f"http://10.0.0.{n + 1}:9000") for n in range(HOSTS)]
    oldest = now - timedelta(days=DAYS)
    monday = (oldest - timedelta(days=oldest.weekday())).date()
    for week in range(DAYS // 7 + 2):
        for table in MODELS:
            make(Partition(table, monday + timedelta(weeks=week)).name)
    keys = np.array(series_of(endpoint, hosts))
    rng = np.random.default_rng(1)
    each = timedelta(days=3)
    for day in range(0, DAYS, 3):
        first, steps = oldest + timedelta(days=day), int(each / EVERY)
        at = int(first.timestamp()) * 1_000_000 + (1 + np.arange(steps)) * int(EVERY.total_seconds()) * 1_000_000
        size = steps * len(keys)
        keep(endpoint.pk, Points(np.repeat(keys, steps), np.tile(at, len(keys)), rng.random(size), np.full(size, 500)))
    Monitor.objects.create(endpoint=endpoint)
    Window.objects.bulk_create(
        Window(endpoint=endpoint, start=now - EVERY * (n + 1), end=now - EVERY * n, due_at=now, rows=500,
               state=WindowState.JUDGED, judged_at=now)
        for n in range(int(timedelta(days=DAYS) / EVERY))
    )  # fmt: skip
    return MetricPoint.objects.count()


def page_times(client: Any) -> tuple[float, float]:
    """The 95th percentiles, in ms, of the page of charts and of the smallest page."""

    def p95(addresses: list[str]) -> float:
        taken = []
        for address in addresses:
            begun = time.perf_counter()
            answer = client.get(address)
            taken.append((time.perf_counter() - begun) * 1000)
            if answer.status_code != 200 or not answer.content:
                raise SystemExit(f"{address} answered {answer.status_code}")
        return float(np.quantile(taken, 0.95))

    charts = [f"/monitoring/endpoints/bench/charts/{SPANS[n % len(SPANS)]}" for n in range(ASKED)]
    p95(charts[: len(SPANS)])
    return p95(charts), p95(["/account/tokens/"] * ASKED)


def first_chart(cookie: tuple[str, str]) -> float:
    """Milliseconds from asking to the first chart drawn in Chromium, the median of five."""
    from django.contrib.staticfiles.handlers import StaticFilesHandler
    from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
    from django.core.wsgi import get_wsgi_application

    from tests.chromium import launched
    from tests.ports import free_port

    server: Any = ThreadedWSGIServer(("127.0.0.1", free_port()), WSGIRequestHandler)
    server.set_app(StaticFilesHandler(get_wsgi_application()))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url, taken = f"http://127.0.0.1:{server.server_port}", []
    with launched() as browser:
        for _ in range(5):
            context = browser.new_context(viewport={"width": 1280, "height": 800})
            context.add_cookies([{"name": cookie[0], "value": cookie[1], "url": url}])
            page = context.new_page()
            begun = time.perf_counter()
            page.goto(f"{url}/monitoring/endpoints/bench/charts/?hours=2160", wait_until="commit")
            page.wait_for_selector("[data-plot][data-drawn]")
            taken.append((time.perf_counter() - begun) * 1000)
            context.close()
    server.shutdown()
    return statistics.median(taken)


def measure() -> tuple[float, float, float, int]:
    """p95 of the page, of the floor, the first chart, and the points."""
    import django

    django.setup()
    from django.conf import settings
    from django.test import Client, override_settings
    from django.test.utils import setup_test_environment

    from accounts.actions import create_user
    from audit.actions import service_actor

    setup_test_environment()
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    with override_settings(STORAGES=settings.STORAGES | {"staticfiles": plain}, ALLOWED_HOSTS=["*"]):
        now = datetime.now(UTC).replace(second=0, microsecond=0)
        points = fill(now)
        user = create_user(
            username="bench", email="bench@example.org", full_name="Bench", password="a long enough secret 4711",
            roles=["viewer"], actor=service_actor("bench"),
        )  # fmt: skip
        client = Client()
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        page, floor = page_times(client)
        name = settings.SESSION_COOKIE_NAME
        return page, floor, first_chart((name, client.cookies[name].value)), points


def main() -> int:
    on = machine()
    with tempfile.TemporaryDirectory(prefix="lastgood-bench-") as name, database(Path(name)) as (_, env):
        os.environ.update(env)
        from django.db import connections

        try:
            page, floor, chart, points = measure()
        finally:
            connections.close_all()
    size = {"points": points}
    met = report("endpoint_page_p95_ms", page, "ms", PAGE_TARGET, at_least=False, on=on, floor=floor, peers=size)
    drawn = report("first_chart_ms", chart, "ms", CHART_TARGET, at_least=False, on=on, peers=size)
    return 0 if met and drawn else 1


if __name__ == "__main__":
    sys.exit(main())
