"""Training gives the same bytes for the same people and seed, and predicts what the host answers."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from demo.artifacts import MODEL, Package, package
from demo.census import FEATURES, people, split
from demo.training import encode, predict, preprocessing_of, train

ROWS = 3000


def made(seed: int, members: int = 1) -> Package:
    training, holdout = split(people((2015,)), seed=1)
    training, holdout = training.take(np.arange(ROWS)), holdout.take(np.arange(1000))
    return package(
        train(training, seed=seed, members=members), training, holdout, years="2015", hyperparameters={"seed": seed}
    )


def test_the_same_seed_gives_the_same_manifest_and_another_seed_another_one() -> None:
    first, again, other = made(1), made(1), made(2)

    assert (again.digest, again.profile, again.golden) == (first.digest, first.profile, first.golden)
    assert other.digest != first.digest
    assert first.training_data_digest == other.training_data_digest


def test_every_file_lies_under_its_own_digest_and_the_manifest_names_it() -> None:
    one = made(1)

    assert all(hashlib.sha256(data).hexdigest() == sha256 for sha256, data in one.files.items())
    assert all(sha256.encode() in one.manifest for sha256 in one.files)
    assert len(one.files) == 3


@pytest.mark.parametrize("members", [1, 3])
def test_the_host_answers_what_training_predicted(tmp_path: Path, members: int) -> None:
    import torch

    from host.manifest import read_manifest
    from host.version import LoadedVersion, read_parts
    from tests.demo.story import network_of

    one = made(1, members)
    for sha256, data in one.files.items():
        (tmp_path / sha256).write_bytes(data)
    parts = read_parts(read_manifest(one.manifest, MODEL), lambda sha256: tmp_path / sha256)
    group = people((2018,)).take(np.arange(200))

    answer = LoadedVersion("1", parts, torch.device("cpu")).answer(
        {name: group.features[name].tolist() for name in FEATURES}
    )

    assert answer.score is not None
    assert np.abs(answer.score - predict(network_of(one), group)).max() < 1e-5


def test_a_code_that_training_has_never_seen_is_the_unknown_one() -> None:
    known = people((2015,)).take(np.arange(500))
    strange = known.take(np.arange(1))
    strange.features["SCHL"] = np.array([99])
    position = [entry["name"] for entry in preprocessing_of(known)["categorical"]].index("SCHL")

    _, indices = encode(preprocessing_of(known), strange)

    assert indices[0, position] == 0
    assert (np.delete(indices[0], position) > 0).all()
