"""What a running engine says of the models in it, whoever put them there: read by its own protocol, changing nothing.

A driver of `registry.serving` sees versions that Lastgood has staged; this sees all, and says what cannot be asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from registry.serving.base import HostAddress, HostUnreachable, OutcomeUnknown, Refused, ServingError
from registry.serving.bundled import BundledDriver
from registry.serving.http import HttpAnswer, call
from registry.serving.open_inference import columns, dump, tensors
from registry.serving.torchserve import managing, predicting

READ_SECONDS = 5.0
INFER_SECONDS = 10.0
JSON = {"Content-Type": "application/json"}
ANSWERS = (400, 401, 403, 404, 405, 422, 500, 501, 503)
ENGINES = ("bundled", "triton", "mlserver", "torchserve")
REFUSED_KEY = "InvalidKeyException"
"""How TorchServe calls it when a key is missing, wrong or expired."""
ONLY = ""
"""How the one version of a model is called where its engine names none."""


@dataclass
class FoundVersion:
    """A version as its engine shows it. `signature` and `digest` are None, `manifest` and `files` empty where the
    engine does not give them; `said` is what it said beside."""

    name: str
    ready: bool
    is_default: bool = False
    signature: dict[str, list[dict[str, Any]]] | None = None
    digest: str | None = None
    manifest: bytes = b""
    files: dict[str, bytes] = field(default_factory=dict)
    said: dict[str, Any] = field(default_factory=dict)


@dataclass
class FoundModel:
    """A model with its versions; `fence` is the highest that the engine has seen, 0 where it knows none."""

    name: str
    versions: list[FoundVersion]
    fence: int = 0


@dataclass
class FoundEngine:
    """What was found; `lacks` are sentences on what this engine can't be asked."""

    engine: str
    release: str
    models: list[FoundModel]
    lacks: list[str]


def detect(address: HostAddress) -> tuple[str, str]:
    """Engine and release. Raises ServingError where none of those that Lastgood knows answers."""
    about = _maybe(address, "GET", "/v2")
    name = str(about.get("name", "")) if isinstance(about, dict) else ""
    release = str(about.get("version", "")) if isinstance(about, dict) else ""
    if name == "lastgood-host":
        return "bundled", release
    if name == "triton":
        return "triton", release
    if name:
        return "mlserver", f"{name} {release}".strip()
    management = managing(address.beside("management"))
    if _is_torchserve(management):
        api = _maybe(management, "GET", "/api-description")
        info = api.get("info", {}) if isinstance(api, dict) else {}
        return "torchserve", str(info.get("version", "")) if isinstance(info, dict) else ""
    raise ServingError(
        "No engine that Lastgood knows answers there: neither /v2 (the bundled host, Triton, MLServer) nor /models "
        "(TorchServe's management address, which is given beside)."
    )


def read(engine: str, release: str, address: HostAddress) -> FoundEngine:
    """All models and versions that the engine shows. Raises ServingError, and LookupError for another engine."""
    return {"bundled": _bundled, "triton": _triton, "mlserver": _mlserver, "torchserve": _torchserve}[engine](
        release, address
    )


def _is_torchserve(management: HostAddress) -> bool:
    """Whether TorchServe's management API answers there. Raises ServingError with its own sentence where it refuses the
    key, HostUnreachable."""
    try:
        answer = call(management, "GET", "/models", seconds=READ_SECONDS, accept=ANSWERS)
        said = answer.json()
    except HostUnreachable:
        raise
    except ServingError:
        return False
    if isinstance(said, dict) and said.get("type") == REFUSED_KEY:
        raise ServingError(f"TorchServe refuses the key for its management: {said.get('message')}")
    return answer.status == 200 and isinstance(said, dict)


def ask(
    engine: str,
    address: HostAddress,
    model: str,
    version: FoundVersion,
    inputs: Mapping[str, Sequence[Any]],
) -> dict[str, list[Any]]:
    """What one version answers to rows given by column: outputs by name. Raises ServingError."""
    if engine == "bundled":
        return dict(BundledDriver().infer(address, model, inputs, version=version.name).outputs)
    if engine == "torchserve":
        path, metadata, address = f"/predictions/{model}/{version.name}", {}, predicting(address)
    else:
        named = f"/versions/{version.name}" if version.name != ONLY else ""
        path, metadata = f"/v2/models/{model}{named}/infer", version.said.get("metadata", {})
    body = dump({"id": "adopt", "inputs": tensors(inputs, metadata)})
    answer = call(address, "POST", path, seconds=INFER_SECONDS, content=body, headers=JSON, accept=ANSWERS)
    try:
        return columns(_granted(answer)["outputs"])
    except (KeyError, TypeError, ValueError) as error:
        raise ServingError(f"The answer of {model} can't be understood: {error!r}.") from error


def answered_lately(engine: str, address: HostAddress, model: str, version: FoundVersion) -> dict[str, Any] | None:
    """What the version answered last to live requests: `inputs` and `outputs` by column, `since`, `until`, `rows`.

    None where the engine keeps nothing of it. Raises HostUnreachable.
    """
    if engine != "bundled":
        return None
    found = _maybe(address, "GET", f"/lastgood/v1/models/{model}/versions/{version.name}/recent")
    if not isinstance(found, dict) or not found.get("rows") or found.get("digest") != version.digest:
        return None
    return found


def _bundled(release: str, address: HostAddress) -> FoundEngine:
    seen = BundledDriver().observe(address)
    models = []
    for name, state in sorted(seen.models.items()):
        versions = []
        for number, held in sorted(state.versions.items()):
            versions.append(
                FoundVersion(
                    name=number,
                    ready=held.state == "ready",
                    is_default=number == state.default_version,
                    signature=_signature(_maybe(address, "GET", f"/v2/models/{name}/versions/{number}")),
                    digest=held.digest,
                    said={"state": held.state, "loaded_digest": held.loaded_digest or ""},
                )
            )
        models.append(FoundModel(name, versions, state.fence))
    return FoundEngine("bundled", release, models, [])


def fetch_files(address: HostAddress, model: str, version: FoundVersion) -> None:
    """The manifest and the files of a version on a bundled host, into `version`, each as its digest says.

    Raises ServingError, also for a file that the host does not give out because of its size.
    """
    path = f"/lastgood/v1/models/{model}/versions/{version.name}"
    manifest = call(address, "GET", path, seconds=READ_SECONDS).data
    if hashlib.sha256(manifest).hexdigest() != version.digest:
        raise ServingError(
            f"The manifest that the host gives for {model} {version.name} is not of the digest it states."
        )
    files = {}
    for entries in BundledManifest(manifest).components.values():
        for entry in entries:
            data = call(address, "GET", f"/lastgood/v1/blobs/{entry['sha256']}", seconds=60.0).data
            if hashlib.sha256(data).hexdigest() != entry["sha256"]:
                raise ServingError(f"{entry['path']} of {model} {version.name} is damaged on the host.")
            files[str(entry["sha256"])] = data
    version.manifest, version.files = manifest, files


class BundledManifest:
    """The components of a manifest that a host keeps. Raises ServingError for bytes that are none."""

    def __init__(self, data: bytes) -> None:
        value = HttpAnswer(200, data, 0.0).json()
        if not isinstance(value, dict) or not isinstance(value.get("components"), dict):
            raise ServingError("The host's manifest can't be understood.")
        self.components: dict[str, list[dict[str, Any]]] = value["components"]


def _triton(release: str, address: HostAddress) -> FoundEngine:
    found: dict[str, list[FoundVersion]] = {}
    for entry in _index(address):
        name, number = str(entry["name"]), str(entry.get("version", ""))
        if number:
            ready = entry.get("state") == "READY"
            said = {"state": entry.get("state", ""), "reason": entry.get("reason", "")}
            found.setdefault(name, []).append(FoundVersion(number, ready, said=said))
    for name, versions in found.items():
        ready_numbers = [int(one.name) for one in versions if one.ready]
        for one in versions:
            one.is_default = one.ready and int(one.name) == max(ready_numbers)
            if one.ready:
                _describe(address, f"/v2/models/{name}/versions/{one.name}", one)
    lacks = [
        "Triton gives no files and no digests: versions are registered as opaque.",
        "Triton names no default: the highest version that is ready answers unversioned requests.",
    ]
    return FoundEngine("triton", release, [FoundModel(name, one) for name, one in sorted(found.items())], lacks)


def _mlserver(release: str, address: HostAddress) -> FoundEngine:
    models = []
    for name in sorted({str(entry["name"]) for entry in _index(address)}):
        one = FoundVersion(ONLY, _status(address, f"/v2/models/{name}/ready") == 200, said={})
        one.is_default = one.ready
        if one.ready:
            _describe(address, f"/v2/models/{name}", one)
        models.append(FoundModel(name, [one]))
    lacks = [
        "MLServer gives no files and no digests: versions are registered as opaque.",
        "MLServer's index shows the files on its disk; of versions only what answers under a name can be asked.",
    ]
    return FoundEngine("mlserver", release, models, lacks)


def _torchserve(release: str, address: HostAddress) -> FoundEngine:
    management = managing(address.beside("management"))
    models = []
    for entry in _pages(management):
        name = str(entry["modelName"])
        default = _listed(management, f"/models/{name}")
        versions = []
        for held in _listed(management, f"/models/{name}/all"):
            number = str(held.get("modelVersion", ""))
            ready = any(worker.get("status") == "READY" for worker in held.get("workers", ()))
            is_default = bool(default) and number == str(default[0].get("modelVersion", ""))
            said = {"archive": str(held.get("modelUrl", "")), "runtime": str(held.get("runtime", ""))}
            versions.append(FoundVersion(number, ready, is_default, said=said))
        models.append(FoundModel(name, versions))
    lacks = [
        "TorchServe gives no files and no digests: versions are registered as opaque.",
        "TorchServe does not say what a model takes and gives: rows have to be given for each model.",
    ]
    return FoundEngine("torchserve", release, models, lacks)


def _pages(management: HostAddress) -> list[Mapping[str, Any]]:
    """All models, over the pages of the management API."""
    found: list[Mapping[str, Any]] = []
    token = ""
    while True:
        params = {"limit": "100", **({"next_page_token": token} if token else {})}
        answer = call(management, "GET", "/models", seconds=READ_SECONDS, params=params, accept=ANSWERS)
        page = _granted(answer)
        found += page.get("models", [])
        token = str(page.get("nextPageToken") or "")
        if not token or len(found) > 10_000:
            return found


def _listed(management: HostAddress, path: str) -> list[Mapping[str, Any]]:
    value = _maybe(management, "GET", path)
    return value if isinstance(value, list) else []


def _describe(address: HostAddress, path: str, version: FoundVersion) -> None:
    metadata = _maybe(address, "GET", path)
    version.signature = _signature(metadata)
    if isinstance(metadata, dict):
        version.said["metadata"] = metadata
        version.said["platform"] = str(metadata.get("platform", ""))


def _signature(metadata: Any) -> dict[str, list[dict[str, Any]]] | None:
    """Inputs and outputs as the Open Inference Protocol describes them: name, datatype, shape. None without either."""
    if not isinstance(metadata, dict):
        return None
    sides = {
        side: [
            {"name": str(one["name"]), "datatype": str(one["datatype"]), "shape": list(one.get("shape", [-1]))}
            for one in metadata.get(side) or ()
            if isinstance(one, dict) and "name" in one and "datatype" in one
        ]
        for side in ("inputs", "outputs")
    }
    return sides if all(sides.values()) else None


def _index(address: HostAddress) -> list[Mapping[str, Any]]:
    answer = call(address, "POST", "/v2/repository/index", seconds=READ_SECONDS, content=b"{}", headers=JSON)
    value = answer.json()
    if not isinstance(value, list) or not all(isinstance(one, dict) and "name" in one for one in value):
        raise ServingError("The engine's index can't be understood.")
    return value


def _maybe(address: HostAddress, method: str, path: str) -> Any:
    """The JSON of a 200; None for any other answer. Raises HostUnreachable."""
    try:
        answer = call(address, method, path, seconds=READ_SECONDS, accept=ANSWERS)
        return answer.json() if answer.status == 200 else None
    except (Refused, OutcomeUnknown):
        return None
    except ServingError as error:
        if type(error) is ServingError:
            return None
        raise


def _status(address: HostAddress, path: str) -> int:
    return call(address, "GET", path, seconds=READ_SECONDS, accept=ANSWERS).status


def _granted(answer: HttpAnswer) -> Any:
    return answer.granted(_reason).json()


def _reason(refused: HttpAnswer) -> str:
    """The engine's own sentence, or the beginning of what it sent."""
    try:
        said = refused.json()
    except ServingError:
        said = None
    sentence = (said.get("message") or said.get("error")) if isinstance(said, dict) else None
    return str(sentence or refused.data.decode(errors="replace"))[:300]
