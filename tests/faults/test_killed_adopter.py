"""Kill -9 of an adoption after each thing that it registers: adopted again, nothing is missing and nothing is twice."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from audit.models import AuditEvent
from registry.golden import golden_of
from registry.models import Deployment, Endpoint, Host, Model, Placement, Version
from tests.conftest import ROOT
from tests.faults.points import Point
from tests.host.fixtures import TOKEN, HostProcess, host_process
from tests.registry.adopting.test_adopt import host

__all__ = ["host", "host_process"]
pytestmark = pytest.mark.faults
PROGRAM = """
import os, sys
import django
django.setup()
from django.core.management import call_command
from tests.faults.points import Points, read_point
Points(read_point(os.environ["POINT"]), os.environ["LEDGER"]).install()
call_command("adopt", sys.argv[1], "--name", "h9")
"""
MADE = (
    "host.register",
    "model.register",
    "version.register",
    "endpoint.register",
    "placement.add",
    "deployment.switch",
    "engine.adopt",
)


def adopt(env: dict[str, str], url: str, folder: Path, point: Point | None = None) -> int:
    """Run the command, which dies at the point; its exit code."""
    more = {"POINT": point.dump() if point else "", "LEDGER": str(folder / "ledger"), "LASTGOOD_ADOPT_TOKEN": TOKEN}
    more["LASTGOOD_VAR"] = str(settings.LASTGOOD_VAR)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, url], cwd=ROOT, env=env | more, capture_output=True, text=True, timeout=120
    )
    assert point or done.returncode == 0, done.stderr
    return done.returncode


@pytest.mark.parametrize("moment", ["before_commit", "after_commit"])
@pytest.mark.parametrize("made", MADE)
def test_f41_an_adoption_that_was_killed_is_gone_on_with_by_adopting_again(
    committed_db: Any, host: HostProcess, tmp_path: Path, made: str, moment: str
) -> None:
    killed = adopt(committed_db.env, host.url, tmp_path, Point(f"event:{made}", moment))
    assert killed == -signal.SIGKILL

    adopt(committed_db.env, host.url, tmp_path)

    assert [row.name for row in Host.objects.all()] == ["h9"]
    assert [row.slug for row in Model.objects.all()] == ["prices"]
    versions = list(Version.objects.order_by("number"))
    assert [version.number for version in versions] == [3, 7]
    assert all(golden_of(version) for version in versions)
    [endpoint], [placement] = Endpoint.objects.all(), Placement.objects.all()
    assert (placement.endpoint, placement.desired, endpoint.fence) == (endpoint, versions[1], 5)
    assert [row.version for row in Deployment.objects.filter(until=None)] == [versions[1]]
    events = list(AuditEvent.objects.values_list("action", flat=True))
    expected = dict.fromkeys(MADE, 1) | {"version.register": 2}
    if (made, moment) == ("engine.adopt", "after_commit"):
        expected["engine.adopt"] = 2
    assert {action: events.count(action) for action in MADE} == expected
