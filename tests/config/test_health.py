"""/healthz, /readyz and /metrics."""

import json
import subprocess
import sys

import pytest
import redis

from config.health import HEARTBEAT_KEY, beat
from tests.conftest import ROOT
from tests.ports import free_port


@pytest.fixture
def no_heartbeat(redis_url):
    with redis.Redis.from_url(redis_url) as client:
        client.delete(HEARTBEAT_KEY)
        yield client
        client.delete(HEARTBEAT_KEY)


def test_healthz_asks_nobody(client):
    answer = client.get("/healthz")
    assert (answer.status_code, answer.content) == (200, b"ok\n")


def test_readyz_is_200_when_all_is_well(client, db, no_heartbeat):
    beat()
    answer = client.get("/readyz")
    assert answer.status_code == 200
    asked = {"database": "ok", "migrations": "ok", "broker": "ok", "clock": "ok"}
    assert answer.json() == asked | {"log": "ok", "intake": "not asked; LASTGOOD_BEAT_SECONDS is 0", "artifacts": "ok"}


def test_readyz_says_when_the_clock_was_never_heard(client, db, no_heartbeat):
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["clock"] == "never heard; run manage.py clock"


def test_readyz_says_since_when_the_clock_is_silent(client, db, no_heartbeat):
    no_heartbeat.set(HEARTBEAT_KEY, "1.0")
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["clock"].startswith("silent for ")


def test_readyz_says_that_the_broker_is_dead(client, db, settings):
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["broker"] == "no answer: ConnectionError"
    assert answer.json()["database"] == "ok"


def test_readyz_counts_migrations_that_wait(client, committed_db, no_heartbeat):
    committed_db.execute("DELETE FROM django_migrations WHERE app = 'sessions'", login="lastgood_owner")
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["migrations"] == "1 not applied; run manage.py migrate"


def test_readyz_of_a_process_whose_database_is_gone_is_503(committed_db):
    program = (
        "import django; django.setup()\n"
        "from django.test import Client\n"
        "answer = Client(headers={'host': '127.0.0.1'}).get('/readyz')\n"
        "print(answer.status_code, answer.json()['database'])\n"
    )
    env = committed_db.env | {"DATABASE_URL": f"postgresql://a:b@127.0.0.1:{free_port()}/d", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert ran.stdout == "503 no answer: OperationalError\n"


def test_metrics_are_for_this_machine(client, db, redis_url, no_heartbeat):
    beat()
    text = client.get("/metrics").content.decode()
    assert 'lastgood_ready{part="database"} 1.0' in text
    assert 'lastgood_queue_tasks{queue="rollback"}' in text
    assert "lastgood_clock_age_seconds" in text
    assert client.get("/metrics", REMOTE_ADDR="192.0.2.7").status_code == 401


def test_metrics_for_others_need_the_token(client, db, settings):
    settings.LASTGOOD_METRICS_TOKEN = "scrape-me"
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers={"authorization": "Bearer wrong"}).status_code == 401
    assert client.get("/metrics", headers={"authorization": "Bearer scrape-me"}).status_code == 200


def test_a_web_process_never_imports_torch(committed_db):
    program = (
        "import json, sys, django; django.setup()\n"
        "from django.test import Client\n"
        "client = Client(headers={'host': '127.0.0.1'})\n"
        "pages = ['/accounts/login/', '/', '/incidents/', '/endpoints/', '/models/', '/approvals/', '/audit/']\n"
        "answers = {page: client.get(page).status_code for page in pages}\n"
        "print(json.dumps([answers, 'torch' in sys.modules]))\n"
    )
    env = committed_db.env | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    answers, imported = json.loads(ran.stdout)
    assert answers["/accounts/login/"] == 200
    assert not [page for page, status in answers.items() if status >= 500]
    assert imported is False
