"""The driver of NVIDIA Triton (Open Inference Protocol with its model repository extension). docs/engines.md.

Triton answers unversioned requests with the highest version that is ready, and can neither load one version alone nor
name a default. So a version gets a folder with a number of our own, its slot, always below the slot that serves: it
can be loaded and asked by its number while ordinary requests go elsewhere, and becomes the default when the version
policy leaves out what lies above it. So a switch unloads the version that served; to be warm for the way back it is
staged and loaded once more, below. What the index or a 200 says is never evidence of that alone: each act is read back.
"""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
SETTLE_SECONDS = 8.0
FIRST_SLOT = 1_000_000_000
LAST_SLOT = 1
"""Triton's documentation says that it passes over folders whose names begin with a zero."""
CONFIG = "config.json"
STATES = {"READY": "ready", "LOADING": "loading", "UNLOADING": "draining"}
ANSWERS = (400, 404, 500, 501, 503)
"""Statuses with which Triton itself says no, with a reason in `error`."""


@dataclass(frozen=True)
class Slot:
    """One numbered folder: what is in it (None: not of ours), and what the index says of it."""

    number: int
    stored: Stored | None
    state: str
    reason: str

    @property
    def version(self) -> str:
        return self.stored.version if self.stored else f"slot {self.number}"

    @property
    def digest(self) -> str:
        """Of the manifest beside the files; "" where the files are not those that it names."""
        return self.stored.digest if self.stored and not self.stored.damage else ""


class TritonDriver:
    """`ServingDriver` for Triton in explicit model control mode."""

    capabilities = Capabilities(
        warm_switch=True,
        versioned_inference=True,
        digest_read_back=False,
        fencing=False,
        warm_undo=True,
        keeps_at_switch=False,
        counts_by_version=True,
    )
    options: Mapping[str, str] = {
        "repository": "the model repository, as the workers of Lastgood reach it (a mounted folder)",
        "metrics": "the address of Triton's metrics, such as http://gpu-1:8002",
    }

    def observe(self, address: HostAddress) -> Observation:
        observed_at = datetime.now(UTC)
        root = repository.root_of(address.options)
        index = self._index(address)
        models = {}
        for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
            slots = _slots(folder, index.get(folder.name, {}))
            if slots:
                models[folder.name] = self._model(address, folder.name, slots)
        return Observation(
            host=address.url,
            boot_id=f"triton {address.url}",
            observed_at=observed_at,
            models=models,
            memory_total=0,
            memory_free=0,
            device="",
        )

    def stage(self, address: HostAddress, model: str, version: str, manifest: bytes, blobs: Mapping[str, Path]) -> None:
        folder = repository.root_of(address.options) / model
        slots = _slots(folder, self._index(address).get(model, {}))
        serving = _serving(slots)
        for slot in slots:
            if _is(slot, version, manifest) and (slot.state == "ready" or serving is None or slot.number < serving):
                return
        _sweep(slots)
        if _below(folder, slots) < LAST_SLOT:
            self._make_room(address, model, folder, slots)

        def below() -> Path:
            number = _below(folder, _slots(folder, self._index(address).get(model, {})))
            if number < LAST_SLOT:
                raise Refused(409, "no-number", f"Below what serves of {model} no folder's number is free; try again.")
            return folder / str(number)

        # Triton loads a version again, at the next load of its model, once a file in its folder has changed.
        repository.write(folder, below, version, manifest, blobs, compiled=False)

    def load(self, address: HostAddress, model: str, version: str) -> None:
        slots, target = self._staged(address, model, version)
        if target.state == "ready":
            return
        if any(slot.state == "draining" for slot in slots):
            slots, target = self._drained(address, model, version)
        ready = [slot for slot in slots if slot.state == "ready"]
        if ready and target.number > min(slot.number for slot in ready):
            raise Refused(409, "would-take-traffic", f"Loading version {version} would make it the default; stage it.")
        for slot in ready:
            if slot.stored and slot.stored.json(CONFIG) != _stored(target).json(CONFIG):
                raise Refused(
                    409,
                    "config-differs",
                    f"Versions {version} and {slot.version} of {model} have different {CONFIG}, and Triton holds one "
                    "for all versions of a model. Give both the same, or serve the other as a model of its own.",
                )
        self._leave(address, model, target, [*ready, target])

    def switch(self, address: HostAddress, model: str, version: str, digest: str, fence: int) -> None:
        slots, target = self._staged(address, model, version)
        if target.digest != digest:
            raise Refused(409, "digest-mismatch", f"Version {version} is staged as {target.digest}, not as asked.")
        if target.state != "ready":
            raise Refused(409, "not-ready", f"Version {version} is {target.state}; load it before switching.")
        if any(slot.number > target.number for slot in slots if slot.state in ("ready", "loading")):
            self._leave(address, model, target, [slot for slot in slots if _stays(slot, target)])

    def unload(self, address: HostAddress, model: str, version: str) -> None:
        slots, target = self._staged(address, model, version)
        if target.state not in ("ready", "loading"):
            return
        if target.number == _serving(slots):
            raise Refused(409, "is-default", f"Version {version} answers ordinary requests; switch to another first.")
        rest = [slot for slot in slots if slot.state == "ready" and slot.number != target.number]
        self._leave(address, model, rest[0], rest)

    def infer(
        self,
        address: HostAddress,
        model: str,
        inputs: Mapping[str, Sequence[Any]],
        version: str | None = None,
        request_id: str = "",
    ) -> Prediction:
        slots = _slots(repository.root_of(address.options) / model, self._index(address).get(model, {}))
        path = f"/v2/models/{model}"
        if version is not None:
            path += f"/versions/{_find(slots, model, version).number}"
        metadata = call(address, "GET", path, seconds=READ_SECONDS, accept=ANSWERS).granted(_reason).json()
        body = dump({"id": request_id, "inputs": tensors(inputs, metadata)})
        answer = call(address, "POST", f"{path}/infer", seconds=INFER_SECONDS, content=body, accept=ANSWERS)
        given = answer.granted(_reason).json()
        try:
            by = {slot.number: slot for slot in slots}[int(given["model_version"])]
        except (KeyError, TypeError, ValueError) as error:
            raise ServingError(f"The host's prediction can't be understood: {error!r}.") from error
        return prediction(answer, by.version, by.digest)

    def calls(self, url: str, options: Mapping[str, str], act: Act) -> list[Call]:
        load = f"{url}/v2/repository/models/{act.model}/load"
        numbered = f"{url}/v2/models/{act.model}/versions/(its number there)/infer"
        return {
            "stage": repository.written(options, act),
            "load": [Call("POST", load, f"version policy: what is loaded, and version {act.version}")],
            "unload": [Call("POST", load, f"version policy: what is loaded, without version {act.version}")],
            "switch": [Call("POST", load, f"version policy: version {act.version}, without what lies above")],
            "golden": [Call("POST", numbered, "the golden inputs")],
            "postcheck": [Call("POST", f"{url}/v2/models/{act.model}/infer", "the golden inputs")],
        }[act.name]

    def by_hand(self, url: str, options: Mapping[str, str], goal: Goal, fence: int) -> list[str]:
        folder = f"{options.get('repository', 'REPOSITORY')}/{goal.model}"
        policy = "{parameters: {config: (.version_policy = {specific: {versions: [$n]}} | tojson)}}"
        return [
            "# the folder of this version: its number there is N",
            f'N=$(basename $(dirname $(sha256sum {folder}/*/{repository.MANIFEST} | awk \'$1 == "{goal.digest}" '
            "{print $2}' | head -1)))",
            f'test -f "{folder}/$N/{CONFIG}"',
            f'BODY=$(jq -c --argjson n "$N" {shlex.quote(policy)} "{folder}/$N/{CONFIG}")',
            f"{POST} -H 'Content-Type: application/json' -d \"$BODY\" {url}/v2/repository/models/{goal.model}/load",
            f"{POST} -d '{{}}' {url}/v2/repository/index",
        ]

    def metrics(self, address: HostAddress) -> dict[str, float]:
        return samples(call(address.beside("metrics"), "GET", "/metrics", seconds=READ_SECONDS).data)

    def _index(self, address: HostAddress) -> dict[str, dict[int, Mapping[str, Any]]]:
        """Model -> number -> the index's entry. A model that was never loaded has none."""
        answer = call(address, "POST", "/v2/repository/index", seconds=READ_SECONDS, content=b"{}", accept=(403,))
        answer = answer.granted(_reason)
        found: dict[str, dict[int, Mapping[str, Any]]] = {}
        try:
            for entry in answer.json():
                if "version" in entry:
                    found.setdefault(str(entry["name"]), {})[int(entry["version"])] = entry
        except (KeyError, TypeError, ValueError) as error:
            raise ServingError(f"The host's index can't be understood: {error!r}.") from error
        return found

    def _model(self, address: HostAddress, model: str, slots: list[Slot]) -> ModelObservation:
        counts = self._counts(address, model) if any(slot.state == "ready" for slot in slots) else {}
        serving = _serving(slots)
        default = next((slot for slot in slots if slot.number == serving), None)
        versions = {}
        for slot in _usable(slots):
            requests, failures = counts.get(slot.number, (0, 0))
            damage = slot.stored.damage if slot.stored else "it was not staged by Lastgood"
            versions[slot.version] = VersionState(
                version=slot.version,
                digest=slot.digest,
                state="failed" if damage and slot.state != "ready" else slot.state,
                loaded_digest=None,
                in_flight=0,
                requests=requests,
                failures=failures,
                memory_bytes=None,
                reason=damage or slot.reason,
            )
        return ModelObservation(
            default_version=default.version if default else None,
            default_digest=default.digest or "unknown" if default else None,
            fence=0,
            versions=versions,
        )

    def _counts(self, address: HostAddress, model: str) -> dict[int, tuple[int, int]]:
        """Number -> requests answered and failed, probes among them, since it was loaded: Triton's own count."""
        answer = call(address, "GET", f"/v2/models/{model}/stats", seconds=READ_SECONDS, accept=ANSWERS)
        try:
            return {
                int(entry["version"]): (
                    int(entry["inference_stats"]["success"]["count"]) + int(entry["inference_stats"]["fail"]["count"]),
                    int(entry["inference_stats"]["fail"]["count"]),
                )
                for entry in answer.granted(_reason).json()["model_stats"]
            }
        except (KeyError, TypeError, ValueError) as error:
            raise ServingError(f"The host's statistics can't be understood: {error!r}.") from error

    def _staged(self, address: HostAddress, model: str, version: str) -> tuple[list[Slot], Slot]:
        slots = _slots(repository.root_of(address.options) / model, self._index(address).get(model, {}))
        target = _find(slots, model, version)
        if target.stored and target.stored.damage:
            raise Refused(422, "artifact-refused", f"Version {version} of {model} is damaged: {target.stored.damage}.")
        return slots, target

    def _drained(self, address: HostAddress, model: str, version: str) -> tuple[list[Slot], Slot]:
        """The slots once what leaves memory has left it, or has had its time: there may be no room before."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            slots, target = self._staged(address, model, version)
            if not any(slot.state == "draining" for slot in slots) or time.monotonic() > deadline:
                return slots, target
            time.sleep(0.05)

    def _leave(self, address: HostAddress, model: str, target: Slot, keep: list[Slot]) -> None:
        """Have exactly the versions of `keep` loaded, by the configuration of `target`. Raises as `_hold` does."""
        self._hold(address, model, _stored(target).json(CONFIG), [slot.number for slot in keep])

    def _make_room(self, address: HostAddress, model: str, folder: Path, slots: list[Slot]) -> None:
        """Free numbers below what serves: of what was staged and is not in memory, and where that is not enough, as
        below a model that came in folder 1, by loading what serves once more from a copy at the top, which answers the
        same. Raises as `_hold` does, and what serves goes on then."""
        for slot in slots:
            if slot.stored and slot.state in ("staged", "failed"):
                shutil.rmtree(slot.stored.folder, ignore_errors=True)
        slots = _slots(folder, self._index(address).get(model, {}))
        serving = _serving(slots)
        if serving is None or _below(folder, slots) >= LAST_SLOT:
            return
        top = _free(folder, FIRST_SLOT)
        path = f"/v2/models/{model}/config"
        config = call(address, "GET", path, seconds=READ_SECONDS, accept=ANSWERS).granted(_reason).json()
        repository.copy(folder / str(serving), folder / str(top))
        try:
            self._hold(address, model, config, [*(slot.number for slot in slots if slot.state == "ready"), top])
        except Refused:
            shutil.rmtree(folder / str(top), ignore_errors=True)
            raise
        self._hold(address, model, config, [top])

    def _hold(self, address: HostAddress, model: str, config: Mapping[str, Any], slots: Sequence[int]) -> None:
        """Have exactly these numbers loaded, and see that it came so: Triton answers 200 as well when it did nothing.
        Raises Refused (`load-failed`) with Triton's reason, OutcomeUnknown when it takes too long."""
        numbers = sorted(slots)
        wanted = {**config, "version_policy": {"specific": {"versions": numbers}}}
        body = dump({"parameters": {"config": dump(wanted).decode()}})
        path = f"/v2/repository/models/{model}/load"
        answer = call(address, "POST", path, seconds=LOAD_SECONDS, content=body, accept=ANSWERS)
        if answer.status != 200:
            raise Refused(answer.status, "load-failed", _reason(answer))
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            index = self._index(address).get(model, {})
            if sorted(number for number, entry in index.items() if entry.get("state") == "READY") == numbers:
                return
            if time.monotonic() > deadline:
                raise OutcomeUnknown(f"{address.url} answered 200, and its index does not show it yet.")
            time.sleep(0.05)


def _slots(folder: Path, index: Mapping[int, Mapping[str, Any]]) -> list[Slot]:
    """All numbered folders of a model, and what the index knows beside them, lowest number first."""
    stored = {int(one.folder.name): one for one in repository.read_all(folder) if one.folder.name.isdecimal()}
    found = []
    for number in sorted(stored.keys() | index.keys()):
        entry = index.get(number, {})
        reason = str(entry.get("reason", ""))
        gone = "staged" if reason in ("", "unloaded") else "failed"
        found.append(Slot(number, stored.get(number), STATES.get(str(entry.get("state", "")), gone), reason))
    return [slot for slot in found if slot.stored or slot.state in STATES.values()]


def _serving(slots: Sequence[Slot]) -> int | None:
    """The slot that answers unversioned requests: the highest that is ready."""
    return max((slot.number for slot in slots if slot.state == "ready"), default=None)


def _below(folder: Path, slots: Sequence[Slot]) -> int:
    """The next number for a version: free, and below all that are ours or in memory; 0 for none."""
    return _free(folder, min([FIRST_SLOT, *(slot.number for slot in slots if slot.state != "draining")]))


def _free(folder: Path, below: int) -> int:
    """The highest number below that one of which there is no folder: those that others wrote are theirs."""
    number = max(below, LAST_SLOT) - 1
    while number >= LAST_SLOT and (folder / str(number)).exists():
        number -= 1
    return number


def _stays(slot: Slot, target: Slot) -> bool:
    """Whether a switch to `target` leaves the slot in memory: what lies below takes no requests from it."""
    return slot.state == "ready" and slot.number <= target.number


def _sweep(slots: Sequence[Slot]) -> None:
    """Remove what of ours lies above the serving slot and has left memory: it can't be gone back to where it is."""
    serving = _serving(slots)
    for slot in slots:
        if serving is not None and slot.number > serving and slot.stored and slot.state in ("staged", "failed"):
            shutil.rmtree(slot.stored.folder, ignore_errors=True)


def _usable(slots: Sequence[Slot]) -> list[Slot]:
    """One slot for each version: what is ready, else the lowest that would not take traffic when it is loaded. A slot
    above the one that serves, which Triton may still be unloading after a switch, can't be gone back to."""
    serving, found = _serving(slots), {}
    for slot in sorted(slots, key=lambda slot: (slot.state == "ready", -slot.number)):
        if slot.state == "ready" or serving is None or slot.number < serving:
            found[slot.version] = slot
    return list(found.values())


def _find(slots: Sequence[Slot], model: str, version: str) -> Slot:
    for slot in _usable(slots):
        if slot.version == version:
            return slot
    raise Refused(404, "unknown-version", f"This host has no version {version!r} of {model}; stage it first.")


def _is(slot: Slot, version: str, manifest: bytes) -> bool:
    stored = slot.stored
    return stored is not None and not stored.damage and stored.version == version and stored.holds(manifest)


def _stored(slot: Slot) -> Stored:
    if slot.stored is None:
        raise Refused(409, "not-ours", f"Slot {slot.number} was not staged by Lastgood; stage the version again.")
    return slot.stored


def _reason(answer: HttpAnswer) -> str:
    try:
        return str(answer.json()["error"]).strip()
    except (ServingError, KeyError, TypeError):
        return f"The host answered {answer.status}."
