"""One server of each engine for the whole run of tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engines.servers import SERVERS, GuardedTorchServe, Server
from tests.engines.story import Story


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    """`servers("triton")` is the running server of an engine, started when it is first asked for."""
    running: dict[str, Server] = {}

    def get(engine: str) -> Server:
        if engine not in running:
            running[engine] = SERVERS[engine](tmp_path_factory.mktemp(engine))
            running[engine].start()
        return running[engine]

    yield get
    for server in running.values():
        server.kill()
        server.http.close()


@pytest.fixture(params=list(SERVERS))
def story(request: pytest.FixtureRequest, servers: Callable[[str], Server]) -> Story:
    """A story on the server of each engine."""
    return Story(servers(request.param))


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Story]:
    """A TorchServe of its own with its token authorisation on."""
    server = GuardedTorchServe(tmp_path)
    server.start()
    yield Story(server)
    server.kill()
    server.http.close()
