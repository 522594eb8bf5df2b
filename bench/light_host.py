"""The smallest process that speaks the bundled host's wire protocol: `python -m bench.light_host PORT NAME TOKEN`.

It holds no model: a version that is loaded takes `load_seconds` to be so, and answers every row with zeros. What a run
asks of a host is answered as the bundled host does: staging by digest, loading, fenced switching, reading back. Beside
that, `POST /bench/forget` takes every version but the default out of memory and sets the load time.
"""

import asyncio
import hashlib
import json
import sys
import uuid
from dataclasses import dataclass, field
from typing import Any

Answer = tuple[int, Any]


@dataclass
class Version:
    digest: str
    state: str = "staged"
    requests: int = 0

    def shown(self) -> dict[str, Any]:
        ready = self.state == "ready"
        return {
            "digest": self.digest,
            "state": self.state,
            "loaded_digest": self.digest if ready else None,
            "bytes": 1 if ready else None,
            "in_flight": 0,
            "requests": self.requests,
            "failures": 0,
            "reason": "",
        }


@dataclass
class Model:
    versions: dict[str, Version] = field(default_factory=dict)
    default: str = ""
    fence: int = 0
    outputs: dict[str, str] = field(default_factory=dict)

    def shown(self) -> dict[str, Any]:
        default = {"version": self.default, "digest": self.versions[self.default].digest} if self.default else None
        versions = {name: version.shown() for name, version in self.versions.items()}
        return {"default": default, "fence": self.fence, "versions": versions}


class LightHost:
    def __init__(self, name: str, token: str) -> None:
        self.name, self.token = name, token
        self.boot_id = str(uuid.uuid4())
        self.load_seconds = 0.0
        self.models: dict[str, Model] = {}
        self.blobs: set[str] = set()

    async def answer(self, method: str, path: list[str], authorised: bool, body: bytes) -> Answer:
        match method, path:
            case "POST", ["v2", "models", model, "infer"]:
                return self._infer(self.models[model], self.models[model].default, body)
            case "POST", ["v2", "models", model, "versions", version, "infer"]:
                return self._infer(self.models[model], version, body)
            case "GET", ["v2", "health", "ready"]:
                return 200, {"ready": True}
        if not authorised:
            return 401, {"type": "unauthorised", "detail": "The control token is missing or wrong."}
        match method, path:
            case "GET", ["lastgood", "v1", "state"]:
                return 200, self._state()
            case "HEAD", ["lastgood", "v1", "blobs", sha256]:
                return (200 if sha256 in self.blobs else 404), None
            case "PUT", ["lastgood", "v1", "blobs", sha256]:
                return self._keep(sha256, body)
            case "PUT", ["lastgood", "v1", "models", model, "versions", version]:
                return self._stage(model, version, body)
            case "POST", ["lastgood", "v1", "models", model, "versions", version, "load"]:
                return await self._load(self.models[model].versions[version])
            case "POST", ["lastgood", "v1", "models", model, "versions", version, "unload"]:
                self.models[model].versions[version].state = "staged"
                return 200, self.models[model].versions[version].shown()
            case "POST", ["lastgood", "v1", "models", model, "default"]:
                return self._switch(self.models[model], json.loads(body))
            case "POST", ["bench", "forget"]:
                return self._forget(json.loads(body)["load_seconds"])
        return 404, {"type": "not-found", "detail": f"There is no {method} /{'/'.join(path)} here."}

    def _state(self) -> dict[str, Any]:
        return {
            "host": self.name,
            "boot_id": self.boot_id,
            "device": "none",
            "memory": {"total": 2**30, "used": 0, "free": 2**30},
            "models": {name: model.shown() for name, model in self.models.items()},
        }

    def _keep(self, sha256: str, body: bytes) -> Answer:
        if hashlib.sha256(body).hexdigest() != sha256:
            return 422, {"type": "artifact-refused", "detail": "These bytes have another SHA-256."}
        self.blobs.add(sha256)
        return 201, {"sha256": sha256}

    def _stage(self, name: str, version: str, manifest: bytes) -> Answer:
        model = self.models.setdefault(name, Model())
        model.outputs = {entry["name"]: entry["datatype"] for entry in json.loads(manifest)["signature"]["outputs"]}
        staged = model.versions.setdefault(version, Version(hashlib.sha256(manifest).hexdigest()))
        return 200, staged.shown()

    async def _load(self, version: Version) -> Answer:
        if version.state != "ready":
            version.state = "loading"
            await asyncio.sleep(self.load_seconds)
            version.state = "ready"
        return 200, version.shown()

    def _switch(self, model: Model, asked: dict[str, Any]) -> Answer:
        if asked["fence"] < model.fence:
            return 409, {"type": "stale-fence", "detail": f"The fence {model.fence} was seen already."}
        version = model.versions[asked["version"]]
        if version.state != "ready" or version.digest != asked["digest"]:
            return 409, {"type": "not-ready", "detail": f"Version {asked['version']} is {version.state}."}
        model.fence, model.default = asked["fence"], asked["version"]
        return 200, model.shown()

    def _forget(self, load_seconds: float) -> Answer:
        self.load_seconds = load_seconds
        for model in self.models.values():
            for name, version in model.versions.items():
                if name != model.default:
                    version.state = "staged"
        return 200, {}

    def _infer(self, model: Model, name: str, body: bytes) -> Answer:
        asked, version = json.loads(body), model.versions[name]
        if version.state != "ready":
            return 503, {"type": "not-ready", "detail": f"Version {name} is {version.state}."}
        rows = len(asked["inputs"][0]["data"])
        version.requests += asked.get("parameters", {}).get("log") is not False
        outputs = [
            {"name": output, "shape": [rows], "datatype": datatype, "data": [0] * rows}
            for output, datatype in model.outputs.items()
        ]
        parameters = {"digest": version.digest, "latency_ms": 0.0}
        return 200, {"model_name": "", "model_version": name, "outputs": outputs, "parameters": parameters}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, request after request."""
        try:
            while line := await reader.readline():
                method, target, _ = line.decode().split(" ")
                headers = await _headers(reader)
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                path = target.split("?")[0].strip("/").split("/")
                authorised = headers.get("authorization") == f"Bearer {self.token}"
                status, value = await self.answer(method, path, authorised, body)
                data = b"" if value is None else json.dumps(value).encode()
                kind = "application/json" if status < 400 else "application/problem+json"
                head = f"HTTP/1.1 {status} -\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n\r\n"
                writer.write(head.encode() + data)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def _headers(reader: asyncio.StreamReader) -> dict[str, str]:
    found = {}
    while line := (await reader.readline()).strip():
        name, _, value = line.decode().partition(":")
        found[name.lower()] = value.strip()
    return found


async def main() -> None:
    host = LightHost(sys.argv[2], sys.argv[3])
    server = await asyncio.start_server(host.serve, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
