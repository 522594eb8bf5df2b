"""Shared by the tests of the log."""

import uuid

import pytest

from tests.audit.shelf import Shelf, build, unblocked
from tests.services import Services


@pytest.fixture(scope="session")
def shelf(
    services: Services, django_db_setup: None, django_db_blocker: object, tmp_path_factory: pytest.TempPathFactory
) -> Shelf:
    """Bundles of one log, made once."""
    with unblocked(services, django_db_blocker, f"lastgood_t{uuid.uuid4().hex[:12]}"):
        return build(tmp_path_factory.mktemp("shelf"))
