"""A version that hosts do not have yet: they fetch its files where they can, and the preflight says which way it is."""

from collections.abc import Iterator
from typing import Any

import pytest

from incidents.rollback.models import Plan
from registry.models import Version
from tests.host.fixtures import HostProcess
from tests.incidents.rollback.fleet import Fleet
from tests.ports import free_port
from tests.registry.web import web_server


@pytest.fixture
def lastgood(settings: Any) -> Iterator[str]:
    """The address under which hosts reach Lastgood."""
    with web_server() as url:
        settings.LASTGOOD_ARTIFACTS_ADDRESS = url
        yield url


def ways(plan: Plan) -> dict[str, str]:
    return dict(plan.preflights.filter(name="way").values_list("host__name", "observed"))


def fetched(process: HostProcess, version: Version) -> set[str]:
    """Of the version's files, those that the host's log says it fetched."""
    lines = [line for line in process.log.read_text().splitlines() if " fetch {" in line]
    names = version.files.values_list("artifact_id", flat=True)
    return {name for name in names if any(name in line for line in lines)}


def test_hosts_fetch_what_they_lack_and_the_preflight_says_from_where(fleet: Fleet, lastgood: str) -> None:
    version = fleet.add_version(31, bias=2.0)

    plan = fleet.awaiting(version)

    assert ways(plan) == dict.fromkeys(
        ("h1", "h2", "h3"), f"it fetches them from {lastgood}; what it can't reach is sent"
    )
    weights = version.files.get(component="weights").artifact_id
    # The first host was asked for the golden outputs when the version was made, and has the files from then.
    assert [weights in fetched(process, version) for process in fleet.processes] == [False, True, True]
    assert all(
        process.view(fleet.slug)["versions"]["3"]["loaded_digest"] == version.digest for process in fleet.processes
    )


def test_what_a_host_can_not_reach_is_sent(fleet: Fleet, settings: Any) -> None:
    settings.LASTGOOD_ARTIFACTS_ADDRESS = f"http://127.0.0.1:{free_port()}"
    version = fleet.add_version(32, bias=2.0)

    fleet.awaiting(version)

    assert [fetched(process, version) for process in fleet.processes] == [set(), set(), set()]
    assert fleet.processes[2].view(fleet.slug)["versions"]["3"]["loaded_digest"] == version.digest


def test_without_an_address_the_preflight_says_that_files_are_sent(fleet: Fleet) -> None:
    plan = fleet.awaiting(fleet.add_version(33, bias=2.0))

    assert set(ways(plan).values()) == {"a worker sends them: LASTGOOD_ARTIFACTS_ADDRESS is not set"}


def test_hosts_that_have_the_files_are_not_asked_how_they_come(fleet: Fleet, lastgood: str) -> None:
    fleet.serve(fleet.good)
    fleet.serve(fleet.bad)

    assert ways(fleet.awaiting()) == {}
