"""One server of each engine for the whole run of tests."""

from collections.abc import Iterator

import pytest

from tests.engines.servers import SERVERS, Server


@pytest.fixture(scope="session", params=list(SERVERS))
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server of the engine that is asked for, running."""
    made = SERVERS[request.param](tmp_path_factory.mktemp(request.param))
    try:
        made.start()
        yield made
    finally:
        made.kill()
        made.http.close()
