"""Going back by a part alone, with the demo's real versions and the people who pass by in its first minute.

What the mistaken extract has spoilt is in one part: for ages in months the scaler, for swapped codes the table of that
column. The other part of version 2 is as good as it ever was.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audit.actions import service_actor
from demo.artifacts import THRESHOLD, Package
from demo.census import People
from demo.registration import register_people, register_version
from demo.training import Network, predict
from registry import store
from registry.actions import ask_composition, compose, register_model
from registry.models import Version

pytestmark = [pytest.mark.django_db, pytest.mark.faults]
TEST = service_actor("test")

Packages = Callable[[str], tuple[Package, Package]]


def right(version: Version, crowd: People) -> float:
    """The share of the people about whom the version is right, computed from its files in the store."""
    from safetensors.torch import load

    files = {file.component: store.path(file.artifact_id).read_bytes() for file in version.files.all()}
    network = Network(json.loads(files["preprocessing"]), json.loads(files["config"]), load(files["weights"]))
    return float(np.mean((predict(network, crowd) >= THRESHOLD) == crowd.label))


@pytest.mark.parametrize(
    ("fault", "kind", "patterns", "at_least"),
    [("scale", "preprocessing", (), 0.09), ("recode", "preprocessing", (), 0.1)],
)
def test_the_spoilt_part_of_version_one_repairs_most_of_version_two(
    packages: Packages,
    crowd: People,
    settings: Any,
    tmp_path: Path,
    fault: str,
    kind: str,
    patterns: tuple[str, ...],
    at_least: float,
) -> None:
    # given
    settings.LASTGOOD_VAR = tmp_path
    register_people("demo-password")
    register_model(slug="employment", name="Employment", team="Labour services", actor=TEST)
    first, second = packages(fault)
    one = register_version(first)
    two = register_version(second, one)

    # when
    asked = ask_composition(base=two, other=one, kind=kind, patterns=patterns, actor=TEST)
    compose(composition_id=asked.pk)

    # then
    asked.refresh_from_db()
    assert (asked.state, asked.reason) == ("done", "")
    assert right(asked.version, crowd) > right(two, crowd) + at_least
    profile = json.loads(store.path(asked.version.profile_id).read_bytes())
    assert "outputs" not in profile
    assert asked.version.holdout_id == (one if kind == "preprocessing" else two).holdout_id
