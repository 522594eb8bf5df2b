from collections.abc import Iterator

import pytest

from tests.monitoring.pull.prometheus import Server, serving


@pytest.fixture(scope="module")
def one_server() -> Iterator[Server]:
    with serving() as made:
        yield made


@pytest.fixture
def server(one_server: Server) -> Server:
    one_server.series, one_server.page, one_server.broken, one_server.wanted = [], "", "", ""
    one_server.asked.clear()
    return one_server
