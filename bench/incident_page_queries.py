"""How many queries the page of an incident with 1,000 events on record needs, with a rollback under way on 3 hosts
and its candidates ranked. Target: at most 15. A signed-in commander asks for the page, through the whole middleware.

``floor``: the queries of the smallest signed-in page, which reads the session, the person and the roles.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.audit_events_per_second import database
from bench.report import machine, report

EVENTS, TARGET = 1000, 15


def main() -> int:
    on = machine()
    with tempfile.TemporaryDirectory(prefix="lastgood-bench-") as name, database(Path(name)) as (_, env):
        os.environ |= env | {"DJANGO_SETTINGS_MODULE": "config.settings", "LASTGOOD_VAR": name, "DEBUG": "1"}
        import django
        from django.db import connections

        django.setup()
        try:
            page, floor = measure()
        finally:
            connections.close_all()
    return 0 if report("incident_page_queries", page, "queries", TARGET, at_least=False, on=on, floor=floor) else 1


def measure() -> tuple[int, int]:
    """Queries of the incident's page and of an account's page."""
    from django.test import Client
    from django.test.utils import setup_test_environment

    from accounts.models import User

    setup_test_environment(debug=True)
    ref = fill()
    client = Client()
    client.force_login(User.objects.get(username="kofi"), backend="django.contrib.auth.backends.ModelBackend")
    return queries_of(client, f"/incidents/{ref}/"), queries_of(client, "/account/tokens/")


def queries_of(client: Any, address: str) -> int:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as seen:
        answer = client.get(address)
    if answer.status_code != 200:
        raise RuntimeError(f"{address} answered {answer.status_code}.")
    return len(seen)


def fill() -> str:
    """An incident as the page finds it in the middle of a rollback. Returns its reference."""
    from django.utils import timezone

    from accounts.actions import actor_for, create_user
    from audit.actions import Target, record, service_actor
    from incidents import actions
    from incidents.models import Incident
    from incidents.rollback.models import Candidate, HostStep, Plan, PlanState, Run, Wave
    from registry.models import Endpoint, Host, Model, Version

    bench, now = service_actor("bench"), timezone.now()
    kofi = create_user(
        username="kofi", email="kofi@example.org", full_name="Kofi", password="correct horse battery staple",
        roles=["commander"], actor=bench,
    )  # fmt: skip
    model = Model.objects.create(slug="scorer", name="Scorer", team="bench")
    endpoint = Endpoint.objects.create(slug="scorer-production", name="Scorer", model=model)
    good, bad = (
        Version.objects.create(model=model, number=n, digest=f"{n:064x}", manifest=b"{}", signature={}) for n in (1, 2)
    )
    incident = Incident.objects.create(
        number=1, ref="INC-1", title="Scorer is worse", severity=1, endpoint=endpoint, from_version="2",
        group_key="bench", impact_started_at=now, detected_at=now,
    )  # fmt: skip
    actions.acknowledge(incident=incident, user=kofi, actor=actor_for(user=kofi))
    for rank, version in enumerate((good, bad), start=1):
        Candidate.objects.create(
            incident_ref="INC-1", endpoint=endpoint, to_version=version, eligible=version == good, rank=rank
        )
    plan = Plan.objects.create(
        kind="rollback", endpoint=endpoint, from_version=bad, to_version=good, incident_ref="INC-1", proposer=kofi,
        document=b"{}", plan_hash="0" * 64, state=PlanState.STARTED, expires_at=now,
    )  # fmt: skip
    run = Run.objects.create(plan=plan, endpoint=endpoint, fence=1)
    for index in range(1, 4):
        host = Host.objects.create(name=f"h{index}", address=f"http://127.0.0.1:{9000 + index}")
        wave = Wave.objects.create(run=run, index=index, name=f"wave {index}")
        HostStep.objects.create(run=run, wave=wave, host=host)
    for at in range(EVENTS):
        record(
            action="rollback.step.outcome", target=Target("host", f"h{at % 3 + 1}"), actor=bench, incident="INC-1",
            data={"host": f"h{at % 3 + 1}", "step": "load", "at": at},
        )  # fmt: skip
    return "INC-1"


if __name__ == "__main__":
    sys.exit(main())
