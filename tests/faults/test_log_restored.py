"""F17: a database that was restored from an old backup is not signed, and whoever looks is told."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connections
from django.test import Client

from audit.models import AuditCheckpoint, AuditEvent
from audit.queries import status
from audit.sequencer import wait_for_leaf
from tests.audit.log import event
from tests.conftest import ROOT, CommittedDatabase
from tests.faults.log import Programs

pytestmark = pytest.mark.faults


@pytest.fixture
def programs(committed_db: CommittedDatabase, tmp_path: Path) -> Iterator[Programs]:
    made = Programs(committed_db.env, tmp_path)
    yield made
    made.end()


@pytest.fixture
def backup(committed_db: CommittedDatabase) -> Iterator[str]:
    """The name of a copy of the data directory's database, made file by file by the test."""
    name = f"{committed_db.name}_backup"
    yield name
    committed_db.services.drop(name)


def copy(db: CommittedDatabase, source: str, target: str) -> None:
    connections.close_all()
    db.services.drop(target)
    with db.services.cluster.connect("postgres") as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [source])
        connection.execute(f"CREATE DATABASE {target} TEMPLATE {source} OWNER lastgood_owner STRATEGY file_copy")


def recorded(programs: Programs, many: int) -> None:
    """Events that a sequencer has signed, which then stops."""
    sequencer = programs.sequencer()
    for _ in range(many):
        last = event()
    assert wait_for_leaf(last.pk, 60) is not None
    sequencer.terminate()
    assert sequencer.wait(30) == 0


def test_f17_a_restored_backup_is_not_signed_and_loudly_so(
    programs: Programs, committed_db: CommittedDatabase, backup: str, client: Client
) -> None:
    recorded(programs, 3)
    copy(committed_db, committed_db.name, backup)
    recorded(programs, 2)
    copy(committed_db, backup, committed_db.name)
    assert AuditEvent.objects.count() == 3

    event()
    sequencer = programs.sequencer("refusing")
    assert sequencer.wait(60) == 3
    said = "The tree in the database (3 leaves) does not extend the checkpoint remembered in"
    assert f"CRITICAL audit.sequencer Refuses to sign: {said}" in programs.log("refusing")
    told = status()
    assert not told.healthy
    assert said in told.alarms[0]
    assert client.get("/readyz").json()["log"] == "refuses to sign; see the auditors' page"
    assert AuditCheckpoint.objects.latest("size").size == 3


def test_f17_the_data_that_was_not_set_back_is_signed_again(
    programs: Programs, committed_db: CommittedDatabase, backup: str
) -> None:
    recorded(programs, 3)
    copy(committed_db, committed_db.name, backup)
    copy(committed_db, backup, committed_db.name)
    recorded(programs, 2)
    verified = subprocess.run(
        [sys.executable, "manage.py", "audit", "verify", "--key", programs.vkey],
        cwd=ROOT,
        env=programs.env,
        capture_output=True,
        text=True,
    )
    assert (verified.returncode, verified.stdout.split(",")[0]) == (0, "The log is whole: 5 leaves")
