"""Reading back what is in memory: always new for small models, within bounds for large ones."""

import asyncio
import dataclasses
import time
from pathlib import Path

import torch

from host.fleet import Fleet
from host.manifest import read_manifest
from host.store import Store
from host.version import LoadedVersion, ReadBack, read_parts
from tests.host.artifacts import make_model


def loaded(folder: Path) -> LoadedVersion:
    manifest, blobs = make_model(folder / "made", 1)
    version = LoadedVersion("1", read_parts(read_manifest(manifest, "toy"), blobs.__getitem__), torch.device("cpu"))
    version.read_back()
    return version


def aged(version: LoadedVersion, took: float, ago: float) -> ReadBack:
    """Make the version's last reading one that took and is as old as that many seconds; returns it."""
    assert version.last_read is not None
    version.last_read = dataclasses.replace(version.last_read, seconds=took, done=time.monotonic() - ago)
    return version.last_read


def test_a_reading_that_is_no_longer_fresh_is_made_again_within_the_call(tmp_path: Path) -> None:
    version, fleet = loaded(tmp_path), Fleet(Store(tmp_path / "state"), torch.device("cpu"))
    old = aged(version, took=0.01, ago=1.0)
    version.tensors["layers.3.bias"][0] += 1

    reading = asyncio.run(fleet.read_back(version))

    assert reading.manifest.files["weights"] != old.manifest.files["weights"]


def test_a_reading_that_is_fresh_stands(tmp_path: Path) -> None:
    version, fleet = loaded(tmp_path), Fleet(Store(tmp_path / "state"), torch.device("cpu"))
    old = aged(version, took=1.0, ago=10.0)

    assert asyncio.run(fleet.read_back(version)) is old


def test_a_large_model_is_read_again_behind_the_call(tmp_path: Path) -> None:
    # given a reading that took two seconds and is a minute old, and damage since
    version, fleet = loaded(tmp_path), Fleet(Store(tmp_path / "state"), torch.device("cpu"))
    old = aged(version, took=2.0, ago=60.0)
    version.tensors["layers.3.bias"][0] += 1

    async def read_twice() -> tuple[ReadBack, ReadBack]:
        first = await fleet.read_back(version)
        await asyncio.wait(fleet.reading.values())
        return first, await fleet.read_back(version)

    # when
    first, second = asyncio.run(read_twice())

    # then the first call got the old reading at once, a later one sees the damage
    assert first is old
    assert second.manifest.files["weights"] != old.manifest.files["weights"]
    assert second.at >= old.at
    assert fleet.reading == {}
