"""Unloading waits for the requests that a version still answers, and takes up no new ones meanwhile."""

import asyncio
from pathlib import Path

import pytest
import torch

from host import fleet as fleet_module
from host.fleet import Fleet, Slot
from host.problems import Problem
from host.store import Store
from tests.host.artifacts import make_model


async def fleet_with_a_loaded_version(folder: Path) -> tuple[Fleet, Slot]:
    store = Store(folder / "state")
    manifest, blobs = make_model(folder / "made", 1)
    for sha256, path in blobs.items():
        path.rename(store.blob(sha256))
    fleet = Fleet(store, torch.device("cpu"))
    assert await fleet.stage("toy", "1", manifest)
    return fleet, await fleet.load("toy", "1")


def test_a_version_is_freed_when_its_last_request_has_been_answered(tmp_path: Path) -> None:
    async def scenario() -> list[object]:
        fleet, slot = await fleet_with_a_loaded_version(tmp_path)
        slot.enter()
        slot.enter()
        unloading = asyncio.create_task(fleet.unload("toy", "1"))
        while slot.state != "draining":
            await asyncio.sleep(0)
        with pytest.raises(Problem) as refused:
            fleet.answering("toy", "1")
        slot.leave()
        await asyncio.sleep(0)
        with_one_left = (unloading.done(), slot.loaded is not None)
        slot.leave()
        await unloading
        return [refused.value.status, with_one_left, slot.state, slot.loaded]

    assert asyncio.run(scenario()) == [503, (False, True), "staged", None]


def test_a_version_whose_requests_do_not_end_stays_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_module, "DRAIN_SECONDS", 0.05)

    async def scenario() -> tuple[int, str, Slot]:
        fleet, slot = await fleet_with_a_loaded_version(tmp_path)
        slot.enter()
        with pytest.raises(Problem) as refused:
            await fleet.unload("toy", "1")
        return refused.value.status, refused.value.type, fleet.answering("toy", "1")

    status, kind, slot = asyncio.run(scenario())
    assert (status, kind, slot.state, slot.in_flight) == (503, "still-in-flight", "ready", 1)


def test_two_loads_at_once_load_once(tmp_path: Path) -> None:
    async def scenario() -> bool:
        fleet, slot = await fleet_with_a_loaded_version(tmp_path)
        await fleet.unload("toy", "1")
        await asyncio.gather(fleet.load("toy", "1"), fleet.load("toy", "1"))
        first = slot.loaded
        await fleet.load("toy", "1")
        return slot.state == "ready" and slot.loaded is first

    assert asyncio.run(scenario())


def test_a_version_that_does_not_fit_into_memory_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> tuple[int, Slot]:
        fleet, slot = await fleet_with_a_loaded_version(tmp_path)
        await fleet.unload("toy", "1")
        monkeypatch.setattr(fleet_module, "free_memory", lambda device: 100)
        with pytest.raises(Problem) as refused:
            await fleet.load("toy", "1")
        return refused.value.status, slot

    status, slot = asyncio.run(scenario())
    assert (status, slot.state, slot.loaded) == (507, "failed", None)
    assert "100 are free" in slot.reason
