import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.db import connections
from django.test import Client
from pytest_django.fixtures import Settings

from audit.models import AuditCheckpoint, AuditSequencer
from audit.queries import status
from audit.refusal import RefusesToSign
from audit.sequencer import Sequencer
from audit.watch import NOT_SHOWN, lag, sequencer_state
from config.health import InstallationCollector
from tests.audit.log import event, sequence_all, sequencer_in
from tests.conftest import ROOT, CommittedDatabase
from tests.waiting import until


@pytest.fixture
def sequencer(committed_db: CommittedDatabase, tmp_path: Path) -> Iterator[Sequencer]:
    event()
    sequencer = sequencer_in(tmp_path)
    sequence_all(sequencer)
    yield sequencer
    connections["sequencer"].close()


@pytest.fixture
def elsewhere(committed_db: CommittedDatabase) -> Iterator[psycopg.Connection]:
    """A superuser's write transaction in another database of the cluster."""
    url = committed_db.services.cluster.url("lastgood_super", "postgres")
    with psycopg.connect(url, application_name="nightly-report") as connection:
        connection.execute("SELECT pg_current_xact_id()")
        yield connection
        connection.rollback()


def test_a_write_transaction_in_another_database_holds_leaves_back_and_is_named(
    sequencer: Sequencer, elsewhere: psycopg.Connection, settings: Settings
) -> None:
    settings.LASTGOOD_LAG_ALARM_SECONDS = 0.2
    made = event()
    assert sequencer.step() == 0
    until(lambda: lag().alarm)
    late = lag()
    assert late.waiting == 1
    assert late.holder is not None
    holder = late.holder
    if holder["program"] == "nightly-report":  # else another test's older transaction holds the horizon
        assert holder["pid"] == elsewhere.info.backend_pid
        assert (holder["login"], holder["database"]) == ("lastgood_super", "postgres")
        assert (holder["state"], holder["since"]) == (NOT_SHOWN, None)
        assert f"pg_terminate_backend({holder['pid']})" in late.sentence
    assert status().alarms == [lag().sentence]
    assert not status().healthy
    elsewhere.rollback()
    sequence_all(sequencer)
    assert lag().holder is None
    assert lag().waiting == 0
    assert made.leaf.leaf_index == 1


def test_an_old_snapshot_holds_nothing_back(sequencer: Sequencer, committed_db: CommittedDatabase) -> None:
    with psycopg.connect(committed_db.services.cluster.url("lastgood_app", committed_db.name)) as reader:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT count(*) FROM audit_event")
        event()
        assert sequence_all(sequencer) == 2


def test_without_a_sequencer_the_alarm_names_no_backend(sequencer: Sequencer, settings: Settings) -> None:
    settings.LASTGOOD_LAG_ALARM_SECONDS = 0.01
    event()
    until(lambda: lag().holder is None and lag().alarm, seconds=60)
    assert "Look whether the sequencer runs" in lag().sentence


def test_a_refusal_is_told_to_everybody_and_ends_the_program_with_a_status_of_its_own(
    sequencer: Sequencer, committed_db: CommittedDatabase, tmp_path: Path, client: Client
) -> None:
    connections["sequencer"].close()
    committed_db.execute("ALTER TABLE audit_leaf DISABLE TRIGGER USER", login="lastgood_owner")
    committed_db.execute("UPDATE audit_leaf SET leaf_hash = sha256('x')", login="lastgood_owner")
    env = committed_db.env | {"LASTGOOD_LOG_KEY_FILE": str(tmp_path / "log.key")}
    run = subprocess.run(
        [sys.executable, "manage.py", "audit", "sequence"], cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert run.returncode == RefusesToSign.exit_status == 3
    assert "CRITICAL audit.sequencer Refuses to sign: The tree in the database (1 leaves)" in run.stderr
    state = sequencer_state()
    assert state is not None
    assert state.refused.startswith("The tree in the database (1 leaves) does not extend the last checkpoint")
    assert status().alarms == [state.sentence]
    assert not status().healthy
    assert client.get("/readyz").json()["log"] == "refuses to sign; see the auditors' page"
    assert AuditCheckpoint.objects.count() == 1


def test_the_refusal_is_gone_once_the_log_is_as_it_was_signed(sequencer: Sequencer) -> None:
    AuditSequencer.objects.using("sequencer").create(id=1, seen_at="2026-01-01T00:00Z", refused="It is bad.")
    stop = threading.Event()
    thread = threading.Thread(target=lambda: (sequencer.run(stop, interval=0.02), connections.close_all()))
    connections["sequencer"].close()
    thread.start()
    until(lambda: not AuditSequencer.objects.get().refused)
    stop.set()
    thread.join(20)
    assert not thread.is_alive()


def test_the_figures_for_prometheus_tell_the_logs_state(sequencer: Sequencer) -> None:
    figures = {metric.name: metric.samples[0].value for metric in InstallationCollector().collect() if metric.samples}
    assert figures["lastgood_log_lag_seconds"] == 0
    assert figures["lastgood_log_refuses_to_sign"] == 0
    assert figures["lastgood_log_unwitnessed_seconds"] > 0
