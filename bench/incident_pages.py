"""How long people wait for the pages of incidents among 10,000 of them: ``incident_pages_p95_ms``, at most 150.

``PEOPLE`` signed-in people read pages over HTTP with a second's thought between two of them: the list, a search, the
open ones, one incident, its timeline, the first page. Two web workers answer, as the product starts them, on a private
PostgreSQL; each of the incidents has an alert and six events on record. An answer that is no 200 ends the run.

``floor`` is the same load on the page of a person's own tokens, which reads the session, the person and their roles.
Beside it: the 95th centile of each kind of page.
"""

import http.client
import itertools
import os
import random
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bench.audit_events_per_second import database
from bench.report import machine, report
from bench.status_page import ROOT, serving, wait_for
from config.embedded.ports import free_port

INCIDENTS = int(os.environ.get("INCIDENTS", "10000"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "40"))
PEOPLE, THOUGHT, TARGET = 10, 1.0, 150.0
EVENTS = 6
BATCH = 1000
PAGES = {
    "list": "/incidents/",
    "search": "/incidents/?q=scorer-{ref}",
    "open": "/incidents/?state=open",
    "incident": "/incidents/INC-{ref}/",
    "timeline": "/incidents/INC-{ref}/timeline/",
    "first": "/",
}


def record_events(refs: list[str]) -> None:
    """EVENTS events of each incident as `record` makes them, brought to the same table by one statement for many of
    them, with the numbers that their counters say at the end."""
    from django.db import connection
    from django.utils import timezone

    from audit import actions

    made: list[list[Any]] = []
    numbers = dict.fromkeys(refs, 0)

    def number(incident: str, count: int) -> tuple[Any, int]:
        numbers[incident] += count
        return timezone.now(), numbers[incident]

    def kept(events: list[Any]) -> None:
        made.extend([getattr(event, column) for column in actions.COLUMNS] for event in events)

    bench = actions.service_actor("bench")
    with patch.object(actions, "_insert", kept), patch.object(actions, "_moment_and_number", number):
        for ref in refs:
            for at in range(EVENTS):
                actions.record(
                    action="incident.post_update", target=actions.Target("incident", ref), actor=bench, incident=ref,
                    data={"at": at},
                )  # fmt: skip
    with connection.cursor() as cursor:
        cursor.executemany(f"{actions.INSERT} {actions.ROW}", made)
        cursor.executemany("INSERT INTO audit_incident_counter (incident, last) VALUES (%s, %s)", numbers.items())


def fill() -> list[str]:
    """The incidents, of which every hundredth is open; returns a session for each of the people."""
    from django.db import transaction
    from django.test import Client
    from django.utils import timezone

    from accounts.actions import create_user
    from audit.actions import service_actor
    from incidents.models import Incident, IncidentAlert
    from monitoring.models import Alert
    from registry.models import Endpoint, Model

    bench, now = service_actor("bench"), timezone.now()
    endpoints = [
        Endpoint.objects.create(
            slug=f"scorer-{at}",
            name=f"Scorer {at}",
            model=Model.objects.create(slug=f"m{at}", name=f"M{at}", team="bench"),
        )
        for at in range(20)
    ]
    for first in range(1, INCIDENTS + 1, BATCH):
        numbers = range(first, min(first + BATCH, INCIDENTS + 1))
        with transaction.atomic():
            made = Incident.objects.bulk_create(
                Incident(
                    number=number, ref=f"INC-{number}", title=f"Scorer {number % 20} is right less often than before",
                    state="detected" if number % 100 == 0 else "closed", severity=1 + number % 4,
                    endpoint=endpoints[number % 20], from_version="2", group_key=f"bench:{number}",
                    impact_started_at=now, detected_at=now,
                )
                for number in numbers
            )  # fmt: skip
            alerts = Alert.objects.bulk_create(
                Alert(
                    fingerprint=f"{one.number:064x}", source="alertmanager", endpoint=one.endpoint, version="2",
                    state="firing" if one.number % 100 == 0 else "resolved", severity=2, summary=one.title,
                    started_at=now,
                )
                for one in made
            )  # fmt: skip
            IncidentAlert.objects.bulk_create(
                IncidentAlert(incident=one, alert=alert) for one, alert in zip(made, alerts, strict=True)
            )
            record_events([one.ref for one in made])
    sessions = []
    for number in range(PEOPLE):
        user = create_user(
            username=f"p{number}", email=f"p{number}@example.org", full_name=f"Person {number}",
            password="correct horse battery staple", roles=["commander"], actor=bench,
        )  # fmt: skip
        client = Client()
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        sessions.append(client.cookies["sessionid"].value)
    return sessions


def read(port: int, session: str, kinds: list[str], end: float, times: dict[str, list[float]], seed: int) -> None:
    """One person: a page, a thought, the next page."""
    drawn, connection = random.Random(seed), http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    time.sleep(THOUGHT * seed / PEOPLE)
    for kind in itertools.cycle(drawn.sample(kinds, len(kinds))):
        if time.monotonic() > end:
            return
        place = PAGES.get(kind, kind).format(ref=drawn.randint(1, INCIDENTS))
        began = time.monotonic()
        connection.request("GET", place, headers={"Host": "127.0.0.1", "Cookie": f"sessionid={session}"})
        answer = connection.getresponse()
        answer.read()
        times.setdefault(kind, []).append((time.monotonic() - began) * 1000)
        if answer.status != 200:
            raise RuntimeError(f"{place} answered {answer.status}.")
        time.sleep(THOUGHT)


def measured(port: int, sessions: list[str], kinds: list[str]) -> dict[str, list[float]]:
    """Milliseconds of each page that was read, by its kind; first each kind is read once by everybody, unmeasured."""
    for seconds in (len(kinds) * (THOUGHT + 0.2), SECONDS):
        times: dict[str, list[float]] = {}
        end, failed = time.monotonic() + seconds, []

        def person(at: int, end: float = end, times: dict[str, list[float]] = times, failed: Any = failed) -> None:
            try:
                read(port, sessions[at], kinds, end, times, at)
            except Exception as error:
                failed.append(error)

        threads = [threading.Thread(target=person, args=(at,)) for at in range(PEOPLE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]
    return times


def p95(times: list[float]) -> float:
    return sorted(times)[min(len(times) - 1, round(0.95 * len(times)))]


def main() -> int:
    on = machine()
    with tempfile.TemporaryDirectory(prefix="lastgood-bench-") as name, database(Path(name)) as (_, env):
        os.environ |= env | {"LASTGOOD_VAR": name, "DEBUG": "0", "LASTGOOD_BEAT_SECONDS": "0"}
        import django
        from django.core.management import call_command
        from django.db import connection, connections

        django.setup()
        call_command("sealkey")
        call_command("collectstatic", verbosity=0, interactive=False)
        began = time.monotonic()
        sessions = fill()
        print(f"prepared in {time.monotonic() - began:.0f} s", file=sys.stderr)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        connections.close_all()
        port = free_port()
        with serving("config.wsgi", port, ROOT, dict(os.environ)):
            wait_for(port, "/healthz")
            times = measured(port, sessions, list(PAGES))
            floor = measured(port, sessions, ["/account/tokens/"])["/account/tokens/"]
    each = {kind: round(p95(found), 1) for kind, found in sorted(times.items())}
    everything = [one for found in times.values() for one in found]
    met = report(
        "incident_pages_p95_ms", p95(everything), "ms", TARGET, at_least=False, on=on, floor=p95(floor), peers=each
    )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
