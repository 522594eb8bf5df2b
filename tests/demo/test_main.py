"""`python -m demo` says in one line what is wrong with how it was called."""

import os
import subprocess
import sys

from django.test import Client

from accounts.actions import create_user
from audit.actions import service_actor
from tests.conftest import ROOT


def test_an_unknown_fault_is_one_line_with_the_known_ones_and_status_1() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "demo"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "FAULT": "meteor"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == "There is no fault 'meteor'. Choose one of: recode, scale, slow.\n"


def test_a_real_installation_has_no_page_with_things_to_try(client: Client, db: None) -> None:
    fields = {"username": "vera", "email": "vera@example.org", "full_name": "Vera", "password": "a long sentence"}
    client.force_login(create_user(**fields, roles=["viewer"], actor=service_actor("test")))

    assert client.get("/demo/").status_code == 404
    assert "This is the demo" not in client.get("/").content.decode()
