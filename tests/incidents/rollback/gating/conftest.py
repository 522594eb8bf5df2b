"""Registered gates are asked on the three hosts of the engine's own tests."""

from collections.abc import Iterator

import pytest

from tests.incidents.rollback.conftest import fleet, make_fleet, three_hosts
from tests.incidents.rollback.gating.answering import Answering, answering

__all__ = ["fleet", "make_fleet", "three_hosts"]


@pytest.fixture
def server() -> Iterator[Answering]:
    with answering() as served:
        yield served
