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
def own(tmp_path: Path) -> Iterator[Callable[[type[Server]], Story]]:
    """`own(PollingTriton)` is a story on a server of its own, which ends with the test."""
    servers: list[Server] = []

    def begin(kind: type[Server]) -> Story:
        servers.append(kind(tmp_path))
        servers[-1].start()
        return Story(servers[-1])

    yield begin
    for server in servers:
        server.kill()
        server.http.close()


@pytest.fixture
def guarded(own: Callable[[type[Server]], Story]) -> Story:
    """A TorchServe of its own with its token authorisation on."""
    return own(GuardedTorchServe)


@pytest.fixture
def triton(servers: Callable[[str], Server]) -> Story:
    return Story(servers("triton"))


@pytest.fixture
def mlserver(servers: Callable[[str], Server]) -> Story:
    return Story(servers("mlserver"))


@pytest.fixture
def torchserve(servers: Callable[[str], Server]) -> Story:
    return Story(servers("torchserve"))
