"""Each fault of the demo is found by monitoring itself, and without one the same length of traffic raises no alert."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from demo.artifacts import Package
from demo.census import People
from tests.demo.story import Story, measured_latencies

pytestmark = [pytest.mark.django_db, pytest.mark.faults]
BEFORE, AFTER = 6, 6
MEASURED = 300

Packages = Callable[[str], tuple[Package, Package]]


def told(packages: tuple[Package, Package], crowd: People, folder: Path) -> Story:
    """Six windows of version 1, which then is last-good, and six of version 2."""
    latencies = []
    for number, made in enumerate(packages):
        home = folder / str(number)
        home.mkdir()
        latencies.append(measured_latencies(made, home, MEASURED))
    story = Story(crowd)
    first = story.release(packages[0], latencies[0])
    story.tell(first, BEFORE)
    assert story.alerts() == []
    story.soak(first)
    second = story.release(packages[1], latencies[1], parent=first.version)
    story.tell(second, AFTER)
    return story


@pytest.mark.parametrize("fault", ["recode", "scale"])
def test_a_mistaken_extract_shows_in_the_inputs_at_once_and_costs_accuracy(
    packages: Packages, crowd: People, tmp_path: Path, fault: str
) -> None:
    story = told(packages(fault), crowd, tmp_path)

    began = {(rule, version): windows for rule, version, windows in story.alerts()}
    assert began[("input_drift", "2")] == 0
    # By chance a window may hold people whom version 2 gets right more often; the next one shows it.
    assert began[("accuracy", "2")] in (0, 1)
    assert {version for _, version in began} == {"2"}


def test_an_ensemble_that_is_slower_raises_the_latency_alert_and_no_other(
    packages: Packages, crowd: People, tmp_path: Path
) -> None:
    story = told(packages("slow"), crowd, tmp_path)

    assert story.alerts() == [("latency", "2", 0)]


def test_an_honest_version_raises_no_alert(packages: Packages, crowd: People, tmp_path: Path) -> None:
    story = told(packages("none"), crowd, tmp_path)

    assert story.told == BEFORE + AFTER
    assert story.alerts() == []


def test_offline_validation_passes_the_mistaken_extract_that_live_traffic_does_not(
    packages: Packages, crowd: People
) -> None:
    from demo.training import predict
    from tests.demo.story import network_of

    first, second = packages("recode")
    live = {}
    for name, made in (("first", first), ("second", second)):
        answered = predict(network_of(made), crowd) >= 0.5
        live[name] = float(np.mean(answered == crowd.label))

    assert second.metrics["holdout"]["accuracy"] > first.metrics["holdout"]["accuracy"] - 0.01
    assert live["second"] < live["first"] - 0.05
