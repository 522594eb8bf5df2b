"""The ASGI application: the Open Inference Protocol v2, and what rollback needs beside it."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import Counter
from collections.abc import MutableMapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from host import control
from host.device import pick_device
from host.fetching import Fetches
from host.fleet import Fleet, Slot
from host.metrics import render
from host.predictions import PredictionLog
from host.problems import Problem
from host.requests import Answer, Disconnected, Receive, Send, as_json, body, check_token, parse, problem, respond
from host.settings import Settings
from host.store import Store
from host.version import check_columns

log = logging.getLogger("lastgood.host")
MAX_INFERENCE_BYTES = 16 * 2**20
INLINE_MS = 2.0


class Host:
    """One host process; an instance is the ASGI application."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.boot_id = str(uuid.uuid4())
        self.started_at = datetime.now(UTC)
        self.store = Store(settings.state)
        self.fetches = Fetches(self.store, settings.fetch_networks, settings.max_blob_bytes)
        self.fleet = Fleet(self.store, pick_device())
        self.predictions = PredictionLog(settings, self.store.spool)
        self.pool = ThreadPoolExecutor(2, "inference")
        self.refused: Counter[tuple[str, int]] = Counter()
        self.loading: asyncio.Task[None] | None = None
        self.defaults_loaded = False

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            try:
                answer = await self._route(scope, receive)
            except Problem as error:
                self._count_refusal(scope["path"].strip("/").split("/"), error.status)
                answer = problem(error)
            except Disconnected:
                return
            except Exception:
                log.exception("%s %s failed", scope["method"], scope["path"])
                answer = problem(Problem(500, "internal", "The host failed on this request; its log says why."))
            await respond(send, answer)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        self.predictions.start()
        self.loading = asyncio.create_task(self._load_defaults())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.to_thread(self.predictions.close)
        await asyncio.to_thread(self.fetches.close)
        self.fleet.shadows.close()
        self.store.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _load_defaults(self) -> None:
        await self.fleet.load_defaults()
        self.defaults_loaded = True

    @property
    def ready(self) -> bool:
        return self.defaults_loaded and self.fleet.ready

    async def _route(self, scope: MutableMapping[str, Any], receive: Receive) -> Answer:
        method, path = scope["method"], scope["path"].strip("/").split("/")
        match method, path:
            case "POST", ["v2", "models", model, "infer"]:
                return await self._infer(receive, model, None)
            case "POST", ["v2", "models", model, "versions", version, "infer"]:
                return await self._infer(receive, model, version)
            case "GET", ["v2", *rest]:
                return self._describe(rest)
            case "GET", ["metrics"]:
                return 200, "text/plain; version=0.0.4; charset=utf-8", self._metrics()
            case _, ["v2", "repository", *rest]:
                check_token(scope, self.settings.token)
                return await control.repository(self, method, rest, receive)
            case _, ["lastgood", "v1", *rest]:
                check_token(scope, self.settings.token)
                return await control.lastgood(self, method, rest, receive)
        raise Problem(404, "not-found", f"There is no {method} {scope['path']} here.")

    def _count_refusal(self, path: list[str], status: int) -> None:
        """Of a model that this host does not know, the name is not kept: anybody can send any number of them."""
        if path[:2] == ["v2", "models"] and path[-1] == "infer":
            self.refused[path[2] if path[2] in self.fleet.models else "", status] += 1

    def _metrics(self) -> bytes:
        return render(self.fleet, self.predictions, self.refused).encode()

    def _describe(self, path: list[str]) -> Answer:
        match path:
            case []:
                return as_json({"name": "lastgood-host", "version": "1", "extensions": ["model_repository"]})
            case ["health", "live"]:
                return as_json({"live": True})
            case ["health", "ready"]:
                if not self.ready:
                    raise Problem(503, "not-ready", "The defaults of this host are not loaded.")
                return as_json({"ready": True})
            case ["models", model, "ready"]:
                self.fleet.answering(model, None)
                if self.fleet.model(model).pointer.out:
                    raise Problem(503, "out-of-service", f"{model} was taken out of service on this host.")
                return as_json({"name": model, "ready": True})
            case ["models", model, "versions", version, "ready"]:
                self.fleet.answering(model, version)
                return as_json({"name": model, "version": version, "ready": True})
            case ["models", model]:
                found = self.fleet.model(model)
                slot = found.default_slot() or next(iter(found.slots.values()))
                return self._metadata(model, slot, [s.version for s in found.slots.values() if s.state == "ready"])
            case ["models", model, "versions", version]:
                return self._metadata(model, self.fleet.slot(model, version), [version])
        raise Problem(404, "not-found", f"There is no GET /v2/{'/'.join(path)} here.")

    def _metadata(self, model: str, slot: Slot, versions: list[str]) -> Answer:
        def tensors(signature: dict[str, str]) -> list[dict[str, Any]]:
            return [{"name": name, "datatype": kind, "shape": [-1]} for name, kind in signature.items()]

        return as_json(
            {
                "name": model,
                "versions": versions,
                "platform": "lastgood_torch",
                "inputs": tensors(slot.manifest.inputs),
                "outputs": tensors(slot.manifest.outputs),
            }
        )

    async def _infer(self, receive: Receive, model: str, version: str | None) -> Answer:
        data = await body(receive, MAX_INFERENCE_BYTES)
        started = time.perf_counter()
        request = parse(data)
        if not isinstance(request, dict):
            raise Problem(400, "bad-request", "The body must be a JSON object.")
        id_ = _checked_id(request)
        slot = self.fleet.answering(model, version) if version else self.fleet.chosen(model, id_)
        loaded = slot.loaded
        assert loaded is not None
        columns = check_columns(loaded.signature, request)
        rows = len(next(iter(columns.values())))
        ids, probe = _identify(request, id_, rows)
        failed = "CancelledError"
        slot.enter()
        try:
            # Short answers are computed here: a hand-over to another thread costs more than they do.
            if loaded.row_ms * rows < INLINE_MS:
                answer = loaded.answer(columns)
            else:
                answer = await asyncio.get_running_loop().run_in_executor(self.pool, loaded.answer, columns)
            failed = ""
        except Exception as error:
            failed = type(error).__name__
            raise
        finally:
            slot.leave()
            slot.counters.count(time.perf_counter() - started, failed=failed, probe=probe)
        if not probe:
            self.predictions.add(loaded, ids, columns, answer)
            slot.recent.add(columns, answer)
            if version is None:
                self.fleet.shadows.offer(model, loaded.digest, ids[0], request, answer)
        return as_json(
            {
                "model_name": model,
                "model_version": loaded.version,
                "id": request.get("id") or ids[0],
                "outputs": answer.outputs,
                "parameters": {"digest": loaded.digest, "latency_ms": round(answer.latency_ms, 4)},
            }
        )


def _checked_id(request: dict[str, Any]) -> str | None:
    """The id that the request brings, if any."""
    id_ = request.get("id")
    if not id_:
        return None
    if not isinstance(id_, str) or len(id_) > 200:
        raise Problem(400, "bad-request", "The request's 'id' must be a text of at most 200 characters.", field="id")
    try:
        id_.encode()
    except UnicodeEncodeError:
        raise Problem(400, "bad-request", "The request's 'id' has half a character; send UTF-8.", field="id") from None
    return id_


def _identify(request: dict[str, Any], id_: str | None, rows: int) -> tuple[list[str], bool]:
    """The ids of the request's rows, and whether it is a probe (`"parameters": {"log": false}`).

    A row's id is the request's id; in a request of several rows it is followed by a colon and the row's index.
    """
    id_ = id_ or str(uuid.uuid4())
    parameters = request.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise Problem(400, "bad-request", "The request's 'parameters' must be an object.", field="parameters")
    ids = [id_] if rows == 1 else [f"{id_}:{row}" for row in range(rows)]
    return ids, parameters.get("log") is False
