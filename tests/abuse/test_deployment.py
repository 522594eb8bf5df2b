"""The settings of a production installation, exactly as docs/deployment.md gives them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ASKED = """
import io, json, django
from django.conf import settings
from django.core.management import call_command
from django.test import Client
django.setup()
said = io.StringIO()
call_command("check", deploy=True, fail_level="WARNING", stdout=said)
names = ["SESSION_COOKIE_NAME", "CSRF_COOKIE_NAME", "DEVICE_COOKIE_NAME", "SESSION_COOKIE_SECURE",
         "CSRF_COOKIE_SECURE", "SECURE_SSL_REDIRECT", "SECURE_HSTS_SECONDS", "DEBUG", "ALLOWED_HOSTS"]
client = Client(headers={"host": "lastgood.example.org"})
plain, health = client.get("/accounts/login/"), client.get("/healthz")
proxied = client.get("/healthz", headers={"x-forwarded-proto": "https"})
print(json.dumps([said.getvalue(), {name: getattr(settings, name) for name in names},
                  [plain.status_code, plain["Location"]], health.status_code,
                  proxied.headers.get("Strict-Transport-Security")]))
"""


def documented() -> dict[str, str]:
    block = re.search(r"```sh\n(.*?)```", (ROOT / "docs" / "deployment.md").read_text(), re.DOTALL)
    assert block is not None
    lines = [line for line in block[1].splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def run(*command: str, **changed: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "config.settings"}
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=env | documented() | changed,
        capture_output=True,
        text=True,
        check=False,
    )


def test_abuse_60_70_the_documented_settings_leave_nothing_open() -> None:
    asked = run("-c", ASKED)
    assert asked.returncode == 0, asked.stderr
    said, found, plain, health, kept_to_tls = json.loads(asked.stdout)
    assert "System check identified no issues" in said
    assert found == {
        "SESSION_COOKIE_NAME": "__Host-sessionid",
        "CSRF_COOKIE_NAME": "__Host-csrftoken",
        "DEVICE_COOKIE_NAME": "__Host-device",
        "SESSION_COOKIE_SECURE": True,
        "CSRF_COOKIE_SECURE": True,
        "SECURE_SSL_REDIRECT": True,
        "SECURE_HSTS_SECONDS": 31536000,
        "DEBUG": False,
        "ALLOWED_HOSTS": ["lastgood.example.org", "lastgood.example.org"],
    }
    assert plain == [301, "https://lastgood.example.org/accounts/login/"]
    assert health == 200
    assert kept_to_tls == "max-age=31536000; includeSubDomains"


def test_abuse_60_settings_that_would_open_it_are_spoken_up_about() -> None:
    checked = run("manage.py", "check", "--deploy", "--fail-level", "WARNING", DEBUG="1", SECRET_KEY="short")
    assert checked.returncode != 0
    assert {"security.W009", "security.W018"} <= set(re.findall(r"security\.W\d+", checked.stderr))
