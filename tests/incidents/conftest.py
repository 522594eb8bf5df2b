from pathlib import Path
from typing import Any

import pytest

from tests.incidents import world as worlds
from tests.incidents.world import World


@pytest.fixture
def world(db: Any, settings: Any, tmp_path: Path) -> World:
    """An endpoint that went wrong three minutes ago, in a database of the test's own transaction."""
    settings.LASTGOOD_VAR = tmp_path
    return worlds.build()
