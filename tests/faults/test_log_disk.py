"""F16: the disk under the database is full. Actions are refused whole, pages are read, and nothing is half recorded."""

import os
import subprocess
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from django.db import OperationalError, connections
from django.test import Client

from accounts.actions import create_user
from accounts.models import Role, User
from audit.models import AuditEvent, AuditIncidentCounter, AuditLeaf
from config.embedded.account import database_user, give
from tests.accounts.people import person
from tests.audit.log import event, sequencer_in
from tests.faults.conftest import wait_until
from tests.faults.log import SETUP, whole
from tests.services import TEMPLATE, Services, pointed_at

pytestmark = pytest.mark.faults

MEGABYTES = 64


@dataclass
class SmallDisk:
    """A file system of its own with one database on it."""

    path: Path

    @property
    def ballast(self) -> Path:
        return self.path / "ballast"

    def fill(self) -> None:
        """Take what is left, to the last byte."""
        with self.ballast.open("ab", buffering=0) as file:
            for size in (1 << 20, 4096):
                try:
                    while file.write(b"\0" * size) == size:
                        pass
                except OSError:
                    continue

    def free(self) -> None:
        self.ballast.unlink()


@pytest.fixture
def small_disk(services: Services, django_db_setup: None, django_db_blocker: object) -> Iterator[SmallDisk]:
    """This process works on a database in a tablespace on a file system of 64 MB, which is mounted for the test."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount the small file system")
    name = f"lastgood_s{uuid.uuid4().hex[:10]}"
    path = services.directory / name
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m,mode=0711", "tmpfs", str(path)],
        capture_output=True,
        text=True,
    )
    if mounted.returncode != 0:
        path.rmdir()
        pytest.skip(f"this machine lets nobody mount: {mounted.stderr.strip()}")
    try:
        place = path / "tablespace"
        place.mkdir(mode=0o700)
        give(str(place), database_user())
        with services.cluster.connect("postgres") as connection:
            connection.execute(f"CREATE TABLESPACE {name} LOCATION '{place}'")
            connection.execute(
                f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} OWNER lastgood_owner TABLESPACE {name} STRATEGY file_copy"
            )
            with django_db_blocker.unblock(), pointed_at(name):  # type: ignore[attr-defined]
                yield SmallDisk(path)
                connections.close_all()
            services.drop(name)
            connection.execute(f"DROP TABLESPACE {name}")
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)
        path.rmdir()


def until_it_is_full(acknowledged: list[int]) -> BaseException:
    """Record events of an incident until the database refuses one; returns why."""
    for _ in range(5000):
        try:
            acknowledged.append(event(incident="INC-1", data={"text": "x" * 60_000}).pk)
        except OperationalError as refusal:
            return refusal.__cause__ or refusal
    raise AssertionError("the disk did not become full")


def test_f16_on_a_full_disk_actions_are_refused_whole_and_go_on_afterwards(
    small_disk: SmallDisk, tmp_path: Path
) -> None:
    auditor = person("ada", Role.AUDITOR)
    client = Client()
    client.force_login(auditor)
    acknowledged = [event(incident="INC-1").pk]
    sequencer = sequencer_in(tmp_path)
    sequencer.connection.close()
    stop = threading.Event()
    thread = threading.Thread(target=lambda: (sequencer.run(stop, interval=0.05), connections.close_all()))
    thread.start()
    try:
        small_disk.fill()
        assert isinstance(until_it_is_full(acknowledged), psycopg.errors.DiskFull)
        counted = AuditIncidentCounter.objects.get(incident="INC-1").last
        assert counted == len(acknowledged) == AuditEvent.objects.filter(incident="INC-1").count()
        users = User.objects.count()
        refused = 0
        for number in range(50):
            try:
                create_user(
                    username=f"u{number}", email=f"u{number}@example.org", full_name="N. N.", password="x" * 20,
                    roles=["viewer"], actor=SETUP,
                )  # fmt: skip
            except OperationalError:
                refused += 1
        made = User.objects.count() - users
        assert refused > 0
        assert made + refused == 50
        assert AuditEvent.objects.filter(action="user.create").count() == users + made
        assert client.get("/audit/").status_code == 200
        assert thread.is_alive(), "the sequencer waits for room"

        small_disk.free()
        acknowledged.append(event(incident="INC-1").pk)
        wait_until(lambda: AuditLeaf.objects.count() == AuditEvent.objects.count(), 60, "everything has its leaf")
    finally:
        stop.set()
        thread.join(30)
    whole(sequencer.signer.vkey)
    assert set(AuditEvent.objects.filter(incident="INC-1").values_list("pk", flat=True)) == set(acknowledged)
