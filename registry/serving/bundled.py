"""The driver of Lastgood's own host. docs/host.md describes the wire."""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

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
    Share,
    Source,
    VersionState,
)
from registry.serving.http import MissingBlobs, Tail, call
from registry.serving.mirrored import read_shadow
from registry.serving.open_inference import datatype_of, dump, samples

logger = logging.getLogger(__name__)

OBSERVE_SECONDS = 5.0
INFER_SECONDS = 10.0
SWITCH_SECONDS = 10.0
UNLOAD_SECONDS = 45.0
LOAD_SECONDS = 600.0
STAGE_SECONDS = 600.0
AT_REST_SECONDS = 1.0
FETCH_SECONDS = 600.0
"""So long is waited for the next byte of a file that a host fetches: it gives up earlier itself."""


def _version(name: str, value: Mapping[str, Any]) -> VersionState:
    loaded = value["loaded_digest"]
    return VersionState(
        version=name,
        digest=str(value["digest"]),
        state=str(value["state"]),
        loaded_digest=None if loaded is None else str(loaded),
        in_flight=int(value["in_flight"]),
        requests=int(value["requests"]),
        failures=int(value["failures"]),
        memory_bytes=None if value["bytes"] is None else int(value["bytes"]),
        reason=str(value["reason"]),
    )


def _model(value: Mapping[str, Any]) -> ModelObservation:
    default, share = value["default"], value.get("share")
    return ModelObservation(
        default_version=None if default is None else str(default["version"]),
        default_digest=None if default is None else str(default["digest"]),
        fence=int(value["fence"]),
        versions={name: _version(name, version) for name, version in value["versions"].items()},
        in_service=bool(value.get("in_service", True)),
        share=Share(str(share["version"]), str(share["digest"]), int(share["percent"])) if share else None,
        shadow=read_shadow(value["shadow"]) if value.get("shadow") else None,
    )


class BundledDriver:
    """`ServingDriver` for the bundled host."""

    capabilities = Capabilities(
        warm_switch=True,
        versioned_inference=True,
        digest_read_back=True,
        fencing=True,
        warm_undo=True,
        drain=True,
        weighted_traffic=True,
        shadow=True,
        counts_by_version=True,
        probes_apart=True,
    )
    options: Mapping[str, str] = {}

    def observe(self, address: HostAddress) -> Observation:
        observed_at = datetime.now(UTC)
        value = call(address, "GET", "/lastgood/v1/state", seconds=OBSERVE_SECONDS).json()
        try:
            return Observation(
                host=str(value["host"]),
                boot_id=str(value["boot_id"]),
                observed_at=observed_at,
                models={name: _model(model) for name, model in value["models"].items()},
                memory_total=int(value["memory"]["total"]),
                memory_free=int(value["memory"]["free"]),
                device=str(value["device"]),
                fetches=bool(value.get("fetch_networks")),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ServingError(f"The host's state can't be understood: {error!r}.") from error

    def stage(self, address: HostAddress, model: str, version: str, manifest: bytes, blobs: Mapping[str, Path]) -> None:
        wanted = [sha256 for sha256 in blobs if not self._has_blob(address, sha256)]
        self._put_blobs(address, wanted, blobs)
        path = f"/lastgood/v1/models/{model}/versions/{version}"
        try:
            call(address, "PUT", path, seconds=STAGE_SECONDS, content=manifest)
        except MissingBlobs as refusal:
            # The host drops a blob that has been damaged on its disk when it checks the manifest's files.
            if not set(refusal.missing) <= set(blobs):
                raise
            self._put_blobs(address, refusal.missing, blobs)
            call(address, "PUT", path, seconds=STAGE_SECONDS, content=manifest)

    def fetch(self, address: HostAddress, sha256: str, size: int, sources: Callable[[], Sequence[Source]]) -> bool:
        path, before = f"/lastgood/v1/blobs/{sha256}/fetch", -1
        while (come := self._come_to_rest(address, sha256)) is not None:
            if come <= before:
                return False
            before = come
            wish = {"size": size, "from": [{"url": source.url, "token": source.token} for source in sources()]}
            try:
                call(address, "POST", path, seconds=OBSERVE_SECONDS, content=dump(wish))
            except Refused as refusal:
                logger.info("host.fetch.refused host=%s reason=%s", address.url, refusal.detail)
                return False
            self._until_fetched(address, sha256)
        return True

    def _until_fetched(self, address: HostAddress, sha256: str) -> None:
        """Until the host no longer fetches: it has the file, or said why not."""
        last, moved, pause = -1, time.monotonic(), 0.05
        while (found := self._standing(address, sha256))["fetching"]:
            if found["offset"] != last:
                last, moved = found["offset"], time.monotonic()
            elif time.monotonic() - moved > FETCH_SECONDS:
                return
            time.sleep(pause)
            pause = min(1.0, pause * 1.5)
        if not found["whole"]:
            logger.warning("host.fetch.failed host=%s sha256=%s reason=%s", address.url, sha256, found["failed"])

    def _has_blob(self, address: HostAddress, sha256: str) -> bool:
        path = f"/lastgood/v1/blobs/{sha256}"
        return call(address, "HEAD", path, seconds=OBSERVE_SECONDS, accept=(404,)).status == 200

    def _put_blobs(self, address: HostAddress, wanted: Iterable[str], blobs: Mapping[str, Path]) -> None:
        for sha256 in wanted:
            self._put_blob(address, sha256, blobs[sha256])

    def _put_blob(self, address: HostAddress, sha256: str, source: Path) -> None:
        """Send a file from where the host has it. A call that broke is gone on with while more and more arrives.

        Of several senders of one file, such as a run and a rehearsal, the last goes on and the others wait for it.
        """
        path, before = f"/lastgood/v1/blobs/{sha256}", -1
        while (offset := self._come_to_rest(address, sha256)) is not None:
            try:
                place = f"{path}/from/{offset}" if offset else path
                call(address, "PUT", place, seconds=STAGE_SECONDS, content=Tail(source, offset))
                return
            except OutcomeUnknown:
                if offset <= before:
                    raise
                before = offset
            except Refused as refusal:
                # The host has thrown away what had come, which was damaged: once more, and then from the start.
                thrown_away = offset and refusal.type == "digest-mismatch"
                if not thrown_away and refusal.type != "superseded":
                    raise

    def _come_to_rest(self, address: HostAddress, sha256: str) -> int | None:
        """What `_come` tells, once no other sender adds to it: to relieve one that is at work helps nobody."""
        last, come = None, self._come(address, sha256)
        while come and come != last:
            time.sleep(AT_REST_SECONDS)
            last, come = come, self._come(address, sha256)
        return come

    def _come(self, address: HostAddress, sha256: str) -> int | None:
        """How many bytes of a file the host has of earlier calls; None for the whole of it."""
        found = self._standing(address, sha256)
        return None if found["whole"] else int(found["offset"])

    def _standing(self, address: HostAddress, sha256: str) -> dict[str, Any]:
        path = f"/lastgood/v1/blobs/{sha256}/upload"
        answer = call(address, "GET", path, seconds=OBSERVE_SECONDS, accept=(404,))
        found = {} if answer.status == 404 else answer.json()
        try:
            return {
                "whole": bool(found.get("whole")),
                "offset": int(found.get("offset", 0)),
                "fetching": bool(found.get("fetching")),
                "failed": str(found.get("failed", "")),
            }
        except (AttributeError, TypeError, ValueError) as error:
            raise ServingError(f"The host's answer can't be understood: {error!r}.") from error

    def load(self, address: HostAddress, model: str, version: str) -> None:
        call(address, "POST", f"/lastgood/v1/models/{model}/versions/{version}/load", seconds=LOAD_SECONDS)

    def infer(
        self,
        address: HostAddress,
        model: str,
        inputs: Mapping[str, Sequence[Any]],
        version: str | None = None,
        request_id: str = "",
    ) -> Prediction:
        path = f"/v2/models/{model}/infer" if version is None else f"/v2/models/{model}/versions/{version}/infer"
        columns = [
            {"name": name, "shape": [len(values)], "datatype": datatype_of(name, values), "data": list(values)}
            for name, values in inputs.items()
        ]
        request = {"id": request_id, "inputs": columns, "parameters": {"log": False}}
        answer = call(address, "POST", path, seconds=INFER_SECONDS, content=dump(request))
        value = answer.json()
        try:
            return Prediction(
                version=str(value["model_version"]),
                digest=str(value["parameters"]["digest"]),
                outputs={str(output["name"]): list(output["data"]) for output in value["outputs"]},
                latency_ms=answer.seconds * 1000,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ServingError(f"The host's prediction can't be understood: {error!r}.") from error

    def switch(self, address: HostAddress, model: str, version: str, digest: str, fence: int) -> None:
        body = dump({"version": version, "digest": digest, "fence": fence})
        call(address, "POST", f"/lastgood/v1/models/{model}/default", seconds=SWITCH_SECONDS, content=body)

    def set_service(self, address: HostAddress, model: str, serving: bool, fence: int) -> None:
        body = dump({"serving": serving, "fence": fence})
        call(address, "POST", f"/lastgood/v1/models/{model}/service", seconds=SWITCH_SECONDS, content=body)

    def share(self, address: HostAddress, model: str, version: str, digest: str, percent: int, fence: int) -> None:
        body = dump({"version": version, "digest": digest, "percent": percent, "fence": fence})
        call(address, "POST", f"/lastgood/v1/models/{model}/share", seconds=SWITCH_SECONDS, content=body)

    def mirror(
        self,
        address: HostAddress,
        model: str,
        version: str,
        digest: str,
        percent: int,
        seconds: float,
        tolerance: float,
        fence: int,
    ) -> None:
        wish = {"percent": percent, "seconds": seconds, "tolerance": tolerance}
        body = dump({"version": version, "digest": digest, "fence": fence, **wish})
        call(address, "POST", f"/lastgood/v1/models/{model}/shadow", seconds=SWITCH_SECONDS, content=body)

    def end_mirror(self, address: HostAddress, model: str, fence: int) -> None:
        body = dump({"end": True, "fence": fence})
        call(address, "POST", f"/lastgood/v1/models/{model}/shadow", seconds=SWITCH_SECONDS, content=body)

    def unload(self, address: HostAddress, model: str, version: str) -> None:
        call(address, "POST", f"/lastgood/v1/models/{model}/versions/{version}/unload", seconds=UNLOAD_SECONDS)

    def calls(self, url: str, options: Mapping[str, str], act: Act) -> list[Call]:
        model = f"{url}/lastgood/v1/models/{act.model}"
        version = f"{model}/versions/{act.version}"
        fence = f"fence {act.fence}"
        named = f"version {act.version}, digest {act.digest[:12]}, {fence}"
        return {
            "stage": [
                Call("PUT", f"{url}/lastgood/v1/blobs/…", "each file that the host lacks"),
                Call("PUT", version, f"the manifest {act.digest[:12]}"),
            ],
            "load": [Call("POST", f"{version}/load")],
            "unload": [Call("POST", f"{version}/unload")],
            "switch": [Call("POST", f"{model}/default", named)],
            "share": [Call("POST", f"{model}/share", f"{act.percent} %, {named}")],
            "shadow": [Call("POST", f"{model}/shadow", f"{act.percent} %, {named}")],
            "drain": [Call("POST", f"{model}/service", f"serving false, {fence}")],
            "bring_back": [Call("POST", f"{model}/service", f"serving true, {fence}")],
            "golden": [Call("POST", f"{url}/v2/models/{act.model}/versions/{act.version}/infer", "the golden inputs")],
            "postcheck": [Call("POST", f"{url}/v2/models/{act.model}/infer", "the golden inputs")],
        }[act.name]

    def by_hand(self, url: str, options: Mapping[str, str], goal: Goal, fence: int) -> list[str]:
        model = f"{url}/lastgood/v1/models/{goal.model}"
        version = f"{model}/versions/{goal.number}"
        named = f'{{"version": "{goal.number}", "digest": "{goal.digest}", "fence": {fence}}}'
        auth = '-H "Authorization: Bearer $TOKEN"'
        puts = [
            f"curl -fsS -o /dev/null -I {auth} {url}/lastgood/v1/blobs/{sha256} || "
            f"curl -fsS -X PUT {auth} -T {shlex.quote(place)} {url}/lastgood/v1/blobs/{sha256}"
            for sha256, place in goal.files
        ]
        return [
            "# TOKEN: the control token of this host",
            *puts,
            f"curl -fsS -X PUT {auth} -T {shlex.quote(goal.manifest)} {version}",
            f"{POST} {auth} {version}/load",
            f"{POST} {auth} -H 'Content-Type: application/json' -d {shlex.quote(named)} {model}/default",
            f"# what it answers with now: {goal.digest}",
            f"curl -fsS {auth} {url}/lastgood/v1/state",
        ]

    def metrics(self, address: HostAddress) -> dict[str, float]:
        return samples(call(address, "GET", "/metrics", seconds=OBSERVE_SECONDS).data)
