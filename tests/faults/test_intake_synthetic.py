"""The synthetic alert tells that no alert comes through, whatever part of the way is gone, and that they do again."""

import signal
import subprocess
from typing import Any

import httpx
import pytest
from django.db import connections
from django.db.utils import InterfaceError, OperationalError

from incidents.models import Incident
from monitoring.inbound import beats
from monitoring.models import Alert
from tests.faults.durable import Durable
from tests.faults.test_intake_alertmanager import kill, web_at
from tests.faults.town import PATIENT, Town
from tests.ports import free_port
from tests.waiting import until

pytestmark = pytest.mark.faults
SECONDS = 2


def stands() -> beats.Standing:
    try:
        return beats.standing()
    except (OperationalError, InterfaceError):
        connections.close_all()
        return beats.Standing(None, "The database does not answer.")


def turns(ok: bool, says: str = "") -> None:
    until(lambda: stands().ok is ok and says in stands().sentence, seconds=PATIENT)


def end(process: subprocess.Popen[Any]) -> None:
    process.kill()
    process.wait()


def test_it_is_not_green_while_the_web_process_the_worker_or_the_database_is_gone(
    durable_town: Town, durable: Durable, settings: Any
) -> None:
    town, port = durable_town, free_port()
    settings.LASTGOOD_BEAT_SECONDS = SECONDS
    town.env |= {"LASTGOOD_BEAT_SECONDS": str(SECONDS), "LASTGOOD_PUBLIC_URL": f"http://127.0.0.1:{port}"}
    web = web_at(town, port)
    town.clock()
    worker = town.worker("intake", "intake,compute")
    turns(True)

    kill(web)
    turns(False, "does not answer: ConnectError.")
    web_at(town, port)
    turns(True)

    end(worker)
    turns(False, "look at the clock and the worker.")
    assert (
        httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=30).json()["intake"].startswith("no alert comes through")
    )
    town.worker("intake-again", "intake,compute")
    turns(True)

    connections.close_all()
    durable.stop_database(signal.SIGQUIT)
    assert stands().ok is None
    until(lambda: httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=30).status_code == 503, seconds=PATIENT)
    durable.start_database()
    turns(True)

    assert not Alert.objects.exists()
    assert not Incident.objects.exists()
