"""The models of this host in memory: staging, loading, draining, and the one atomic switch of the default.

All fields are read and written on the event loop's thread; only reading files, hashing and syncing leave it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch

from host.device import free_memory
from host.manifest import Manifest, read_manifest
from host.metrics import Counters
from host.mirror import Shadows
from host.problems import ArtifactRefused, Problem
from host.recent import Recent
from host.store import Pointer, Share, Store, Target
from host.version import LoadedVersion, Parts, ReadBack, read_parts

log = logging.getLogger("lastgood.host")
Result = TypeVar("Result")
DRAIN_SECONDS = 30.0


@dataclass
class Slot:
    """A version on this host. States: staged, loading, ready, draining, failed (with the reason)."""

    version: str
    manifest: Manifest
    digest: str
    state: str = "staged"
    reason: str = ""
    loaded: LoadedVersion | None = None
    in_flight: int = 0
    counters: Counters = field(default_factory=Counters)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    recent: Recent = field(default_factory=Recent)

    def enter(self) -> None:
        self.in_flight += 1
        self.idle.clear()

    def leave(self) -> None:
        self.in_flight -= 1
        if not self.in_flight:
            self.idle.set()


@dataclass
class Model:
    """A model on this host and what its unversioned requests get."""

    name: str
    pointer: Pointer = field(default_factory=Pointer)
    slots: dict[str, Slot] = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def default_slot(self) -> Slot | None:
        return self.slots[self.pointer.default.version] if self.pointer.default else None


def note(what: str, model: Model, **facts: object) -> None:
    """A line in the host's own log of what it did, or refused to do, to what it serves: the word, then JSON."""
    log.info("%s %s", what, json.dumps({"model": model.name, **facts}, sort_keys=True))


def stale(fence: int, old: Pointer) -> Problem:
    seen = "has moved on already" if fence == old.fence else f"is below {old.fence}, which was seen already"
    return Problem(409, "stale-fence", f"The fence {fence} {seen}.")


class Fleet:
    """All models. Methods raise Problem."""

    def __init__(self, store: Store, device: torch.device) -> None:
        self.store = store
        self.device = device
        self.quick = ThreadPoolExecutor(4, "control")
        self.slow = ThreadPoolExecutor(2, "loading")
        self.reading: dict[LoadedVersion, asyncio.Future[Manifest]] = {}
        self.models: dict[str, Model] = {}
        self.shadows = Shadows()
        for name, (pointer, manifests) in store.read_all().items():
            model = self.models[name] = Model(name, pointer)
            for version, data in manifests.items():
                model.slots[version] = Slot(version, read_manifest(data, name), hashlib.sha256(data).hexdigest())

    async def aside(self, function: Callable[[], Result], *, slow: bool = False) -> Result:
        """Run what blocks off the event loop; what may take seconds has threads of its own."""
        return await asyncio.get_running_loop().run_in_executor(self.slow if slow else self.quick, function)

    async def read_back(self, loaded: LoadedVersion) -> ReadBack:
        """What is in memory. Of a model too large to be hashed within a call it is the last reading, and a new one is
        begun when that is no longer fresh; the reading says when it was made."""
        last = loaded.last_read
        assert last is not None
        if not last.is_fresh:
            if last.is_slow:
                self._read_again(loaded)
                return last
            await self.aside(loaded.read_back)
        return loaded.last_read or last

    def _read_again(self, loaded: LoadedVersion) -> None:
        if loaded not in self.reading:
            future = asyncio.get_running_loop().run_in_executor(self.slow, loaded.read_back)
            self.reading[loaded] = future
            future.add_done_callback(lambda _: self.reading.pop(loaded))

    async def load_defaults(self) -> None:
        """Verify and load every model's default again; one that fails leaves the host not ready, with the reason."""
        for model in self.models.values():
            slot = model.default_slot()
            if slot is not None and not model.pointer.out:
                try:
                    await self.load(model.name, slot.version)
                except Problem as problem:
                    log.error("%s version %s can't be loaded: %s", model.name, slot.version, problem.detail)

    @property
    def ready(self) -> bool:
        """Whether every model that has a default can answer with it, and none was taken out of service."""
        having = [(model, slot) for model in self.models.values() if (slot := model.default_slot())]
        return all(slot.state == "ready" and not model.pointer.out for model, slot in having)

    def model(self, name: str) -> Model:
        if name not in self.models:
            raise Problem(404, "unknown-model", f"This host has no model {name!r}; stage a version of it first.")
        return self.models[name]

    def slot(self, name: str, version: str) -> Slot:
        model = self.model(name)
        if version not in model.slots:
            raise Problem(404, "unknown-version", f"This host has no version {version!r} of {name}; stage it first.")
        return model.slots[version]

    def answering(self, name: str, version: str | None) -> Slot:
        """The slot that answers a request now; 404 when there is none by that name, 503 when it is not ready."""
        if version is None:
            slot = self.model(name).default_slot()
            if slot is None:
                raise Problem(503, "not-ready", f"{name} has no default version on this host yet.")
        else:
            slot = self.slot(name, version)
        if slot.state != "ready":
            raise Problem(503, "not-ready", f"Version {slot.version} of {name} is {slot.state}, not ready.")
        return slot

    def chosen(self, name: str, request_id: object) -> Slot:
        """The slot that answers an unversioned request: the default, or the version that takes a share of the requests
        where this one's id falls into it. The same id falls the same way each time."""
        share = self.model(name).pointer.share
        if share is not None and isinstance(request_id, str):
            slot = self.slot(name, share.target.version)
            part = int.from_bytes(hashlib.sha256(request_id.encode()).digest()[:8]) % 100
            if slot.state == "ready" and part < share.percent:
                return slot
        return self.answering(name, None)

    async def stage(self, name: str, version: str, data: bytes) -> bool:
        """Check a version's manifest and every file that it names. True when it is new, False when already known."""
        try:
            manifest = read_manifest(data, name)
        except ArtifactRefused as refused:
            raise Problem(422, "artifact-refused", str(refused)) from None
        digest = hashlib.sha256(data).hexdigest()
        known = self.models[name].slots.get(version) if name in self.models else None
        if known is not None and known.digest != digest:
            raise Problem(409, "version-exists", f"Version {version} of {name} is staged here with another digest.")
        if known is not None and known.state not in ("staged", "failed"):
            return False
        missing = [f.sha256 for f in manifest.files.values() if not self.store.blob(f.sha256).exists()]
        if missing:
            raise Problem(422, "missing-blobs", "Put the missing blobs first.", missing=missing)
        await self.aside(lambda: self._read(manifest), slow=True)
        await self.aside(lambda: self.store.keep_manifest(name, version, data))
        slot = self.models.setdefault(name, Model(name)).slots.setdefault(version, Slot(version, manifest, digest))
        if slot.digest != digest:
            raise Problem(409, "version-exists", f"Version {version} of {name} was just staged with another digest.")
        if slot.state == "failed":
            slot.state, slot.reason = "staged", ""
        return known is None

    def _read(self, manifest: Manifest) -> Parts:
        """Read and check the files of a version. A blob whose bytes are no longer its name's is dropped, to be put
        again."""
        try:
            return read_parts(manifest, self.store.blob)
        except ArtifactRefused as refused:
            self._drop_damaged(manifest)
            raise Problem(422, "artifact-refused", str(refused)) from None

    def _drop_damaged(self, manifest: Manifest) -> None:
        damaged = []
        for file in manifest.files.values():
            path = self.store.blob(file.sha256)
            with path.open("rb") as blob:
                if hashlib.file_digest(blob, "sha256").hexdigest() != file.sha256:
                    path.unlink()
                    damaged.append(file.sha256)
        if damaged:
            raise Problem(422, "missing-blobs", "Blobs were damaged on this host; put them again.", missing=damaged)

    async def load(self, name: str, version: str) -> Slot:
        """Load a version and warm it up; returns when it is ready. A version that is ready stays as it is."""
        slot = self.slot(name, version)
        async with slot.lock:
            if slot.state == "ready":
                return slot
            slot.state, slot.reason = "loading", ""
            try:
                slot.loaded = await self.aside(lambda: self._build(slot), slow=True)
            except Problem as problem:
                slot.state, slot.reason = "failed", problem.detail
                raise
            except Exception as error:
                slot.state, slot.reason = "failed", f"{type(error).__name__}: {error}"
                raise Problem(500, "load-failed", f"Version {version} of {name} can't be loaded: {error}") from error
            slot.state = "ready"
            note("load", self.model(name), version=version, digest=slot.digest)
            return slot

    def _build(self, slot: Slot) -> LoadedVersion:
        needed, free = 2 * slot.manifest.files["weights"].size, free_memory(self.device)
        if needed > free:
            raise Problem(
                507, "insufficient-memory", f"Loading needs {needed} bytes and {free} are free; unload a version first."
            )
        parts = self._read(slot.manifest)
        loaded = LoadedVersion(slot.version, parts, self.device)
        loaded.warm_up()
        found = loaded.read_back_as_loaded(parts.weights).digest()
        if found != slot.digest:
            raise Problem(500, "digest-mismatch", f"What was loaded reads back as {found}, not as {slot.digest}.")
        return loaded

    async def unload(self, name: str, version: str) -> Slot:
        """Take a version out of memory when its last request has been answered. A version not loaded stays as it is.

        409 when it is the default; 503, and the version stays ready, when its requests do not end.
        """
        model, slot = self.model(name), self.slot(name, version)
        async with slot.lock:
            async with model.lock:
                pointer = model.pointer
                if pointer.default and pointer.default.version == version and not pointer.out:
                    raise Problem(409, "is-default", f"Version {version} is the default of {name}; switch it first.")
                if pointer.share and pointer.share.target.version == version:
                    raise Problem(409, "is-default", f"Version {version} takes a share of {name}'s requests; end that.")
                if slot.state != "ready":
                    return slot
                slot.state = "draining"
            try:
                if slot.in_flight:
                    await asyncio.wait_for(slot.idle.wait(), DRAIN_SECONDS)
            except TimeoutError:
                slot.state = "ready"
                raise Problem(
                    503, "still-in-flight", f"Version {version} still answers {slot.in_flight} requests; try again."
                ) from None
            slot.loaded, slot.state = None, "staged"
            self.shadows.end_of(name, version, "its version was unloaded")
            note("unload", model, version=version, digest=slot.digest)
            return slot

    async def switch(self, name: str, target: Target, fence: int) -> Model:
        """Make a loaded version the default, once, under a fence; the pointer is on disk before it takes effect.

        409 `stale-fence` for a fence below the highest seen, or one already used for another target; `not-ready` and
        `digest-mismatch` as their names say. A refused fence above the highest seen still bars lower ones.
        """
        model, slot = self.model(name), self.slot(name, target.version)
        async with model.lock:
            old = model.pointer
            try:
                await self._switch(model, slot, target, fence)
            except Problem as problem:
                asked = {"version": target.version, "digest": target.digest, "fence": fence}
                note("switch-refused", model, type=problem.type, **asked)
                raise
            was = old.default.digest if old.default else None
            now = model.pointer
            note("switch", model, version=target.version, digest=target.digest, fence=now.fence, was=was)
            return model

    async def _switch(self, model: Model, slot: Slot, target: Target, fence: int) -> None:
        old = model.pointer
        if fence < old.fence:
            raise stale(fence, old)
        if fence == old.fence and old.fenced is not None:
            if old.fenced == old.default == target:
                return
            raise Problem(409, "stale-fence", f"The fence {fence} has already switched to another version.")
        try:
            await self.check_target(slot, target)
        except Problem:
            if fence > old.fence:
                await self.keep(model, replace(old, fence=fence, fenced=None))
            raise
        await self.keep(model, Pointer(target, fence, target))
        self.shadows.end(model.name, "the default was switched")

    async def set_service(self, name: str, serving: bool, fence: int) -> Model:
        """Take a model out of service, or bring it back, under a fence. Out of service the host is not ready, so that
        what steers traffic looks elsewhere; late requests are still answered until the version is unloaded.

        409 `stale-fence` for a fence below the highest seen, and for taking it out by one that has switched already;
        `not-ready` for bringing back what is not loaded.
        """
        model = self.model(name)
        async with model.lock:
            old = model.pointer
            if fence < old.fence or (fence == old.fence and old.fenced is not None and not serving and not old.out):
                note("service-refused", model, serving=serving, fence=fence)
                raise stale(fence, old)
            slot = model.default_slot()
            if serving and slot is not None and slot.state != "ready":
                raise Problem(409, "not-ready", f"Version {slot.version} is {slot.state}; load it first.")
            fenced = old.fenced if fence == old.fence else None
            if (old.out, old.fence) != (not serving, fence):
                await self.keep(model, replace(old, out=not serving, fence=fence, fenced=fenced))
                note("service", model, serving=serving, fence=fence)
            return model

    async def share(self, name: str, target: Target, percent: int, fence: int) -> Model:
        """Let a loaded version take `percent` of the unversioned requests, 1 to 99, under a fence.

        Under one fence the share only grows, and ends with the switch: anything else is 409 `stale-fence`. `not-ready`
        and `digest-mismatch` as in `switch`, which ends every share.
        """
        model, slot = self.model(name), self.slot(name, target.version)
        async with model.lock:
            old = model.pointer
            asked = {"version": target.version, "digest": target.digest, "percent": percent, "fence": fence}
            grown = old.share is not None and (old.share.target != target or old.share.percent > percent)
            if fence < old.fence or (fence == old.fence and (old.fenced is not None or grown)):
                note("share-refused", model, **asked)
                raise stale(fence, old)
            await self.check_target(slot, target)
            if fence != old.fence or old.share != Share(target, percent):
                await self.keep(model, replace(old, fence=fence, fenced=None, share=Share(target, percent)))
                note("share", model, **asked)
            return model

    async def check_target(self, slot: Slot, target: Target) -> None:
        if slot.loaded is None or slot.state != "ready":
            raise Problem(409, "not-ready", f"Version {target.version} is {slot.state}; load it before switching.")
        found = (await self.read_back(slot.loaded)).manifest.digest()
        for digest, what in ((slot.digest, "is staged"), (found, "reads back from memory")):
            if digest != target.digest:
                raise Problem(409, "digest-mismatch", f"Version {target.version} {what} as {digest}, not as asked.")
        if slot.state != "ready":
            raise Problem(409, "not-ready", f"Version {target.version} is {slot.state}; load it before switching.")

    async def keep(self, model: Model, pointer: Pointer) -> None:
        await self.aside(lambda: self.store.keep_pointer(model.name, pointer))
        model.pointer = pointer
