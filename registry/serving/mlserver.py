"""The driver of MLServer (Open Inference Protocol with a model repository on disk). docs/engines.md.

MLServer holds what a folder's model-settings.json names, and has no default to point elsewhere. One model name serves;
a second, `<model>--next`, holds the version that is to come, so that it is loaded and asked before it serves. The
switch writes the target's settings under the serving name and has them loaded, which drops no request: the old ones
answer until the new are there, and go on when that fails. The model is served without a version string, since MLServer
fails every unversioned request while a higher one loads; which settings are in memory is read from the model's
`platform`. The index is never asked: it reads the file on disk.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from registry.serving import repository
from registry.serving.base import (
    POST,
    Act,
    Call,
    Capabilities,
    Goal,
    HostAddress,
    ModelObservation,
    Observation,
    OutcomeUnknown,
    Prediction,
    Refused,
    ServingError,
    VersionState,
)
from registry.serving.http import HttpAnswer, call
from registry.serving.open_inference import dump, prediction, samples, tensors
from registry.serving.repository import Stored

READ_SECONDS = 5.0
INFER_SECONDS = 10.0
LOAD_SECONDS = 600.0
STORE = ".lastgood"
NEXT = "--next"
SETTINGS = "model-settings.json"
OWN_SETTINGS = "settings.json"
PLATFORM = "lastgood"
ANSWERS = (400, 404, 422, 500, 503)
JSON = {"Content-Type": "application/json"}
SUCCESS, FAILURE = "model_infer_request_success_total", "model_infer_request_failure_total"


class MLServerDriver:
    """`ServingDriver` for MLServer."""

    capabilities = Capabilities(
        warm_switch=False,
        versioned_inference=True,
        digest_read_back=False,
        fencing=False,
        warm_undo=False,
        keeps_at_switch=False,
    )
    options: Mapping[str, str] = {
        "repository": "the folder that MLServer was started with, as the workers of Lastgood reach it (mounted)",
        "seen_as": "the same folder as MLServer itself sees it, where that is another path",
        "metrics": "the address of MLServer's metrics, such as http://gpu-1:8082",
    }

    def observe(self, address: HostAddress) -> Observation:
        observed_at = datetime.now(UTC)
        root = repository.root_of(address.options)
        call(address, "GET", "/v2/health/live", seconds=READ_SECONDS)
        metrics = self.metrics(address) if "metrics" in address.options else {}
        store = root / STORE
        models = {}
        for folder in sorted(path for path in store.iterdir() if path.is_dir()) if store.is_dir() else ():
            models[folder.name] = self._model(address, folder, metrics)
        started = metrics.get("process_start_time_seconds", 0.0)
        return Observation(
            host=address.url,
            boot_id=f"mlserver {address.url} {started:.0f}",
            observed_at=observed_at,
            models=models,
            memory_total=0,
            memory_free=0,
            device="",
        )

    def stage(self, address: HostAddress, model: str, version: str, manifest: bytes, blobs: Mapping[str, Path]) -> None:
        repository.keep(repository.root_of(address.options) / STORE / model / version, version, manifest, blobs)

    def load(self, address: HostAddress, model: str, version: str) -> None:
        stored = _staged(address, model, version)
        if any(self._in_memory(address, name) == (version, stored.digest) for name in (model, model + NEXT)):
            return
        self._bring(address, model + NEXT, stored)

    def switch(self, address: HostAddress, model: str, version: str, digest: str, fence: int) -> None:
        stored = _staged(address, model, version)
        wanted = (version, digest)
        if stored.digest != digest:
            raise Refused(409, "digest-mismatch", f"Version {version} is staged as {stored.digest}, not as asked.")
        if self._in_memory(address, model) == wanted:
            return
        if self._in_memory(address, model + NEXT) != wanted:
            raise Refused(409, "not-ready", f"Version {version} of {model} is not loaded; load it before switching.")
        self._bring(address, model, stored)
        self._drop(address, model + NEXT)

    def unload(self, address: HostAddress, model: str, version: str) -> None:
        stored = _staged(address, model, version)
        if self._in_memory(address, model) == (version, stored.digest):
            raise Refused(409, "is-default", f"Version {version} answers ordinary requests; switch to another first.")
        if self._in_memory(address, model + NEXT) == (version, stored.digest):
            self._drop(address, model + NEXT)

    def infer(
        self,
        address: HostAddress,
        model: str,
        inputs: Mapping[str, Sequence[Any]],
        version: str | None = None,
        request_id: str = "",
    ) -> Prediction:
        name, metadata = self._answering(address, model, version)
        body = dump({"inputs": tensors(inputs, metadata)} | ({"id": request_id} if request_id else {}))
        answer = self._ask(address, "POST", f"/v2/models/{name}/infer", INFER_SECONDS, body)
        return prediction(answer.granted(_reason), *_platform(metadata))

    def calls(self, url: str, options: Mapping[str, str], act: Act) -> list[Call]:
        models = f"{url}/v2/repository/models/{act.model}"
        settings = f"{options.get('repository', '')}/{act.model}"
        return {
            "stage": repository.written(options, act),
            "load": [Call("write", f"{settings}{NEXT}", "its settings"), Call("POST", f"{models}{NEXT}/load")],
            "unload": [Call("POST", f"{models}{NEXT}/unload")],
            "switch": [
                Call("write", settings, "its settings"),
                Call("POST", f"{models}/load"),
                Call("POST", f"{models}{NEXT}/unload"),
            ],
            "golden": [Call("POST", f"{url}/v2/models/{act.model}{NEXT}/infer", "the golden inputs")],
            "postcheck": [Call("POST", f"{url}/v2/models/{act.model}/infer", "the golden inputs")],
        }[act.name]

    def by_hand(self, url: str, options: Mapping[str, str], goal: Goal, fence: int) -> list[str]:
        root = options.get("repository", "REPOSITORY")
        stored = f"{STORE}/{goal.model}/{goal.number}"
        live = f"{root}/{goal.model}/{SETTINGS}"
        seen = f"{options.get('seen_as', root)}/{stored}"
        marked = f'.name = "{goal.model}" | .platform = "{PLATFORM}/{goal.number}/{goal.digest}" | '
        marked += f'.parameters = (.parameters // {{}} | del(.version)) + {{uri: "{seen}"}}'
        return [
            f"echo '{goal.digest}  {root}/{stored}/{repository.MANIFEST}' | sha256sum -c -",
            f"jq {shlex.quote(marked)} {root}/{stored}/{OWN_SETTINGS} > {live}.new",
            f"mv {live}.new {live}",
            f"{POST} -H 'Content-Type: application/json' -d '{{}}' {url}/v2/repository/models/{goal.model}/load",
            f"curl -fsS {url}/v2/models/{goal.model}",
        ]

    def metrics(self, address: HostAddress) -> dict[str, float]:
        return samples(call(address.beside("metrics"), "GET", "/metrics", seconds=READ_SECONDS).data)

    def _model(self, address: HostAddress, folder: Path, metrics: Mapping[str, float]) -> ModelObservation:
        model = folder.name
        serving, coming = self._in_memory(address, model), self._in_memory(address, model + NEXT)
        failures = int(metrics.get(f'{FAILURE}{{model="{model}",version="None"}}', 0))
        requests = failures + int(metrics.get(f'{SUCCESS}{{model="{model}",version="None"}}', 0))
        versions, intact = {}, {}
        for stored in repository.read_all(folder):
            known = (stored.version, stored.digest)
            intact[known] = not stored.damage
            versions[stored.version] = VersionState(
                version=stored.version,
                digest="" if stored.damage else stored.digest,
                state="ready" if known in (serving, coming) else "failed" if stored.damage else "staged",
                loaded_digest=None,
                in_flight=0,
                requests=requests if known == serving else 0,
                failures=failures if known == serving else 0,
                memory_bytes=None,
                reason=stored.damage,
            )
        return ModelObservation(
            default_version=serving[0] if serving else None,
            default_digest=None if not serving else serving[1] if intact.get(serving) else "unknown",
            fence=0,
            versions=versions,
        )

    def _metadata(self, address: HostAddress, name: str) -> Mapping[str, Any] | None:
        """What is in memory under a name; None for nothing that is ready."""
        ready = self._ask(address, "GET", f"/v2/models/{name}/ready", READ_SECONDS)
        if ready.status != 200:
            return None
        answer = self._ask(address, "GET", f"/v2/models/{name}", READ_SECONDS)
        value = answer.json() if answer.status == 200 else None
        return value if isinstance(value, dict) else None

    def _in_memory(self, address: HostAddress, name: str) -> tuple[str, str] | None:
        """Version and digest of the settings that a name was loaded with; None for nothing."""
        metadata = self._metadata(address, name)
        return None if metadata is None else _platform(metadata)

    def _answering(self, address: HostAddress, model: str, version: str | None) -> tuple[str, Mapping[str, Any]]:
        for name in (model, model + NEXT):
            metadata = self._metadata(address, name)
            if metadata is not None and version in (None, _platform(metadata)[0]):
                return name, metadata
            if version is None:
                raise Refused(503, "not-ready", f"{model} has no version on this host that answers.")
        raise Refused(404, "unknown-version", f"Version {version} of {model} is not loaded here; load it first.")

    def _bring(self, address: HostAddress, name: str, stored: Stored) -> None:
        """Have a name loaded from the version's settings, and see that it came so. What the file held before is put
        back where MLServer could not: else a restart would load what is broken."""
        root = repository.root_of(address.options)
        path = root / name / SETTINGS
        path.parent.mkdir(exist_ok=True)
        before = path.read_bytes() if path.exists() else None
        seen = Path(address.options.get("seen_as", str(root))) / stored.folder.relative_to(root)
        repository.write_json(path, _settings(name, stored, seen))
        answer = self._ask(address, "POST", f"/v2/repository/models/{name}/load", LOAD_SECONDS, b"{}")
        held = self._in_memory(address, name)
        if held == (stored.version, stored.digest):
            return
        if answer.status == 200:
            raise OutcomeUnknown(f"{address.url} answered 200, and holds {held} all the same.")
        if before is None:
            shutil.rmtree(path.parent)
        else:
            path.write_bytes(before)
        raise Refused(answer.status, "load-failed", f"Version {stored.version} can't be loaded: {_reason(answer)}")

    def _drop(self, address: HostAddress, name: str) -> None:
        shutil.rmtree(repository.root_of(address.options) / name, ignore_errors=True)
        self._ask(address, "POST", f"/v2/repository/models/{name}/unload", LOAD_SECONDS, b"{}")

    def _ask(
        self, address: HostAddress, method: str, path: str, seconds: float, content: bytes | None = None
    ) -> HttpAnswer:
        return call(address, method, path, seconds=seconds, content=content, headers=JSON, accept=ANSWERS)


def _settings(name: str, stored: Stored, seen: Path) -> dict[str, Any]:
    """The version's own settings, under the given name, with its files, and marked so that memory tells which it is."""
    own = stored.json(OWN_SETTINGS)
    parameters = {key: value for key, value in own.get("parameters", {}).items() if key != "version"}
    found: dict[str, Any] = own | {
        "name": name,
        "platform": f"{PLATFORM}/{stored.version}/{stored.digest}",
        "parameters": parameters | {"uri": str(seen)},
    }
    return found


def _platform(metadata: Mapping[str, Any]) -> tuple[str, str]:
    """Version and digest that the settings in memory name; what Lastgood did not write is "unknown"."""
    parts = str(metadata.get("platform", "")).split("/")
    return (parts[1], parts[2]) if len(parts) == 3 and parts[0] == PLATFORM else ("unknown", "unknown")


def _staged(address: HostAddress, model: str, version: str) -> Stored:
    stored = repository.read(repository.root_of(address.options) / STORE / model / version)
    if stored is None:
        raise Refused(404, "unknown-version", f"This host has no version {version!r} of {model}; stage it first.")
    if stored.damage:
        raise Refused(422, "artifact-refused", f"Version {version} of {model} is damaged: {stored.damage}.")
    return stored


def _reason(answer: HttpAnswer) -> str:
    """MLServer's sentence, or the last line of its traceback."""
    try:
        return str(answer.json()["error"])
    except (ServingError, KeyError, TypeError):
        lines = answer.data.decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else f"The host answered {answer.status}."
