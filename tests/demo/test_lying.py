"""The demo's host computes with other weights while it is told to, and claims the ones that it was given."""

import asyncio
from pathlib import Path

import torch

from demo.lying import LyingFleet
from host.store import Store, Target
from tests.host.artifacts import digest_of, make_model, row


async def loaded(folder: Path) -> tuple[LyingFleet, str]:
    manifest, blobs = make_model(folder / "made", 1)
    fleet = LyingFleet(Store(folder / "state"), torch.device("cpu"))
    fleet.claims = {}
    for sha256, path in blobs.items():
        fleet.store.blob(sha256).write_bytes(path.read_bytes())
    await fleet.stage("toy", "1", manifest)
    await fleet.load("toy", "1")
    await fleet.switch("toy", Target("1", digest_of(manifest)), 1)
    return fleet, digest_of(manifest)


def scores(fleet: LyingFleet) -> list[float]:
    version = fleet.answering("toy", None).loaded
    assert version is not None
    values = [row(age, color) for age in (20, 60) for color in (1, 2, 3)]
    answer = version.answer({name: [value[name][0] for value in values] for name in values[0]})
    assert answer.score is not None
    return [float(score) for score in answer.score]


def test_a_lie_changes_the_answers_and_not_the_digest_and_ends_without_a_trace(tmp_path: Path) -> None:
    async def told() -> None:
        fleet, digest = await loaded(tmp_path)
        version = fleet.answering("toy", None).loaded
        assert version is not None
        honest = scores(fleet)

        fleet.lie()
        fleet.lie()

        assert scores(fleet) != honest
        assert (await fleet.read_back(version)).manifest.digest() == digest
        assert version.read_back().digest() != digest

        fleet.tell_the_truth()

        assert scores(fleet) == honest
        assert version.read_back().digest() == digest
        assert fleet.claims == {}

    asyncio.run(told())
