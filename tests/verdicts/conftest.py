"""Three hosts, one of which can be broken, and the demo's networks: once for all verdicts."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from demo.census import People, people
from tests.host.fixtures import ROOT, HostProcess
from tests.verdicts.packages import Packages
from tests.verdicts.town import Town


class FaultyProcess(HostProcess):
    """The third host: the bundled one on a machine that can be broken."""

    def start(self, *, ready: bool = True) -> HostProcess:
        self.state.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.verdicts.faulty"],
                cwd=ROOT,
                env=self._environment() | {"PYTHONPATH": os.fspath(ROOT)},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.wait_for("/v2/health/ready" if ready else "/v2/health/live")
        return self


@pytest.fixture(scope="session")
def sign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """While this file exists, the third host is broken in the way that it says."""
    return tmp_path_factory.mktemp("sign") / "broken"


@pytest.fixture(scope="session")
def processes(tmp_path_factory: pytest.TempPathFactory, sign: Path) -> Iterator[list[HostProcess]]:
    folder = tmp_path_factory.mktemp("verdict-hosts")
    hosts = [HostProcess(folder / name, name, {}) for name in ("h1", "h2")]
    hosts.append(FaultyProcess(folder / "h3", "h3", {"LIE_FILE": str(sign)}))
    try:
        for host in hosts:
            host.start()
        yield hosts
    finally:
        for host in hosts:
            host.stop(9)
            host.http.close()


@pytest.fixture(scope="session")
def packages() -> Packages:
    return Packages()


@pytest.fixture(scope="session")
def crowd() -> People:
    """Everybody surveyed in 2017, shuffled once."""
    group = people((2017,))
    return group.take(np.random.default_rng(17).permutation(len(group)))


@pytest.fixture
def town(
    committed_db: Any, processes: list[HostProcess], sign: Path, packages: Packages, crowd: People, settings: Any,
    tmp_path: Path,
) -> Iterator[Town]:  # fmt: skip
    settings.LASTGOOD_VAR = tmp_path
    made = Town(processes, sign, packages, crowd).build()
    yield made
    sign.unlink(missing_ok=True)
