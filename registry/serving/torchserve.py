"""The driver of TorchServe: two versions resident, and a default that is a pointer. docs/engines.md.

A version is one model archive (.mar), opaque here and pinned by its digest. It lies in the model store under the digest
of the version's manifest, and TorchServe's own description of a model (`modelUrl`) tells from which archive it was
loaded. The archive's inner version string, which we do not choose, is TorchServe's name of the version.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
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
WORKER_SECONDS = 60.0
STORE = ".lastgood"
ARCHIVE = ".mar"
KEYS = ":"
"""Stands between the management key and the inference key in a host's control token."""
ANSWERS = (400, 403, 404, 409, 500, 503, 507)
STARTING = (200, 202, 206)
"""Answers to a request for workers: they are there, or being started."""
MEBIBYTE = 2**20


class TorchServeDriver:
    """`ServingDriver` for TorchServe with its model API enabled."""

    capabilities = Capabilities(
        warm_switch=True, versioned_inference=True, digest_read_back=False, fencing=False, warm_undo=True
    )
    options: Mapping[str, str] = {
        "repository": "the model store, as the workers of Lastgood reach it (a mounted folder)",
        "management": "the address of the management API, such as http://gpu-1:8081",
        "metrics": "the address of the metrics in Prometheus mode, such as http://gpu-1:8082",
    }

    def observe(self, address: HostAddress) -> Observation:
        observed_at = datetime.now(UTC)
        root = repository.root_of(address.options)
        ping = call(predicting(address), "GET", "/ping", seconds=READ_SECONDS, accept=ANSWERS)
        if ping.status != 500:  # 500: a default version has no worker, which its own description tells
            ping.granted(_reason)
        metrics = self.metrics(address) if "metrics" in address.options else {}
        store = root / STORE
        models = {}
        for folder in sorted(path for path in store.iterdir() if path.is_dir()) if store.is_dir() else ():
            models[folder.name] = self._model(address, folder, metrics)
        free = int(_sum(metrics, "MemoryAvailable") * MEBIBYTE)
        used = int(_sum(metrics, "MemoryUsed") * MEBIBYTE)
        return Observation(
            host=address.url,
            boot_id=f"torchserve {address.url}",
            observed_at=observed_at,
            models=models,
            memory_total=free + used,
            memory_free=free,
            device="",
        )

    def stage(self, address: HostAddress, model: str, version: str, manifest: bytes, blobs: Mapping[str, Path]) -> None:
        root = repository.root_of(address.options)
        archives = [name for name in repository.files_of(manifest) if name.endswith(ARCHIVE)]
        if len(archives) != 1:
            raise Refused(422, "artifact-refused", f"A version for TorchServe is one {ARCHIVE}; it has {archives}.")
        folder = root / STORE / model / version
        stored = repository.keep(folder, version, manifest, blobs)
        repository.link(folder / archives[0], root / f"{stored.digest}{ARCHIVE}")

    def load(self, address: HostAddress, model: str, version: str) -> None:
        stored = _staged(address, model, version)
        held = self._by_digest(address, model).get(stored.digest)
        if held is not None and _ready(held):
            return
        if held is None:
            query = {"url": f"{stored.digest}{ARCHIVE}", "model_name": model, "initial_workers": "1"}
            answer = self._manage(address, "POST", "/models", query | {"synchronous": "true"})
        else:
            query = {"min_worker": "1", "synchronous": "true"}
            answer = self._manage(address, "PUT", f"/models/{model}/{held['modelVersion']}", query)
        if answer.status not in STARTING:
            self._forget(address, model, stored.digest)
            raise Refused(answer.status, "load-failed", f"Version {version} can't be loaded: {_reason(answer)}")
        self._wait_for_worker(address, model, stored)

    def _forget(self, address: HostAddress, model: str, digest: str) -> None:
        """TorchServe keeps a version whose workers ran out of memory, and goes on starting them."""
        held = self._by_digest(address, model).get(digest)
        if held is not None and self._default(address, model) != digest:
            self._manage(address, "DELETE", f"/models/{model}/{held['modelVersion']}", {})

    def _wait_for_worker(self, address: HostAddress, model: str, stored: Stored) -> None:
        """TorchServe answers 200 as soon as workers enough are being started, be it for somebody else."""
        deadline = time.monotonic() + WORKER_SECONDS
        while True:
            held = self._by_digest(address, model).get(stored.digest)
            if held is not None and _ready(held):
                return
            if time.monotonic() > deadline:
                raise OutcomeUnknown(
                    f"{address.url} says that version {stored.version} is there; it has no worker yet."
                )
            time.sleep(0.1)

    def switch(self, address: HostAddress, model: str, version: str, digest: str, fence: int) -> None:
        stored = _staged(address, model, version)
        if stored.digest != digest:
            raise Refused(409, "digest-mismatch", f"Version {version} is staged as {stored.digest}, not as asked.")
        held = self._by_digest(address, model).get(digest)
        if held is None or not _ready(held):
            # TorchServe itself makes a version without workers the default, and then answers nothing.
            raise Refused(409, "not-ready", f"Version {version} has no worker that is ready; load it first.")
        answer = self._manage(address, "PUT", f"/models/{model}/{held['modelVersion']}/set-default", {})
        if self._default(address, model) != digest:
            if answer.status == 200:
                raise OutcomeUnknown(f"{address.url} answered 200, and its default is another version.")
            raise Refused(answer.status, "engine-refused", _reason(answer))

    def unload(self, address: HostAddress, model: str, version: str) -> None:
        stored = _staged(address, model, version)
        held = self._by_digest(address, model).get(stored.digest)
        if held is None:
            return
        if self._default(address, model) == stored.digest:
            raise Refused(409, "is-default", f"Version {version} answers ordinary requests; switch to another first.")
        answer = self._manage(address, "DELETE", f"/models/{model}/{held['modelVersion']}", {})
        if stored.digest in self._by_digest(address, model):
            raise Refused(answer.status, "engine-refused", _reason(answer))

    def infer(
        self,
        address: HostAddress,
        model: str,
        inputs: Mapping[str, Sequence[Any]],
        version: str | None = None,
        request_id: str = "",
    ) -> Prediction:
        digest = self._default(address, model) if version is None else _staged(address, model, version).digest
        held = self._by_digest(address, model).get(digest or "")
        if held is None or digest is None:
            raise Refused(404, "unknown-version", f"Version {version} of {model} is not loaded here; load it first.")
        path = f"/predictions/{model}" + (f"/{held['modelVersion']}" if version is not None else "")
        body = dump({"id": request_id, "inputs": tensors(inputs, {})})
        headers = {"Content-Type": "application/json"}
        answer = call(
            predicting(address), "POST", path, seconds=INFER_SECONDS, content=body, headers=headers, accept=ANSWERS
        )
        names = {stored.digest: stored.version for stored in _stored(address, model)}
        granted = answer.granted(_reason)
        if digest not in names:
            raise ServingError(f"The host's prediction can't be understood: it came from an archive {digest}.")
        return prediction(granted, names[digest], digest)

    def calls(self, url: str, options: Mapping[str, str], act: Act) -> list[Call]:
        models = f"{options.get('management', url).rstrip('/')}/models"
        version = f"{models}/{act.model}/(its version there)"
        return {
            "stage": repository.written(options, act),
            "load": [
                Call("POST", models, f"url {act.digest[:12]}….mar, one worker; PUT where it is there without one")
            ],
            "unload": [Call("DELETE", version)],
            "switch": [Call("PUT", f"{version}/set-default")],
            "golden": [Call("POST", f"{url}/predictions/{act.model}/(its version there)", "the golden inputs")],
            "postcheck": [Call("POST", f"{url}/predictions/{act.model}", "the golden inputs")],
        }[act.name]

    def by_hand(self, url: str, options: Mapping[str, str], goal: Goal, fence: int) -> list[str]:
        models = f"{options.get('management', url).rstrip('/')}/models"
        archive = f"{goal.digest}{ARCHIVE}"
        number = (
            f"V=$(curl -fsS {models}/{goal.model}/all | jq -r '.[] | select(.modelUrl == \"{archive}\").modelVersion')"
        )
        load = f"url={archive}&model_name={goal.model}&initial_workers=1&synchronous=true"
        return [
            "# TorchServe's own number of this version is V; empty: it is not loaded",
            number,
            f"[ -n \"$V\" ] || {POST} '{models}?{load}'",
            number,
            'test -n "$V"',
            f"curl -fsS -X PUT '{models}/{goal.model}/'$V'?min_worker=1&synchronous=true'",
            f"curl -fsS -X PUT {models}/{goal.model}/$V/set-default",
            f"curl -fsS {models}/{goal.model}",
        ]

    def metrics(self, address: HostAddress) -> dict[str, float]:
        text = call(address.beside("metrics"), "GET", "/metrics", seconds=READ_SECONDS).data
        return samples(text.replace(b",}", b"}"))

    def _model(self, address: HostAddress, folder: Path, metrics: Mapping[str, float]) -> ModelObservation:
        model = folder.name
        held, default = self._by_digest(address, model), self._default(address, model)
        versions, intact = {}, set()
        for stored in repository.read_all(folder):
            archive = _archive_damage(address, stored)
            if not archive:
                intact.add(stored.digest)
            entry = held.get(stored.digest)
            requests, failures = _counts(metrics, model, entry, default == stored.digest)
            versions[stored.version] = VersionState(
                version=stored.version,
                digest="" if archive else stored.digest,
                state=_state(entry, archive),
                loaded_digest=None,
                in_flight=int(entry["jobQueueStatus"]["pendingRequests"]) if entry else 0,
                requests=requests,
                failures=failures,
                memory_bytes=None,
                reason=archive,
            )
        names = {state.digest: name for name, state in versions.items()}
        return ModelObservation(
            default_version=None if default is None else names.get(default, "unknown"),
            default_digest=None if default is None else default if default in intact else "unknown",
            fence=0,
            versions=versions,
        )

    def _by_digest(self, address: HostAddress, model: str) -> dict[str, Mapping[str, Any]]:
        """Digest -> what TorchServe says of the version that was loaded from its archive."""
        return {_digest(entry): entry for entry in self._describe(address, f"/models/{model}/all")}

    def _default(self, address: HostAddress, model: str) -> str | None:
        """The digest of the version that unversioned requests get, "unknown" for an archive that is not ours."""
        found = self._describe(address, f"/models/{model}")
        return _digest(found[0]) if found else None

    def _describe(self, address: HostAddress, path: str) -> list[Mapping[str, Any]]:
        answer = self._manage(address, "GET", path, {}, seconds=READ_SECONDS)
        if answer.status == 404:
            return []
        value = answer.json()
        if answer.status != 200 or not isinstance(value, list):
            raise ServingError(f"The host's description can't be understood: {_reason(answer)}")
        return value

    def _manage(
        self,
        address: HostAddress,
        method: str,
        path: str,
        params: Mapping[str, str],
        seconds: float = LOAD_SECONDS,
    ) -> HttpAnswer:
        managed = managing(address.beside("management"))
        return call(managed, method, path, seconds=seconds, params=params or None, accept=ANSWERS)


def managing(address: HostAddress) -> HostAddress:
    """The host with the first of the two keys that a control token may hold, for its management port."""
    return replace(address, token=address.token.partition(KEYS)[0])


def predicting(address: HostAddress) -> HostAddress:
    """The host with the second key, for its inference port; where there is one only, with that."""
    management, _, inference = address.token.partition(KEYS)
    return replace(address, token=inference or management)


def _digest(entry: Mapping[str, Any]) -> str:
    name = str(entry.get("modelUrl", ""))
    return name.removesuffix(ARCHIVE) if len(name) == 64 + len(ARCHIVE) else "unknown"


def _ready(entry: Mapping[str, Any]) -> bool:
    return any(worker.get("status") == "READY" for worker in entry.get("workers", ()))


def _state(entry: Mapping[str, Any] | None, damage: str) -> str:
    if entry is None:
        return "failed" if damage else "staged"
    return "ready" if _ready(entry) else "loading"


def _counts(
    metrics: Mapping[str, float], model: str, entry: Mapping[str, Any] | None, is_default: bool
) -> tuple[int, int]:
    """Requests and failures. TorchServe counts unversioned requests under "default", whichever version that was, and
    failures for the whole host: both are given to the version that is the default now, and so at most too high."""
    if entry is None:
        return 0, 0
    labels = [str(entry["modelVersion"])] + (["default"] if is_default else [])
    requests = sum(
        value
        for name, value in metrics.items()
        for label in labels
        if name.startswith("ts_inference_requests_total{")
        and f'model_name="{model}"' in name
        and f'model_version="{label}"' in name
    )
    return int(requests), int(_sum(metrics, "Requests5XX")) if is_default else 0


def _sum(metrics: Mapping[str, float], name: str) -> float:
    return sum(value for sample, value in metrics.items() if sample.startswith(name + "{"))


def _stored(address: HostAddress, model: str) -> list[Stored]:
    return list(repository.read_all(repository.root_of(address.options) / STORE / model))


def _staged(address: HostAddress, model: str, version: str) -> Stored:
    for stored in _stored(address, model):
        if stored.version == version:
            damage = _archive_damage(address, stored)
            if damage:
                raise Refused(422, "artifact-refused", f"Version {version} of {model} is damaged: {damage}.")
            return stored
    raise Refused(404, "unknown-version", f"This host has no version {version!r} of {model}; stage it first.")


def _archive_damage(address: HostAddress, stored: Stored) -> str:
    """What is wrong with the version's files, or with the archive in the model store that TorchServe loads."""
    if stored.damage:
        return stored.damage
    archive = repository.root_of(address.options) / f"{stored.digest}{ARCHIVE}"
    expected = repository.files_of((stored.folder / repository.MANIFEST).read_bytes())
    try:
        if repository.sha256_of(archive) not in expected.values():
            return f"{archive.name} is not the archive that the manifest names"
    except OSError:
        return f"{archive.name} is missing from the model store"
    return ""


def _reason(answer: HttpAnswer) -> str:
    try:
        return str(answer.json()["message"])
    except (ServingError, KeyError, TypeError):
        return f"The host answered {answer.status}."
