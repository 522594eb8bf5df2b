"""Three real hosts for the whole run of tests: each test has a model of its own on them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from registry.models import Host
from tests.faults.proxy import Proxy
from tests.host.fixtures import HostProcess
from tests.incidents.rollback.fleet import Fleet
from tests.ports import free_port


@pytest.fixture(scope="session")
def three_hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[HostProcess]]:
    folder = tmp_path_factory.mktemp("hosts")
    hosts = [
        HostProcess(folder / name, name, {"LASTGOOD_HOST_FETCH_NETWORKS": "127.0.0.0/8"}) for name in ("h1", "h2", "h3")
    ]
    try:
        for host in hosts:
            host.start(ready=False)
        for host in hosts:
            host.wait_for("/v2/health/ready")
        yield hosts
    finally:
        for host in hosts:
            host.stop(9)
            host.http.close()


@pytest.fixture
def make_fleet(
    committed_db: Any, three_hosts: list[HostProcess], tmp_path: Path, settings: Any
) -> Callable[..., Fleet]:
    """`make_fleet(**endpoint_fields)` registers an endpoint on the three hosts, which serve nothing yet."""

    def make(**endpoint_fields: Any) -> Fleet:
        return Fleet(tmp_path, three_hosts).build(**endpoint_fields)

    return make


@pytest.fixture
def fleet(make_fleet: Callable[..., Fleet]) -> Fleet:
    """The three hosts serve version 2, which is bad; version 1 is good."""
    made = make_fleet()
    made.serve(made.bad)
    return made


@pytest.fixture
def doors(fleet: Fleet) -> Iterator[list[Proxy]]:
    """One before each host, by which the registry knows it; one that is `down` takes its host away."""
    made = [Proxy(process.url, free_port()) for process in fleet.processes]
    for host, door in zip(fleet.hosts, made, strict=True):
        Host.objects.filter(pk=host.pk).update(address=door.url)
    yield made
    for door in made:
        door.close()
