"""The page on which an administrator looks at an engine and registers what is found."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from registry.models import Host, Version
from tests.accounts.people import person
from tests.host.artifacts import make_model
from tests.host.fixtures import TOKEN, HostProcess


def signed_in(*roles: str) -> Client:
    client = Client()
    client.force_login(person("ada", *roles), backend="django.contrib.auth.backends.ModelBackend")
    return client


def test_one_looks_then_registers(db: Any, host_process: Callable[..., HostProcess], tmp_path: Path) -> None:
    process = host_process()
    assert process.put("1", make_model(tmp_path / "1", 1, model="prices"), "prices").status_code == 201
    client = signed_in("administrator")
    given = {"url": process.url, "token": TOKEN, "name": "h9", "team": "shop", "environment": "staging"}

    looked = client.post(reverse("adopt"), given | {"look": "1"})

    page = looked.content.decode()
    assert looked.status_code == 200
    assert "1 model on bundled" in page
    assert "Nothing of it serves, so there is nothing to roll back." in page
    assert TOKEN not in page
    assert not Version.objects.exists()
    answer = client.post(reverse("adopt"), given | {"register": "1"}, follow=True)
    assert "Registered: the host h9, the model prices, version 1 of prices" in answer.content.decode()
    assert Host.objects.get().name == "h9"


@pytest.mark.parametrize("url", ["http://10.9.9.9.invalid", "ftp://x", "http://127.0.0.1:1/path"])
def test_an_address_that_can_not_be_asked_is_said(db: Any, url: str) -> None:
    client = signed_in("administrator")

    answer = client.post(reverse("adopt"), {"url": url, "name": "h9", "team": "shop", "environment": "staging"})

    assert answer.status_code == 400
    assert 'data-tone="bad"' in answer.content.decode()
    assert not Host.objects.exists()


def test_others_may_not(db: Any) -> None:
    assert signed_in("commander").get(reverse("adopt")).status_code == 403
