"""Requests a second for a public status page over HTTP, from two workers of the web process as the product starts it.
Target: at least 1,500. The page's copy is read by ``CLIENTS`` connections that stay open.

``floor``: the same bytes under the same load from a server that holds them in memory and does nothing else.
"""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bench.audit_events_per_second import database
from bench.report import machine, report

ROOT = Path(__file__).resolve().parent.parent
SECONDS = float(os.environ.get("BENCH_SECONDS", "10"))
CLIENTS, TARGET = 8, 1500
GUNICORN = ["-m", "gunicorn", "--worker-class", "gthread", "--workers", "2", "--threads", "4", "--no-control-socket"]
MINIMAL = """
import os
BODY = open(os.environ["BODY"], "rb").read()
HEADERS = [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(BODY)))]
def application(environ, start_response):
    start_response("200 OK", HEADERS)
    return [BODY]
"""


def main() -> int:
    on = machine()
    with tempfile.TemporaryDirectory(prefix="lastgood-bench-") as name, database(Path(name)) as (_, env):
        folder = Path(name)
        env = env | {"DJANGO_SETTINGS_MODULE": "config.settings", "LASTGOOD_VAR": name, "DEBUG": "0"}
        os.environ |= env
        import django
        from django.core.management import call_command
        from django.db import connections

        django.setup()
        call_command("sealkey")
        call_command("collectstatic", verbosity=0, interactive=False)
        try:
            place, body = written_page()
        finally:
            connections.close_all()
        (folder / "minimal.py").write_text(MINIMAL)
        (folder / "body").write_bytes(body)
        ours = measured("config.wsgi", place, len(body), ROOT, os.environ | env)
        floor = measured("minimal", "/", len(body), folder, os.environ | {"BODY": str(folder / "body")})
    return 0 if report("status_page_rps", ours, "requests/s", TARGET, at_least=True, on=on, floor=floor) else 1


def written_page() -> tuple[str, bytes]:
    """A page of ten components, with an incident told of; its address, and the copy as it was written."""
    from django.utils import timezone

    from audit.actions import service_actor
    from incidents import status, status_files
    from incidents.models import Incident

    actor = service_actor("bench")
    page = status.create_page(slug="services", name="Services", description="", public=True, actor=actor)
    parts = [status.add_component(page=page, name=f"Service {at}", actor=actor) for at in range(10)]
    incident = Incident.objects.create(
        number=1, ref="INC-1", title="x", severity=2, group_key="x", detected_at=timezone.now()
    )
    status.post(
        page=page, incident=incident, status="investigating", component_state="partial_outage", by=None, actor=actor,
        text="People are working on it.", components=parts[:2],
    )  # fmt: skip
    status_files.publish_page(page_id=page.pk)
    return "/status/services/", (status_files.directory("services") / "index.html").read_bytes()


def measured(module: str, place: str, size: int, folder: Path, env: dict[str, str]) -> float:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with serving(module, port, folder, env):
        wait_for(port, place)
        counts = [0] * CLIENTS
        end = time.monotonic() + SECONDS
        threads = [threading.Thread(target=read, args=(port, place, size, end, counts, at)) for at in range(CLIENTS)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(counts) / (time.monotonic() - began)


@contextlib.contextmanager
def serving(module: str, port: int, folder: Path, env: dict[str, str]) -> Iterator[None]:
    command = [sys.executable, *GUNICORN, "--bind", f"127.0.0.1:{port}", "--log-level", "error", module]
    process = subprocess.Popen(command, cwd=folder, env=env)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def wait_for(port: int, place: str) -> None:
    for _ in range(600):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 2) as there:
            there.sendall(f"GET {place} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
            if there.recv(64).startswith(b"HTTP/1.1 200"):
                return
        time.sleep(0.1)
    raise RuntimeError(f"Nothing answers at {place}.")


def read(port: int, place: str, size: int, end: float, counts: list[int], at: int) -> None:
    """Ask again and again on one connection; each answer is read whole and must be a 200 of that size."""
    asked = f"GET {place} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", port), 10) as there:
        there.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while time.monotonic() < end:
            there.sendall(asked)
            got = there.recv(65536)
            while b"\r\n\r\n" not in got:
                got += there.recv(65536)
            head, _, body = got.partition(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200") or f"length: {size}".encode() not in head.lower():
                raise RuntimeError(head.decode(errors="replace"))
            left = size - len(body)
            while left > 0:
                left -= len(there.recv(65536))
            counts[at] += 1


if __name__ == "__main__":
    raise SystemExit(main())
