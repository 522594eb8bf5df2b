"""The control side: staging, loading, switching and reading back. Every call here has shown the control token."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from host import shadow
from host.device import gpus, memory
from host.fleet import Model, Slot
from host.manifest import NAME, SHA256
from host.problems import Problem
from host.requests import Answer, Receive, as_json, body, parse_object
from host.store import Target
from host.uploads import receive_blob

if TYPE_CHECKING:
    from host.app import Host

MAX_CONTROL_BYTES = 2**20
MAX_READ_BYTES = 32 * 2**20
REPOSITORY_STATES = {"ready": "READY", "loading": "LOADING", "draining": "UNLOADING"}


async def lastgood(host: Host, method: str, path: list[str], receive: Receive) -> Answer:
    """Answer a request below /lastgood/v1/."""
    match method, path:
        case "GET", ["state"]:
            return as_json(await state(host))
        case "HEAD", ["blobs", sha256]:
            return (200 if host.store.blob(_sha256(sha256)).exists() else 404), "application/octet-stream", b""
        case "PUT", ["blobs", sha256]:
            new = await receive_blob(receive, host.store, _sha256(sha256), host.settings.max_blob_bytes)
            return as_json({"sha256": sha256}, 201 if new else 200)
        case "PUT", ["blobs", sha256, "from", offset]:
            limit = host.settings.max_blob_bytes
            new = await receive_blob(receive, host.store, _sha256(sha256), limit, _offset(offset))
            return as_json({"sha256": sha256}, 201 if new else 200)
        case "GET", ["blobs", sha256, "upload"]:
            return as_json(host.fetches.standing(_sha256(sha256)))
        case "POST", ["blobs", sha256, "fetch"]:
            wish = parse_object(await body(receive, MAX_CONTROL_BYTES))
            found = host.fetches.begin(_sha256(sha256), wish)
            return as_json(found, 200 if found["whole"] else 202)
        case "GET", ["blobs", sha256]:
            return 200, "application/octet-stream", _stored(host.store.blob(_sha256(sha256)))
        case "GET", ["models", model, "versions", version]:
            host.fleet.slot(model, version)
            return 200, "application/json", host.store.manifest(model, version)
        case "GET", ["models", model, "versions", version, "recent"]:
            slot = host.fleet.slot(model, version)
            return as_json({"digest": slot.digest} | slot.recent.to_json())
        case "PUT", ["models", model, "versions", version]:
            data = await body(receive, MAX_CONTROL_BYTES)
            new = await host.fleet.stage(_name(model), _name(version), data)
            return as_json(await describe(host, host.fleet.slot(model, version)), 201 if new else 200)
        case "POST", ["models", model, "versions", version, "load"]:
            return as_json(await describe(host, await host.fleet.load(model, version)))
        case "POST", ["models", model, "versions", version, "unload"]:
            return as_json(await describe(host, await host.fleet.unload(model, version)))
        case "POST", ["models", model, "default"]:
            target, fence = _target(parse_object(await body(receive, MAX_CONTROL_BYTES)))
            return as_json(steered(host, await host.fleet.switch(model, target, fence)))
        case "POST", ["models", model, "service"]:
            serving, fence = _service(parse_object(await body(receive, MAX_CONTROL_BYTES)))
            return as_json(steered(host, await host.fleet.set_service(model, serving, fence)))
        case "POST", ["models", model, "share"]:
            value = parse_object(await body(receive, MAX_CONTROL_BYTES))
            (target, fence), percent = _target(value), _percent(value)
            return as_json(steered(host, await host.fleet.share(model, target, percent, fence)))
        case "POST", ["models", model, "shadow"]:
            value = parse_object(await body(receive, MAX_CONTROL_BYTES))
            if value.get("end") is True:
                return as_json(steered(host, await shadow.end(host.fleet, model, _fence(value.get("fence")))))
            (target, fence), asked = _target(value), shadow.wish(value)
            return as_json(steered(host, await shadow.begin(host.fleet, model, target, asked, fence)))
    raise Problem(404, "not-found", f"There is no {method} /lastgood/v1/{'/'.join(path)} here.")


async def repository(host: Host, method: str, path: list[str], receive: Receive) -> Answer:
    """Answer the Open Inference Protocol's repository extension. Load and unload take `parameters.version`."""
    match method, path:
        case "POST", ["index"]:
            only_ready = parse_object(await body(receive, MAX_CONTROL_BYTES)).get("ready") is True
            slots = [(m.name, slot) for m in host.fleet.models.values() for slot in m.slots.values()]
            return as_json([_entry(name, slot) for name, slot in slots if slot.state == "ready" or not only_ready])
        case "POST", ["models", model, "load"]:
            await host.fleet.load(model, await _chosen(host, model, receive))
            return 200, "application/json", b""
        case "POST", ["models", model, "unload"]:
            await host.fleet.unload(model, await _chosen(host, model, receive))
            return 200, "application/json", b""
    raise Problem(404, "not-found", f"There is no {method} /v2/repository/{'/'.join(path)} here.")


async def _chosen(host: Host, model: str, receive: Receive) -> str:
    parameters = parse_object(await body(receive, MAX_CONTROL_BYTES)).get("parameters")
    version = parameters.get("version") if isinstance(parameters, dict) else None
    slots = list(host.fleet.model(model).slots)
    if version is None and len(slots) == 1:
        return slots[0]
    if not isinstance(version, str):
        raise Problem(400, "bad-request", f"{model} has {len(slots)} versions here; say which in parameters.version.")
    return version


def _entry(name: str, slot: Slot) -> dict[str, str]:
    entry = {"name": name, "version": slot.version, "state": REPOSITORY_STATES.get(slot.state, "UNAVAILABLE")}
    return {**entry, "reason": slot.reason} if slot.reason else entry


def _sha256(text: str) -> str:
    if not SHA256.fullmatch(text):
        raise Problem(400, "bad-request", "A blob is named by 64 lowercase hexadecimal digits.")
    return text


def _offset(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise Problem(400, "bad-request", "The number of bytes to go on from must be a whole number.")
    return int(text)


def _stored(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_READ_BYTES:
            raise Problem(413, "too-large", f"Files above {MAX_READ_BYTES} bytes are not given out; copy them instead.")
        return path.read_bytes()
    except FileNotFoundError:
        raise Problem(404, "not-found", "This host has no such file.") from None


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise Problem(400, "bad-request", f"{text!r} can't be a name: use letters, digits, '.', '_' and '-'.")
    return text


def _target(value: dict[str, Any]) -> tuple[Target, int]:
    version, digest, fence = value.get("version"), value.get("digest"), value.get("fence")
    if not isinstance(version, str) or not isinstance(digest, str) or not SHA256.fullmatch(digest):
        raise Problem(400, "bad-request", "A switch needs 'version', a text, and 'digest', 64 hexadecimal digits.")
    return Target(version, digest), _fence(fence)


def _fence(fence: object) -> int:
    if type(fence) is not int or not 0 < fence < 2**63:
        raise Problem(400, "bad-request", "The call needs 'fence', a whole number greater than 0.")
    return fence


def _service(value: dict[str, Any]) -> tuple[bool, int]:
    serving = value.get("serving")
    if type(serving) is not bool:
        raise Problem(400, "bad-request", "The call needs 'serving', true or false.")
    return serving, _fence(value.get("fence"))


def _percent(value: dict[str, Any]) -> int:
    percent = value.get("percent")
    if type(percent) is not int or not 0 < percent < 100:
        raise Problem(400, "bad-request", "A share needs 'percent', a whole number from 1 to 99.")
    return percent


async def describe(host: Host, slot: Slot) -> dict[str, Any]:
    """A version as /lastgood/v1/state shows it; what is loaded is read back from memory."""
    loaded = slot.loaded
    reading = await host.fleet.read_back(loaded) if loaded else None
    found = reading.manifest if reading else None
    return {
        "digest": slot.digest,
        "state": slot.state,
        "loaded_digest": found.digest() if found else None,
        "read_back_at": datetime.fromtimestamp(reading.at, UTC).isoformat() if reading else None,
        "weights_sha256": found.files["weights"].sha256 if found else None,
        "bytes": loaded.bytes if loaded else None,
        "in_flight": slot.in_flight,
        "requests": slot.counters.requests,
        "failures": slot.counters.failures,
        "reason": slot.reason,
    }


async def describe_model(host: Host, model: Model) -> dict[str, Any]:
    """A model as /lastgood/v1/state shows it."""
    versions = {slot.version: await describe(host, slot) for slot in list(model.slots.values())}
    return steered(host, model) | {"versions": versions}


def steered(host: Host, model: Model) -> dict[str, Any]:
    """Where a model's unversioned requests go: the answer to whatever changes that. To read back what is in memory as
    well would take longer than the change."""
    default, share, mirrored = model.pointer.default, model.pointer.share, host.fleet.shadows.sessions.get(model.name)
    return {
        "default": default.to_json() if default else None,
        "fence": model.pointer.fence,
        "in_service": not model.pointer.out,
        "share": share.to_json() if share else None,
        "shadow": mirrored.to_json() if mirrored else None,
    }


async def state(host: Host) -> dict[str, Any]:
    """The whole answer of GET /lastgood/v1/state."""
    models = {model.name: await describe_model(host, model) for model in list(host.fleet.models.values())}
    return {
        "host": host.settings.name,
        "boot_id": host.boot_id,
        "started_at": host.started_at.isoformat().replace("+00:00", "Z"),
        "device": str(host.fleet.device),
        "gpu": gpus(),
        "fetch_networks": [str(network) for network in host.fetches.networks],
        "memory": memory(host.fleet.device),
        "models": models,
    }
