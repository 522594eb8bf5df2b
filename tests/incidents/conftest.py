import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.test import override_settings

from tests.conftest import connect_anew
from tests.incidents import world as worlds
from tests.incidents.world import World


@pytest.fixture(scope="module")
def built(django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The world, built once for a module that leaves nothing committed: each of its tests is a savepoint in the
    transaction that this fixture keeps open."""
    folder = tmp_path_factory.mktemp("world")
    with django_db_blocker.unblock(), override_settings(LASTGOOD_VAR=folder):
        connect_anew()
        with transaction.atomic():
            yield worlds.build()
            transaction.set_rollback(True)


@pytest.fixture
def world(db: Any, request: pytest.FixtureRequest, settings: Any, tmp_path: Path) -> World:
    """An endpoint that went wrong three minutes ago, in a database of the test's own transaction: built anew, or the
    module's where that uses the fixture `built`."""
    if "built" in request.fixturenames:
        return copy.deepcopy(request.getfixturevalue("built"))
    settings.LASTGOOD_VAR = tmp_path
    return worlds.build()
