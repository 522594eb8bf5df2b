"""F32: the database's clock is set back. The log's order is the order of commits, whatever the clock says."""

import datetime
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from django.db import connections

from audit.integrity import verify_log
from audit.models import AuditCheckpoint, AuditEvent, AuditLeaf
from audit.watch import lag
from config.embedded.postgres import Cluster
from tests.audit.log import event, sequence_all, sequencer_in
from tests.conftest import ROOT
from tests.ports import free_port
from tests.services import CHILD, FAST, SHARED

pytestmark = pytest.mark.faults


@dataclass
class Clock:
    """The clock of a PostgreSQL of the test's own."""

    file: Path

    def set(self, seconds: int) -> None:
        """So many seconds away from the machine's."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(str(seconds))
        fresh.chmod(0o644)
        fresh.replace(self.file)


@pytest.fixture
def clock(django_db_setup: None, django_db_blocker: object) -> Iterator[Clock]:
    """This process's connections lead to a migrated database on a server whose clock can be set."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("without a C compiler the server's clock can't be set")
    parent = SHARED if os.geteuid() == 0 else Path(tempfile.gettempdir())
    with tempfile.TemporaryDirectory(prefix="lastgood-clock-", dir=parent) as name:
        home = Path(name)
        home.chmod(0o755)
        shim = home / "clock.so"
        source = Path(__file__).with_name("clock_shim.c")
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(shim), str(source), "-ldl"], check=True)
        clock = Clock(home / "offset")
        clock.set(0)
        for part in ("secrets", "run"):
            (home / part).mkdir(mode=0o700)
        cluster = Cluster(home / "postgres", home / "secrets", free_port(), FAST)
        cluster.prepare()
        program = cluster.program()
        env = {"LD_PRELOAD": str(shim), "CLOCK_OFFSET_FILE": str(clock.file)}
        server = replace(program, env={**program.env, **env}).spawn(home / "run", home / "postgres.log")
        try:
            cluster.wait()
            cluster.make_logins()
            cluster.make_database()
            with django_db_blocker.unblock(), _connected_to(cluster):  # type: ignore[attr-defined]
                yield clock
        finally:
            server.terminate()
            server.wait(30)


class _connected_to:
    """Lead every alias of this process to another server, migrated, for the length of a block."""

    def __init__(self, cluster: Cluster) -> None:
        logins = {"default": "lastgood_app", "owner": "lastgood_owner", "sequencer": "lastgood_sequencer"}
        variables = {"default": "DATABASE_URL", "owner": "OWNER_DATABASE_URL", "sequencer": "SEQUENCER_DATABASE_URL"}
        urls = {variables[alias]: cluster.url(login) for alias, login in logins.items()}
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "--verbosity", "0", "--no-input", "--skip-checks"],
            cwd=ROOT,
            env=os.environ | urls | {CHILD: "1", "DJANGO_SETTINGS_MODULE": "tests.settings"},
            check=True,
        )
        self.settings = {
            alias: {"PORT": str(cluster.port), "PASSWORD": cluster.password(login), "NAME": "lastgood"}
            for alias, login in logins.items()
        }

    def __enter__(self) -> None:
        connections.close_all()
        self.before = {
            alias: {name: connections[alias].settings_dict[name] for name in values}
            for alias, values in self.settings.items()
        }
        for alias, values in self.settings.items():
            connections[alias].settings_dict.update(values)

    def __exit__(self, *exception: object) -> None:
        connections.close_all()
        for alias, values in self.before.items():
            connections[alias].settings_dict.update(values)


def test_f32_after_the_clock_was_set_back_the_order_is_that_of_the_leaves(clock: Clock, tmp_path: Path) -> None:
    sequencer = sequencer_in(tmp_path)
    before = [event(incident="INC-1").pk for _ in range(3)]
    sequence_all(sequencer)
    clock.set(-600)
    back = [event(incident="INC-1").pk for _ in range(3)]
    assert lag().seconds < 60, "a clock that was set back makes no alarm"
    sequence_all(sequencer)
    clock.set(600)
    ahead = event(incident="INC-1").pk
    sequence_all(sequencer)

    in_order = AuditLeaf.objects.order_by("leaf_index").values_list("event_id", flat=True)
    assert list(in_order) == [*before, *back, ahead]
    times = list(AuditEvent.objects.order_by("leaf__leaf_index").values_list("occurred_at", flat=True))
    assert times[2] - times[3] > datetime.timedelta(minutes=9)
    assert times[6] - times[5] > datetime.timedelta(minutes=19)
    numbers = AuditEvent.objects.order_by("leaf__leaf_index").values_list("incident_seq", flat=True)
    assert list(numbers) == [1, 2, 3, 4, 5, 6, 7]
    report = verify_log(sequencer.signer.vkey)
    assert (report.problems, report.size) == ([], 7)
    assert list(AuditCheckpoint.objects.order_by("size").values_list("size", flat=True)) == [3, 6, 7]
