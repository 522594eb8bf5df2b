"""How long an auditor waits for a search of a million events: the 95th centile of 200 searches, each the whole page
through the middleware, with everything that stands on it. Target: at most 300 ms.

The searches are drawn from what auditors ask: one filter, several together, spans of time, words, a person by name,
what does not exist, and pages deep in a result. ``floor`` is the 95th centile of the smallest signed-in page and
``peers`` has that of each kind of search. EVENTS=10000 makes the log smaller.
"""

import datetime
import math
import os
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from audit.note import read_key_file
from bench.audit_events_per_second import database, manage
from bench.million import DAYS, NOW, build
from bench.report import machine, report

EVENTS = int(os.environ.get("EVENTS", "1000000"))
SEARCHES, TARGET = 200, 300.0
NAMES = 300


def main() -> int:
    on = machine()
    with tempfile.TemporaryDirectory(prefix="lastgood-bench-") as name, database(Path(name)) as (_, env):
        build(env["OWNER_DATABASE_URL"], EVENTS, signer=read_key_file(Path(env["LASTGOOD_LOG_KEY_FILE"])))
        manage(env, "collectstatic", "--no-input", "--verbosity", "0")
        os.environ.update(env)
        import django
        from django.db import connections

        django.setup()
        try:
            times, floor = measure()
        finally:
            connections.close_all()
    kinds = {kind: round(p95(taken), 1) for kind, taken in times.items()}
    value = p95([one for taken in times.values() for one in taken])
    met = report("audit_search_p95_ms", value, "ms", TARGET, at_least=False, on=on, floor=floor, peers=kinds)
    return 0 if met else 1


def measure() -> tuple[dict[str, list[float]], float]:
    """Milliseconds of each search by its kind, and the smallest page's 95th centile."""
    from django.test import Client
    from django.test.utils import setup_test_environment

    from accounts.actions import create_user
    from accounts.models import User
    from audit.actions import service_actor

    setup_test_environment(debug=False)
    auditor = create_user(
        username="idris", email="idris@example.org", full_name="Idris", password="correct horse battery staple",
        roles=["auditor"], actor=service_actor("bench"),
    )  # fmt: skip
    User.objects.bulk_create(
        User(username=f"person{n}", first_name=f"First{n}", last_name=f"Last{n}", pseudonym=f"u-{n:04x}")
        for n in range(NAMES)
    )
    client = Client()
    client.force_login(auditor, backend="django.contrib.auth.backends.ModelBackend")
    asked(client, "/audit/")
    times: dict[str, list[float]] = defaultdict(list)
    for kind, query in list(searches(random.Random(11)))[:SEARCHES]:
        times[kind].append(asked(client, f"/audit/?{urlencode(query)}"))
    return dict(times), p95([asked(client, "/account/tokens/") for _ in range(20)])


def p95(times: list[float]) -> float:
    return sorted(times)[max(math.ceil(len(times) * 0.95) - 1, 0)]


def asked(client: Any, address: str) -> float:
    begun = time.perf_counter()
    answer = client.get(address)
    taken = (time.perf_counter() - begun) * 1000
    if answer.status_code != 200:
        raise SystemExit(f"{address} answered {answer.status_code}.")
    return taken


def searches(drawn: random.Random) -> Iterator[tuple[str, dict[str, str]]]:
    """Kind and query of one search after the other, for ever as many as are wanted."""
    for _ in range(SEARCHES // 15 + 1):
        day = NOW.replace(tzinfo=None) - datetime.timedelta(days=drawn.random() * DAYS)
        person, target = f"Last{drawn.randrange(NAMES)}", f"hos-{drawn.randrange(80)}"
        incident = f"INC-{drawn.randrange(max(EVENTS // 200, 1)) + 1}"
        until = day.isoformat(timespec="seconds")
        yield "person by name", {"actor": person}
        yield "program", {"actor": "worker"}
        yield "incident", {"incident": incident}
        yield "object", {"target": f"host {target}"}
        yield "kind of object", {"target": "approval request"}
        yield "outcome", {"outcome": "denied", "until": until}
        yield "words of an action", {"action": "step outcome"}
        yield "family of actions, by time", {"action": "approval", "until": until}
        yield "person and action, by time", {"actor": person, "action": "approval.decide", "until": until}
        yield "program and object", {"actor": "worker", "target": target, "until": until}
        yield "nothing in common", {"actor": person, "action": "rollback.step.outcome"}
        yield "common, nothing in common", {"actor": "worker", "action": "approval.open"}
        yield "denied steps", {"outcome": "denied", "action": "rollback.step"}
        yield "deep page", {"action": "incident.update", "before": f"{until}+00:00~{EVENTS}"}
        yield "unknown", {"actor": "nobody"}


if __name__ == "__main__":
    sys.exit(main())
