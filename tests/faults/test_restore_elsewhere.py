"""A backup put into another PostgreSQL, whose transaction ids are lower than the log's (F17 and the way out of it)."""

import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import call_command

from audit.models import AuditEvent
from config.embedded.postgres import Cluster
from config.embedded.programs import Program
from tests.accounts.people import person
from tests.audit.log import event, sequence_all, sequencer_in
from tests.conftest import CommittedDatabase
from tests.ports import free_port
from tests.services import FAST
from tests.waiting import until

pytestmark = pytest.mark.faults
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def other_cluster(committed_db: CommittedDatabase) -> Iterator[Cluster]:
    """A PostgreSQL that has only just been made."""
    directory = committed_db.services.directory / f"other-{uuid.uuid4().hex[:8]}"
    directory.mkdir(mode=0o711)
    for name in ("secrets", "run"):
        (directory / name).mkdir(mode=0o700)
    cluster = Cluster(directory / "postgres", directory / "secrets", free_port(), FAST)
    cluster.prepare()
    program: Program = cluster.program()
    server = program.spawn(directory / "run", directory / "postgres.log")
    try:
        cluster.wait()
        cluster.make_logins()
        cluster.make_database()
        yield cluster
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=30)


def manage(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_restored_into_a_younger_cluster_the_log_is_signed_on(
    committed_db: CommittedDatabase, other_cluster: Cluster, tmp_path: Path, settings: Any
) -> None:
    settings.LASTGOOD_VAR = tmp_path / "var"
    with psycopg.connect(committed_db.services.cluster.url("lastgood_super", committed_db.name)) as connection:
        connection.autocommit = True
        for _ in range(3000):
            connection.execute("SELECT pg_current_xact_id()")
    person("ada", "administrator")
    event("incident.declare", incident="INC-1", reason="why")
    sequencer = sequencer_in(tmp_path)
    size = sequence_all(sequencer)
    highest = max(AuditEvent.objects.values_list("xid", flat=True))
    sequencer.connection.close()
    call_command("backup", str(tmp_path / "backup.tar"), wait=0, verbosity=0)

    env = committed_db.env | {
        "DATABASE_URL": other_cluster.url("lastgood_app"),
        "OWNER_DATABASE_URL": other_cluster.url("lastgood_owner"),
        "SEQUENCER_DATABASE_URL": other_cluster.url("lastgood_sequencer"),
        "LASTGOOD_VAR": str(tmp_path / "other"),
        "LASTGOOD_LOG_KEY_FILE": str(tmp_path / "log.key"),
    }
    migrated = manage(env, "migrate", "--verbosity", "0", "--no-input", "--skip-checks")
    assert migrated.returncode == 0, migrated.stderr
    with psycopg.connect(other_cluster.url("lastgood_super"), autocommit=True) as there:
        younger = there.execute("SELECT pg_current_xact_id()::text::bigint").fetchone()
        assert younger is not None
        assert younger[0] < highest
        restored = manage(env, "restore", str(tmp_path / "backup.tar"))
        assert restored.returncode == 0, restored.stdout + restored.stderr
        worker = subprocess.Popen([sys.executable, "manage.py", "audit", "sequence"], cwd=ROOT, env=env)
        try:
            # The backup's own event, which waited, and the restore's are leaves after all that was signed before.
            query = """SELECT l.leaf_index FROM audit_leaf AS l JOIN audit_event AS e ON e.id = l.event_id
                       WHERE e.action = 'log.restore'"""
            until(lambda: there.execute(query).fetchone() == (size + 1,), seconds=60)
        finally:
            worker.terminate()
            worker.wait(timeout=30)
    verified = manage(env, "audit", "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert f"{size + 2} leaves" in verified.stdout
