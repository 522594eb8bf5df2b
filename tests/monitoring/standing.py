"""What a module's tests look at and leave as it is, built once for all of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import transaction
from django.test import override_settings

from tests.conftest import connect_anew


@contextmanager
def standing(django_db_blocker: Any, folders: pytest.TempPathFactory) -> Iterator[None]:
    """A transaction and a directory of its own that stand while the module's tests run: each of these is a savepoint in
    it, and it is rolled back in the end."""
    with django_db_blocker.unblock(), override_settings(LASTGOOD_VAR=folders.mktemp("standing")):
        connect_anew()
        with transaction.atomic():
            yield
            transaction.set_rollback(True)
