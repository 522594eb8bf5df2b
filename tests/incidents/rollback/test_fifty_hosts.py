"""A plan for fifty hosts stays readable: waves that fold, failures first, names in short."""

import re
from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.actions import create_user
from incidents.rollback import queries
from incidents.rollback.models import HostStep, Plan, Run, StepState, Wave, WaveState
from incidents.rollback.plan import propose, read
from incidents.rollback.run import open_run
from incidents.rollback.state import STEP_PATH
from incidents.rollback.terms import plan_rows
from registry.models import Host, Placement
from tests.incidents.rollback.fleet import PASSWORD, SETUP
from tests.registry.world import make_endpoint, make_registered_model, make_version, switched

RACKS = ("a", "b", "c", "d", "e")


@pytest.fixture
def fifty(db: None, tmp_path: Path) -> Run:
    """Version 1 of fifty hosts in five racks is left for version 2: the racks a and b are done, in c one failed."""
    model = make_registered_model()
    old, _ = make_version(model, tmp_path, seed=1)
    new, _ = make_version(model, tmp_path, seed=2, label=0)
    endpoint = make_endpoint(model, min_hosts_serving=40)
    hosts = Host.objects.bulk_create(
        Host(name=f"gpu-{i:02}", address=f"http://127.0.0.1:{20000 + i}", labels={"rack": RACKS[i % 5]})
        for i in range(50)
    )
    for placement in Placement.objects.bulk_create(Placement(endpoint=endpoint, host=host) for host in hosts):
        switched(placement, old)
    person = create_user(
        username="rita", email="rita@example.org", full_name="Rita", password=PASSWORD, roles=["responder"], actor=SETUP
    )
    plan = propose(
        kind="rollback", endpoint=endpoint, to_version=new, reason="Version 1 is wrong.", user=person, actor=SETUP,
        wave_by={"label": "rack"}, quorum={"percent": 80}, failure_budget=2,
    )  # fmt: skip
    run = open_run(plan=plan, document=read(plan), fence=2, started_by=person)
    now = timezone.now().isoformat()
    done = dict.fromkeys(STEP_PATH[1:], now)
    Wave.objects.filter(run=run, index__lte=3).update(state=WaveState.DONE)
    Wave.objects.filter(run=run, index=4).update(state=WaveState.RUNNING)
    HostStep.objects.filter(wave__run=run, wave__index__lte=3).update(state=StepState.DONE, marks=done)
    third = list(HostStep.objects.filter(wave__run=run, wave__index=4).order_by("host__name"))
    HostStep.objects.filter(pk__in=[step.pk for step in third[:3]]).update(state=StepState.DONE, marks=done)
    HostStep.objects.filter(pk=third[-1].pk).update(
        state=StepState.FAILED, marks={"locked": now}, state_reason="It could not load version 2."
    )
    return Run.objects.get(pk=run.pk)


def page_of(run: Run) -> str:
    client = Client()
    client.force_login(run.plan.proposer, backend="django.contrib.auth.backends.ModelBackend")
    return client.get(reverse("plan-detail", args=[run.plan_id])).content.decode()


def test_waves_by_rack_fold_where_nobody_has_to_look(fifty: Run) -> None:
    waves = queries.waves_of(fifty)

    assert [(w["label"], len(w["lanes"]), w["open"]) for w in waves] == [
        ("canary", 1, False),
        ("rack a", 9, False),
        ("rack b", 10, False),
        ("rack c", 10, True),
        ("rack d", 10, False),
        ("rack e", 10, False),
    ]
    assert waves[3]["lanes"][0]["state"] == StepState.FAILED
    assert waves[3]["counts"] == "10 hosts: 6 waiting, 3 done, 1 failed"


def test_the_page_of_fifty_hosts_names_few_of_them_and_opens_one_wave(fifty: Run) -> None:
    page = page_of(fifty)

    assert len(re.findall(r'<details class="wave wave-fold" id="fold-wave-\d"(?= open)', page)) == 1
    assert page.count("It could not load version 2.") == 1
    assert "one for each rack after a first host: canary 1, of which 1 must succeed; then rack a 9, of which 8" in page
    assert "at least 40" in page
    assert "2 of 50" in page


def test_the_plans_rows_are_one_a_wave(fifty: Run) -> None:
    rows = plan_rows(Plan.objects.select_related("from_version", "to_version").get(pk=fifty.plan_id))

    groups = [row["group"] for row in rows if row["group"].startswith("wave")]
    assert groups[:3] == ["wave 1 · canary", "wave 2 · rack a", "wave 3 · rack b"]
    assert len(groups) == 6
