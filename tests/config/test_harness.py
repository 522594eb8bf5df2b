"""The test harness itself: who the tests are, and that what one test commits no other test sees."""

import os
import subprocess
import sys

import psutil
import pytest
from django.conf import settings
from django.db import connection

from tests.conftest import ROOT
from tests.waiting import until


@pytest.mark.django_db
def test_tests_connect_as_the_applications_login():
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user, current_database()")
        user, database = cursor.fetchone()
    assert user == "lastgood_app"
    assert database.startswith("lastgood_")
    assert database != "lastgood_template"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("attempt", [1, 2])
def test_committed_rows_are_gone_in_the_next_test(attempt):
    from accounts.models import User

    assert User.objects.count() == 0
    User.objects.create(username="committed")


def test_a_program_that_a_test_starts_sees_what_the_test_committed(committed_db):
    from accounts.models import User

    User.objects.create(username="seen")
    program = (
        "import django; django.setup()\n"
        "from accounts.models import User\n"
        "from django.conf import settings\n"
        "print(User.objects.get().username, settings.REDIS_URL, settings.LASTGOOD_VAR)\n"
    )
    env = committed_db.env | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["seen", settings.REDIS_URL, str(settings.LASTGOOD_VAR)]


def test_no_test_works_on_a_developers_own_database(tmp_path):
    program = "import tests.settings as s; print(s.DATABASES['default']['HOST'], s.DATABASES['default']['USER'])"
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(tmp_path),
        "DATABASE_URL": "postgresql://me@production/lastgood",
    }
    ran = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["127.0.0.1", "lastgood_app"]


@pytest.mark.faults
def test_a_killed_test_run_leaves_no_server_behind(tmp_path):
    (tmp_path / "test_wait.py").write_text("import time\n\ndef test_wait():\n    time.sleep(600)\n")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("LASTGOOD", "PYTEST"))}
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", str(ROOT / "pyproject.toml")]
    command += ["--rootdir", str(ROOT), str(tmp_path)]
    run = subprocess.Popen(command, cwd=ROOT, env=env | {"TMPDIR": str(tmp_path)})
    children: list[psutil.Process] = []

    def both_servers_run() -> bool:
        children[:] = psutil.Process(run.pid).children(recursive=True)
        return {"postgres", "redis-server"} <= {child.name() for child in children} and run.poll() is None

    try:
        until(both_servers_run, seconds=60)
    finally:
        run.kill()
        run.wait()
    until(lambda: not any(child.is_running() for child in children))
