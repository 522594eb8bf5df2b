"""Real servers of each engine, with small versions made for them: version n answers x with n * x."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import rfc8785

from registry.serving import driver_for
from registry.serving.base import HostAddress, ServingDriver
from tests.engines.environments import environment, java, packages
from tests.host.artifacts import make_model, row
from tests.host.fixtures import HostProcess
from tests.ports import free_port
from tests.waiting import until

PROGRAMS = Path(__file__).parent / "programs"
Made = tuple[bytes, dict[str, Path]]
SIGNATURE = {"inputs": [{"name": "x", "datatype": "FP64"}], "outputs": [{"name": "y", "datatype": "FP32"}]}
START_SECONDS = 120


def digest(made: Made) -> str:
    return hashlib.sha256(made[0]).hexdigest()


class Server(ABC):
    """One engine's server. Tests share it, each with a model of its own name."""

    engine: str
    inputs: dict[str, list[Any]] = {"x": [1.5, 2.0]}

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = folder / "repository"
        self.repository.mkdir(parents=True, exist_ok=True)
        self.port, self.other, self.third = free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self.http = httpx.Client(base_url=self.url, timeout=30)

    @property
    def driver(self) -> ServingDriver:
        return driver_for(self.engine)

    @property
    @abstractmethod
    def address(self) -> HostAddress: ...

    @abstractmethod
    def command(self) -> tuple[list[str], dict[str, str]]:
        """What starts it, and the environment beside PATH and HOME."""

    @property
    @abstractmethod
    def alive_path(self) -> str: ...

    @abstractmethod
    def make(self, model: str, number: int, *, broken: bool = False, scale: float | None = None) -> Made:
        """A version that answers x with number * x (with `scale` another factor), or can't be loaded."""

    def expected(self, number: int) -> dict[str, list[Any]]:
        return {"y": [1.5 * number, 2.0 * number]}

    @abstractmethod
    def file_on_disk(self, model: str, version: str, made: Made) -> Path:
        """A file of a staged version on the engine's own disk."""

    def start(self) -> None:
        command, env = self.command()
        passed = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=passed | env, stdout=log, stderr=log, start_new_session=True
            )
        until(self.answers, seconds=START_SECONDS)

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text(errors="replace")[-3000:]
        try:
            return self.http.get(self.alive_path).status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        """SIGKILL for it and everything that it started."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(30)
            self.process = None

    def ask(self, http: httpx.Client, model: str) -> dict[str, list[Any]]:
        """An ordinary, unversioned request as a client sends it. Raises for anything but an answer."""
        tensors = [
            {"name": name, "shape": [len(data), *self.more_shape], "datatype": self.datatype, "data": data}
            for name, data in self.inputs.items()
        ]
        answer = http.post(self.predict_path(model), json={"inputs": tensors})
        answer.raise_for_status()
        return {output["name"]: output["data"] for output in answer.json()["outputs"]}

    datatype = "FP64"
    more_shape: list[int] = []

    def predict_path(self, model: str) -> str:
        return f"/v2/models/{model}/infer"

    def keep(self, model: str, files: dict[str, dict[str, bytes]]) -> Made:
        """Write files (component -> name -> bytes) by their digests, and the manifest that names them."""
        components: dict[str, list[dict[str, Any]]] = {}
        blobs = {}
        (self.folder / "blobs").mkdir(exist_ok=True)
        for component, members in files.items():
            for name, data in members.items():
                sha256 = hashlib.sha256(data).hexdigest()
                blobs[sha256] = self.folder / "blobs" / sha256
                blobs[sha256].write_bytes(data)
                components.setdefault(component, []).append({"path": name, "sha256": sha256, "size": len(data)})
        manifest = {"format": "lastgood-manifest/1", "model": model, "components": components, "signature": SIGNATURE}
        return rfc8785.dumps(manifest), blobs


def weights(number: int, broken: bool, scale: float | None, **more: Any) -> bytes:
    """`more`: `seconds` that loading takes, or that it is `out_of_memory`."""
    return json.dumps({"broken": True} if broken else {"scale": scale or number, "shift": 0, **more}).encode()


class Bundled(Server):
    """Lastgood's own host: two kinds of version, odd ones answer 1, even ones 0."""

    engine = "bundled"
    inputs = row()
    datatype = "INT64"
    alive_path = "/v2/health/live"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.host = HostProcess(folder / "state", "bundled", {})
        self.http = httpx.Client(base_url=self.host.url, timeout=30)

    @property
    def address(self) -> HostAddress:
        return self.host.address

    def command(self) -> tuple[list[str], dict[str, str]]:
        return [sys.executable, "-m", "host"], {}

    def start(self) -> None:
        self.host.start(ready=False)

    def kill(self) -> None:
        self.host.stop(signal.SIGKILL)

    def make(self, model: str, number: int, *, broken: bool = False, scale: float | None = None) -> Made:
        bias = float("nan") if broken else 100.0 if number % 2 else -100.0
        return make_model(self.folder / f"made-{number}-{broken}", number, model=model, bias=bias)

    def expected(self, number: int) -> dict[str, list[Any]]:
        return {"label": [number % 2]}

    def ask(self, http: httpx.Client, model: str) -> dict[str, list[Any]]:
        return {"label": super().ask(http, model)["label"]}

    def file_on_disk(self, model: str, version: str, made: Made) -> Path:
        return self.host.blob(made, "weights")


class Triton(Server):
    engine = "triton"
    alive_path = "/v2/health/live"
    more_shape = [1]
    token = ""
    switches: tuple[str, ...] = ("--model-control-mode=explicit",)
    config = {
        "backend": "python",
        "max_batch_size": 64,
        "input": [{"name": "x", "data_type": "TYPE_FP64", "dims": [1]}],
        "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [1]}],
    }

    @property
    def address(self) -> HostAddress:
        options = {"repository": str(self.repository), "metrics": f"http://127.0.0.1:{self.other}"}
        return HostAddress(self.url, self.token, options=options)

    def command(self) -> tuple[list[str], dict[str, str]]:
        place = environment(self.engine)
        site = packages(place)
        server = site / "pytriton" / "tritonserver"
        backends = self.folder / "backends"
        if not backends.exists():
            shutil.copytree(server / "backends" / "python", backends / "python")
            stub = f"{sys.version_info.major}.{sys.version_info.minor}/triton_python_backend_stub"
            shutil.copy(server / "python_backend_stubs" / stub, backends / "python")
        options = {
            "model-repository": self.repository, "backend-directory": backends,
            "http-address": "127.0.0.1", "http-port": self.port,
            "allow-grpc": "false", "metrics-address": "127.0.0.1", "metrics-port": self.other,
            "allow-gpu-metrics": "false", "exit-timeout-secs": 5,
        }  # fmt: skip
        env = {
            "PATH": f"{place / 'bin'}:{os.environ['PATH']}",
            "LD_LIBRARY_PATH": str(site / "nvidia_pytriton.libs"),
        }
        given = [f"--{name}={value}" for name, value in options.items()]
        return [str(server / "bin" / "tritonserver"), "--disable-auto-complete-config", *self.switches, *given], env

    def make(
        self, model: str, number: int, *, broken: bool = False, scale: float | None = None, seconds: float = 0
    ) -> Made:
        return self.keep(
            model,
            {
                "weights": {"weights.json": weights(number, broken, scale, seconds=seconds)},
                "code": {"model.py": (PROGRAMS / "model.py").read_bytes()},
                "config": {"config.json": json.dumps(self.config).encode()},
            },
        )

    def file_on_disk(self, model: str, version: str, made: Made) -> Path:
        for folder in sorted((self.repository / model).iterdir()):  # the lowest is the one that can be gone to
            if folder.name.isdecimal() and (folder / "lastgood-version").read_text() == version:
                return folder / "weights.json"
        raise AssertionError(f"version {version} of {model} is not there")


class PollingTriton(Triton):
    """One that watches its folder by itself, and takes no orders."""

    switches = ("--model-control-mode=poll", "--repository-poll-secs=1")


class RestrictedTriton(Triton):
    """One whose repository API wants a header."""

    token = "the-key-of-the-repository"
    switches = (*Triton.switches, f"--http-restricted-api=model-repository:authorization=Bearer {token}")


def kill_stub(server: Server, model: str, number: str = "") -> None:
    """Kill -9 the process in which Triton's Python backend runs a model, or one version of it by its number there."""
    assert server.process is not None
    for child in psutil.Process(server.process.pid).children(recursive=True):
        with suppress(psutil.ZombieProcess):  # killed before: Triton does not ask what became of them
            if child.name().startswith("triton_python") and f"/{model}/{number}" in " ".join(child.cmdline()):
                child.kill()


class MLServer(Server):
    engine = "mlserver"
    alive_path = "/v2/health/live"

    @property
    def address(self) -> HostAddress:
        options = {"repository": str(self.repository), "metrics": f"http://127.0.0.1:{self.third}"}
        return HostAddress(self.url, "", options=options)

    def command(self) -> tuple[list[str], dict[str, str]]:
        settings = {
            "host": "127.0.0.1", "http_port": self.port, "grpc_port": self.other, "metrics_port": self.third,
            "parallel_workers": 0,
        }  # fmt: skip
        (self.repository / "settings.json").write_text(json.dumps(settings))
        command = [str(environment(self.engine) / "bin" / "mlserver"), "start", str(self.repository)]
        return command, {"PYTHONPATH": str(PROGRAMS)}

    def make(self, model: str, number: int, *, broken: bool = False, scale: float | None = None) -> Made:
        settings = {
            "implementation": "linear_runtime.Linear",
            "inputs": [{"name": "x", "datatype": "FP64", "shape": [-1]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}],
        }
        return self.keep(
            model,
            {
                "weights": {"weights.json": weights(number, broken, scale)},
                "config": {"settings.json": json.dumps(settings).encode()},
            },
        )

    def file_on_disk(self, model: str, version: str, made: Made) -> Path:
        return self.repository / ".lastgood" / model / version / "weights.json"


class TorchServe(Server):
    engine = "torchserve"
    alive_path = "/ping"
    guarded = False

    @property
    def token(self) -> str:
        return ""

    @property
    def address(self) -> HostAddress:
        options = {
            "repository": str(self.repository),
            "management": f"http://127.0.0.1:{self.other}",
            "metrics": f"http://127.0.0.1:{self.third}",
        }
        return HostAddress(self.url, self.token, options=options)

    def command(self) -> tuple[list[str], dict[str, str]]:
        java()
        place = environment(self.engine)
        settings = {
            "inference_address": self.url,
            "management_address": f"http://127.0.0.1:{self.other}",
            "metrics_address": f"http://127.0.0.1:{self.third}",
            "metrics_mode": "prometheus",
            "grpc_inference_port": free_port(),
            "grpc_management_port": free_port(),
            "model_store": self.repository,
            "disable_token_authorization": str(not self.guarded).lower(),
            "enable_model_api": "true",
            "token_expiration_min": 1440,
        }
        file = self.folder / "config.properties"
        file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        switches = ["--foreground", "--no-config-snapshots", "--enable-model-api"]
        switches += [] if self.guarded else ["--disable-token-auth"]
        env = {
            "PATH": f"{place / 'bin'}:{os.environ['PATH']}",
            "LOG_LOCATION": str(self.folder / "logs"),
            "METRICS_LOCATION": str(self.folder / "logs"),
            "TEMP": str(self.folder),
        }
        return [str(place / "bin" / "torchserve"), *switches, "--ts-config", str(file)], env

    def make(self, model: str, number: int, *, broken: bool = False, scale: float | None = None, **more: bool) -> Made:
        about = {"modelName": model, "handler": "handler.py", "modelVersion": f"{number}.0"}
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            manifest = {"createdOn": "", "runtime": "python", "model": about, "archiverVersion": "0.12.0"}
            archive.writestr(zipfile.ZipInfo("MAR-INF/MANIFEST.json"), json.dumps(manifest))
            archive.writestr(zipfile.ZipInfo("handler.py"), (PROGRAMS / "handler.py").read_bytes())
            archive.writestr(zipfile.ZipInfo("weights.json"), weights(number, broken, scale, **more))
        return self.keep(model, {"weights": {"model.mar": buffer.getvalue()}})

    def predict_path(self, model: str) -> str:
        return f"/predictions/{model}"

    def file_on_disk(self, model: str, version: str, made: Made) -> Path:
        return self.repository / ".lastgood" / model / version / "model.mar"


class GuardedTorchServe(TorchServe):
    """With its token authorisation on: its keys are new after each start."""

    guarded = True

    @property
    def token(self) -> str:
        keys = json.loads((self.folder / "key_file.json").read_text())
        return f"{keys['management']['key']}:{keys['inference']['key']}"

    def answers(self) -> bool:
        with suppress(OSError, ValueError, KeyError):  # the file is not written yet
            self.http.headers["Authorization"] = f"Bearer {self.token.partition(':')[2]}"
        return super().answers()


SERVERS: dict[str, type[Server]] = {one.engine: one for one in (Bundled, Triton, MLServer, TorchServe)}
