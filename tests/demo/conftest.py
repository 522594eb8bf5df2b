from collections.abc import Callable
from pathlib import Path

import pytest

from demo.artifacts import Package
from demo.build import cached
from demo.census import People
from tests.demo.story import passers_by


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Package, Package]]:
    """Both versions of the demo for a fault, trained as the demo trains them, each once in a run."""
    home: Path = tmp_path_factory.mktemp("demo-cache")
    return lambda fault: cached(home, fault)


@pytest.fixture(scope="session")
def crowd() -> People:
    """The people who pass by in the first minute of the demo's traffic."""
    return passers_by(4000)
