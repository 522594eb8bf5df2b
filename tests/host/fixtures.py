"""Real host processes for tests, on free ports, ended with the test and with the process that runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from registry.serving.base import HostAddress
from tests.host.artifacts import digest_of
from tests.host.nursery import Child, nursery
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "a-control-token-for-tests"


class HostProcess:
    """A host's process with its own state directory. `start` returns when it is alive, and ready if asked."""

    def __init__(self, state: Path, name: str, env: dict[str, str]) -> None:
        self.state = state
        self.name = name
        self.log = state.parent / f"{name}.log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.address = HostAddress(self.url, TOKEN)
        self.env = env
        self.process: Child | None = None
        self.http = httpx.Client(base_url=self.url, timeout=30, headers={"Authorization": f"Bearer {TOKEN}"})

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "LASTGOOD_HOST_NAME": self.name,
            "LASTGOOD_HOST_PORT": str(self.port),
            "LASTGOOD_HOST_STATE": str(self.state),
            "LASTGOOD_HOST_TOKEN": TOKEN,
            **self.env,
        }

    def run_to_end(self) -> tuple[int, str]:
        """Start where a refusal is expected: (exit status, what it wrote on standard error)."""
        command = [sys.executable, "-m", "host"]
        ended = subprocess.run(
            command, cwd=ROOT, env=self._environment(), stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
        return ended.returncode, ended.stderr

    def start(self, *, ready: bool = True) -> HostProcess:
        self.state.parent.mkdir(parents=True, exist_ok=True)
        self.process = nursery().start(self._environment(), self.log)
        self.wait_for("/v2/health/ready" if ready else "/v2/health/live")
        return self

    def wait_for(self, path: str, status: int = 200, seconds: float = 120) -> None:
        """Poll until a GET answers with the status."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.process is None or self.process.poll() is None, "the host has ended"
            try:
                if self.http.get(path).status_code == status:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.02)
        raise AssertionError(f"{path} did not answer {status} within {seconds} s")

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            if self.process.poll() is None:
                self.process.send_signal(number)
            self.process.wait(60)
            self.process = None

    def put(self, version: str, made: tuple[bytes, dict[str, Path]], model: str = "toy") -> httpx.Response:
        """Stage a version over plain HTTP; the manifest's answer."""
        manifest, blobs = made
        for sha256, path in blobs.items():
            assert self.http.put(f"/lastgood/v1/blobs/{sha256}", content=path.read_bytes()).status_code in (200, 201)
        return self.http.put(f"/lastgood/v1/models/{model}/versions/{version}", content=manifest)

    def load(self, version: str, model: str = "toy") -> httpx.Response:
        return self.http.post(f"/lastgood/v1/models/{model}/versions/{version}/load")

    def unload(self, version: str, model: str = "toy") -> httpx.Response:
        return self.http.post(f"/lastgood/v1/models/{model}/versions/{version}/unload")

    def switch(self, version: str, digest: str, fence: int, model: str = "toy") -> httpx.Response:
        body = {"version": version, "digest": digest, "fence": fence}
        return self.http.post(f"/lastgood/v1/models/{model}/default", json=body)

    def serve(self, version: str, made: tuple[bytes, dict[str, Path]], fence: int, model: str = "toy") -> str:
        """Stage, load and make the default; returns the digest."""
        assert self.put(version, made, model).status_code in (200, 201)
        assert self.load(version, model).status_code == 200
        assert self.switch(version, digest_of(made[0]), fence, model).status_code == 200
        return digest_of(made[0])

    def infer(
        self, columns: dict[str, list[Any]], version: str = "", model: str = "toy", **more: Any
    ) -> httpx.Response:
        path = f"/v2/models/{model}/versions/{version}/infer" if version else f"/v2/models/{model}/infer"
        inputs = [
            {"name": name, "shape": [len(data)], "datatype": "INT64", "data": data} for name, data in columns.items()
        ]
        return self.http.post(path, json={"inputs": inputs, **more})

    def blob(self, made: tuple[bytes, dict[str, Path]], component: str) -> Path:
        """The host's own file of a component of a version."""
        return self.state / "blobs" / json.loads(made[0])["components"][component][0]["sha256"]

    def wait_for_state(self, version: str, state: str, model: str = "toy", seconds: float = 120) -> None:
        """Poll until a version is in the state."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.view(model)["versions"][version]["state"] == state:
                return
            time.sleep(0.02)
        raise AssertionError(f"version {version} was not {state} within {seconds} s")

    def view(self, model: str = "toy") -> dict[str, Any]:
        """The model's part of the state."""
        return dict(self.http.get("/lastgood/v1/state").json()["models"][model])


Two = tuple[HostProcess, str, str, str]
"""A host, a model of it, and the digests of its versions 1 and 2."""


@contextmanager
def shared_host(folder: Path, env: dict[str, str] | None = None) -> Iterator[HostProcess]:
    """A host for tests that leave it as they found it."""
    host = HostProcess(folder / "state", "shared", env or {})
    try:
        yield host.start()
    finally:
        host.stop(signal.SIGKILL)
        host.http.close()


@pytest.fixture
def host_process(tmp_path: Path) -> Iterator[Callable[..., HostProcess]]:
    """A factory: `host_process(name="h1", **env)` starts a host and returns it."""
    started: list[HostProcess] = []

    def make(name: str = "h1", *, ready: bool = True, **env: str) -> HostProcess:
        host = HostProcess(tmp_path / f"state-{name}", name, env)
        started.append(host)
        return host.start(ready=ready)

    yield make
    for host in started:
        host.stop(signal.SIGKILL)
        host.http.close()
