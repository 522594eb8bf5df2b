"""How many deliveries of five alerts the intake takes each second while the worker reads them
(``intake_deliveries_per_second``, at least 300), and how long it takes from a webhook to an open incident
(``alert_to_incident_p95_ms``, at most 1,000).

The whole product runs as ``manage.py up`` starts it: PostgreSQL with its durable settings, Redis, clock, sequencer,
workers, two web workers. First, on the quiet installation, ``SINGLE`` messages of Alertmanager with an alert of its own
each come one after the other; each is timed from before its request until its incident is seen in the database (asked
every 10 ms). One before them is not counted: the web answers a few seconds before the workers have begun. Then
``CLIENTS`` connections that stay open send as fast as they are answered; every delivery has a body of its own and five
alerts that nobody has heard of. The rate counts only if all that was answered with 202 is stored.

``floor`` of the rate: the same requests against a gunicorn with as many workers that reads the body, inserts it into a
table of the same PostgreSQL and commits. Beside it: how many alerts each second the worker read meanwhile, and what of
them waited at the end.
"""

import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.report import machine, report
from bench.status_page import GUNICORN
from config.embedded.ports import free_port
from config.embedded.stack import Stack

SECONDS = float(os.environ.get("BENCH_SECONDS", "15"))
SINGLE = int(os.environ.get("SINGLE", "60"))
CLIENTS, ALERTS = 8, 5
RATE, MOST_MS = 300.0, 1000.0
TOKEN = "lg_00000000_" + "b" * 43
PLACE = "/api/v1/ingest/alertmanager/bench/"
MINIMAL = """
import os, threading
import psycopg
here = threading.local()
def application(environ, start_response):
    if not hasattr(here, "connection"):
        here.connection = psycopg.connect(os.environ["DATABASE_URL"])
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    with here.connection.transaction():
        here.connection.execute("INSERT INTO plain_delivery (body) VALUES (%s)", [body])
    start_response("202 Accepted", [("Content-Length", "2"), ("Content-Type", "application/json")])
    return [b"{}"]
"""


def message(name: str, count: int) -> bytes:
    """A delivery of Alertmanager with so many alerts that fire; each has a fingerprint and a start of its own."""
    started = datetime.now(UTC).isoformat()
    alerts = [
        {
            "status": "firing",
            "labels": {"alertname": name.partition("-")[0], "instance": f"gpu-{number}", "severity": "warning"},
            "annotations": {"summary": f"{name} on gpu-{number} is slower than it was"},
            "startsAt": started,
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus.example.org/graph",
            "fingerprint": hashlib.sha256(f"{name} {number}".encode()).hexdigest()[:16],
        }
        for number in range(count)
    ]
    return json.dumps({"version": "4", "status": "firing", "receiver": "lastgood", "alerts": alerts}).encode()


def request(body: bytes) -> bytes:
    head = (
        f"POST {PLACE} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@contextlib.contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), 30) as there:
        there.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield there


def answered(there: socket.socket, asked: bytes) -> int:
    """Send a request and read its whole answer; returns the status."""
    there.sendall(asked)
    got = b""
    while b"\r\n\r\n" not in got:
        part = there.recv(65536)
        if not part:
            raise RuntimeError(f"The connection ended: {got[:300]!r}")
        got += part
    head, _, body = got.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
    )
    while len(body) < length:
        body += there.recv(65536)
    return int(head.split()[1])


def taken_per_second(port: int) -> tuple[float, int]:
    """Answers of 202 each second from CLIENTS connections, and how many there were."""
    counts, wrong, end = [0] * CLIENTS, [], time.monotonic() + SECONDS

    def send(at: int) -> None:
        with connected(port) as there:
            number = 0
            while time.monotonic() < end:
                number += 1
                status = answered(there, request(message(f"Burst{at}-{number}", ALERTS)))
                if status == 202:
                    counts[at] += 1
                else:
                    wrong.append(status)

    threads = [threading.Thread(target=send, args=(at,)) for at in range(CLIENTS)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        raise RuntimeError(f"{len(wrong)} requests were answered otherwise, the first with {wrong[0]}.")
    return sum(counts) / (time.monotonic() - began), sum(counts)


def to_incident_ms(port: int) -> list[float]:
    """Of each alert that comes alone, on a connection of its own: from before its request until its incident is in the
    database."""
    from incidents.models import IncidentAlert

    times = []
    for number in range(SINGLE + 1):
        name = f"Single{number}"
        body = message(name, 1)
        began = time.monotonic()
        with connected(port) as there:
            status = answered(there, request(body))
        if status != 202:
            raise RuntimeError(f"It was answered with {status}.")
        while not IncidentAlert.objects.filter(alert__labels__alertname=name).exists():
            if time.monotonic() - began > 30:
                raise RuntimeError(f"{name} opened no incident in 30 s.")
            time.sleep(0.01)
        times.append((time.monotonic() - began) * 1000)
        time.sleep(0.05)
    return sorted(times[1:])


@dataclass(frozen=True)
class Figures:
    rate: float
    p95: float
    read: float
    waiting: int
    floor: float


def measure(stack: Stack, folder: Path) -> Figures:
    from accounts.actions import create_user, token_digest
    from accounts.models import ApiToken
    from audit.actions import service_actor
    from monitoring.models import Alert, Delivery, DeliveryState

    ada = create_user(
        username="ada", email="ada@example.org", full_name="Ada", password="correct horse battery staple",
        roles=[], actor=service_actor("bench"),
    )  # fmt: skip
    ApiToken.objects.create(
        name="bench", owner=ada, scopes=["ingest"], sha256=token_digest(TOKEN), prefix=TOKEN[:11],
        expires_at=datetime.now(UTC) + timedelta(days=1),
    )  # fmt: skip
    times = to_incident_ms(stack.port)
    before, known = Delivery.objects.filter(sender="bench").count(), Alert.objects.count()
    began = time.monotonic()
    rate, count = taken_per_second(stack.port)
    read = (Alert.objects.count() - known) / (time.monotonic() - began)
    waiting = Delivery.objects.filter(state=DeliveryState.STORED).count()
    stored = Delivery.objects.filter(sender="bench").count() - before
    if stored != count:
        raise RuntimeError(f"{count} deliveries were answered with 202, {stored} are stored.")
    p95 = times[min(len(times) - 1, round(0.95 * len(times)))]
    return Figures(rate, p95, read, waiting, floor(stack, folder))


def floor(stack: Stack, folder: Path) -> float:
    """The rate of a program that stores the body and nothing else."""
    from django.db import connections

    with connections["owner"].cursor() as cursor:
        cursor.execute("CREATE TABLE plain_delivery (id bigserial PRIMARY KEY, body bytea)")
        cursor.execute("GRANT ALL ON plain_delivery, plain_delivery_id_seq TO PUBLIC")
    (folder / "minimal.py").write_text(MINIMAL)
    port = free_port()
    command = [sys.executable, *GUNICORN, "--bind", f"127.0.0.1:{port}", "--log-level", "error", "minimal"]
    process = subprocess.Popen(command, cwd=folder, env=os.environ | {"DATABASE_URL": stack.env["DATABASE_URL"]})
    try:
        for _ in range(300):
            with contextlib.suppress(OSError), connected(port):
                break
            time.sleep(0.1)
        return taken_per_second(port)[0]
    finally:
        process.terminate()
        process.wait(30)


def main() -> int:
    on = machine()
    with tempfile.TemporaryDirectory(prefix="lastgood-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        stack = Stack(folder / "var", port=free_port(), given=os.environ | {"LASTGOOD_BEAT_SECONDS": "0"})
        try:
            stack.start()
            os.environ |= stack.env | {"DJANGO_SETTINGS_MODULE": "config.settings"}
            import django
            from django.db import connections

            django.setup()
            found = measure(stack, folder)
            connections.close_all()
        finally:
            stack.stop()
            stack.remove_data()
    beside = {"alerts read each second meanwhile": round(found.read), "deliveries not read at the end": found.waiting}
    took = report(
        "intake_deliveries_per_second", found.rate, "deliveries/s", RATE, at_least=True, on=on, floor=found.floor,
        peers=beside,
    )  # fmt: skip
    quick = report("alert_to_incident_p95_ms", found.p95, "ms", MOST_MS, at_least=False, on=on)
    return 0 if took and quick else 1


if __name__ == "__main__":
    sys.exit(main())
