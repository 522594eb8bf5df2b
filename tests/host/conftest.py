from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.artifacts import digest_of, make_model
from tests.host.fixtures import HostProcess, Two, host_process, shared_host

__all__ = ["host_process"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostProcess]:
    with shared_host(tmp_path_factory.mktemp("shared")) as host:
        yield host


@pytest.fixture
def two(shared: HostProcess, tmp_path: Path, request: pytest.FixtureRequest) -> Two:
    """A host that serves version 1 of a model of this test's own under fence 1, with version 2 loaded beside it."""
    model = f"m-{abs(hash(request.node.name)) % 10**9}"
    made = [make_model(tmp_path / str(seed), seed, model=model) for seed in (1, 2)]
    shared.serve("1", made[0], 1, model)
    shared.put("2", made[1], model)
    shared.load("2", model)
    return shared, model, digest_of(made[0][0]), digest_of(made[1][0])
