"""PostgreSQL is stopped while readers look at a public status page: they read on, from what was written."""

import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest

from incidents import status_files
from tests.faults.conftest import ROOT
from tests.faults.durable import Durable, led_to
from tests.incidents.telling.made import build
from tests.ports import free_port
from tests.waiting import answers, until

pytestmark = pytest.mark.faults


def test_the_public_page_stands_while_the_database_is_stopped(
    durable: Durable, django_db_setup: None, django_db_blocker: Any, tmp_path: Path, settings: Any
) -> None:
    # given a web process, and a page on which an outage was told
    name = f"lastgood_t{uuid.uuid4().hex[:12]}"
    durable.clone(name)
    settings.LASTGOOD_VAR = tmp_path
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    env |= durable.environment(name) | {"LASTGOOD_VAR": str(tmp_path)}
    port = free_port()
    command = [
        "gunicorn",
        "--bind",
        f"127.0.0.1:{port}",
        "--workers",
        "1",
        "--worker-class",
        "gthread",
        "--threads",
        "4",
    ]
    with (tmp_path / "web.log").open("ab") as log:
        web = subprocess.Popen(
            [sys.executable, "-m", *command, "--no-control-socket", "config.wsgi"],
            cwd=ROOT,
            env=env,
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        with django_db_blocker.unblock(), led_to(durable, name):
            told = build()
            told.post("Letters come late.")
            status_files.publish_page(page_id=told.page.pk)
        until(lambda: answers(f"{url}/healthz"))
        # when the database is stopped
        durable.stop_database()
        # then every file of the page is read, and again without being sent twice
        for file in status_files.KINDS:
            place = f"{url}/status/services/{'' if file == 'index.html' else file}"
            first = httpx.get(place, timeout=10)
            assert first.status_code == 200, place
            again = httpx.get(place, headers={"If-None-Match": first.headers["ETag"]}, timeout=10)
            assert (again.status_code, again.content) == (304, b"")
        assert "Letters come late." in httpx.get(f"{url}/status/services/").text
        assert "<script" not in httpx.get(f"{url}/status/services/").text
        # and a page that was never written is none, not an error that tells of the inside
        assert httpx.get(f"{url}/status/other/", timeout=30).status_code == 404
    finally:
        web.terminate()
        web.wait(30)
        durable.start_database()
