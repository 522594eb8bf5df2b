"""Reading the environment: typed, secrets from files, and loud where a value is bad."""

import os
import subprocess
import sys

import pytest
from django.core.exceptions import ImproperlyConfigured

from config.env import Env, database
from tests.conftest import ROOT


def test_a_secret_may_lie_in_a_file(tmp_path):
    file = tmp_path / "key"
    file.write_text("s3cret\n")
    assert Env({"SECRET_KEY_FILE": str(file)}).secret("SECRET_KEY") == "s3cret"


@pytest.mark.parametrize(
    ("values", "read", "sentence"),
    [
        ({}, lambda env: env.text("SECRET_KEY"), "Set the environment variable SECRET_KEY; it has no default."),
        ({"DEBUG": "perhaps"}, lambda env: env.flag("DEBUG"), "DEBUG is 'perhaps'; write 1 or 0."),
        ({"PORT": "web"}, lambda env: env.integer("PORT", 1), "PORT is 'web'; write a whole number."),
        ({"PORT": "0"}, lambda env: env.integer("PORT", 1, 1, 9), "PORT is 0; it must lie between 1 and 9."),
        ({"LEASE": "soon"}, lambda env: env.number("LEASE", 1), "LEASE is 'soon'; write a number."),
        ({"LEASE": "nan"}, lambda env: env.number("LEASE", 1, 0, 9), "LEASE is nan; it must lie between 0 and 9."),
        ({"K": "a", "K_FILE": "b"}, lambda env: env.secret("K"), "Set either K or K_FILE, not both."),
        (
            {"K_FILE": "/nowhere/k"},
            lambda env: env.secret("K"),
            "K_FILE cannot be read: No such file or directory (/nowhere/k).",
        ),
    ],
)
def test_a_bad_value_is_refused_with_a_sentence_that_names_it(values, read, sentence):
    with pytest.raises(ImproperlyConfigured) as refused:
        read(Env(values))
    assert str(refused.value) == sentence


def test_a_database_url_is_taken_apart():
    settings = database("DATABASE_URL", "postgresql://app:p%40ss@[::1]:5433/lastgood?sslmode=require", {"a": "b"})
    expected = {"NAME": "lastgood", "USER": "app", "PASSWORD": "p@ss", "HOST": "::1", "PORT": "5433"}
    assert {key: settings[key] for key in expected} == expected
    assert settings["OPTIONS"] == {"connect_timeout": 5, "sslmode": "require", "a": "b"}


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("sqlite:///db", "DATABASE_URL must start with postgresql://; Lastgood runs on PostgreSQL only."),
        ("postgresql://h:5432", "DATABASE_URL names no database; write postgresql://user:password@host:5432/lastgood."),
        ("postgresql://h:port/d", "DATABASE_URL has a port that is not a number."),
    ],
)
def test_a_bad_database_url_is_refused(url, sentence):
    with pytest.raises(ImproperlyConfigured) as refused:
        database("DATABASE_URL", url)
    assert str(refused.value) == sentence


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("LASTGOOD_PORT", "high", "LASTGOOD_PORT is 'high'; write a whole number."),
        ("DATABASE_URL", "mysql://h/d", "DATABASE_URL must start with postgresql://"),
        ("LASTGOOD_LEASE_SECONDS", "0", "LASTGOOD_LEASE_SECONDS is 0.0; it must lie between 0.5 and 3600."),
    ],
)
def test_no_command_starts_with_a_bad_setting(name, value, sentence, tmp_path):
    env = {"PATH": os.environ["PATH"], "LASTGOOD_VAR": str(tmp_path), "SECRET_KEY": "k" * 50, name: value}
    ran = subprocess.run(
        [sys.executable, "manage.py", "check"], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert ran.returncode != 0
    assert sentence in ran.stderr


def test_with_a_database_a_secret_key_is_demanded(tmp_path):
    env = {"PATH": os.environ["PATH"], "LASTGOOD_VAR": str(tmp_path), "DATABASE_URL": "postgresql://h/d"}
    ran = subprocess.run(
        [sys.executable, "manage.py", "check"], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert ran.returncode != 0
    assert "Set the environment variable SECRET_KEY; it has no default." in ran.stderr
