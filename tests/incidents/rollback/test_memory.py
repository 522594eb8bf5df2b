"""What a load takes of a host's memory is measured when nothing else comes or goes, and foretold from that."""

import dataclasses
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from audit.templatetags.amounts import filesize_short
from incidents.rollback import fleet as hands
from incidents.rollback import memory, preflight, trials
from incidents.rollback.fleet import Remote
from incidents.rollback.memory import need_of, taken_by
from incidents.rollback.models import LoadMemory
from registry.models import Version
from registry.serving.base import ModelObservation, Observation, VersionState
from tests.incidents.rollback.fleet import Fleet

MIB = 2**20
WANTED = Version(number=3, digest="3" * 64)


def state(version: str, where: str = "ready", held: int | None = 7 * MIB) -> VersionState:
    digest = version * 64
    return VersionState(version, digest, where, digest if where == "ready" else None, 0, 0, 0, held)


def host(free: int, *states: VersionState, boot: str = "b", other: VersionState | None = None) -> Observation:
    """A host with so many MiB free and versions of the model `m`, and perhaps one of another."""
    models = {"m": ModelObservation("1", "1" * 64, 1, {one.version: one for one in states})}
    if other is not None:
        models["other"] = ModelObservation(None, None, 0, {other.version: other})
    return Observation("h", boot, timezone.now(), models, 1000 * MIB, free * MIB, "cpu")


ONE, LOADED = state("1"), state("3")


def test_a_load_takes_what_is_no_longer_free() -> None:
    before, after = host(500, ONE, state("3", "staged", None)), host(480, ONE, LOADED)

    assert taken_by(before, after, "m", WANTED) == 20 * MIB


def test_memory_that_the_host_had_kept_counts_as_taken_too() -> None:
    assert taken_by(host(500, ONE), host(500, ONE, LOADED), "m", WANTED) == 7 * MIB


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (host(500, ONE), host(400, ONE, LOADED, state("4"))),
        (host(500, ONE), host(400, ONE, LOADED, other=state("4"))),
        (host(500, ONE), host(400, ONE, LOADED, other=state("4", "loading", None))),
        (host(500, ONE, other=state("4", "loading", None)), host(400, ONE, LOADED, other=state("4"))),
        (host(500, ONE, state("4")), host(480, ONE, LOADED)),
        (host(500, ONE, state("4")), host(480, ONE, LOADED, state("4", "draining"))),
        (host(500, ONE), host(480, ONE, LOADED, boot="c")),
        (host(500, ONE, LOADED), host(480, ONE, LOADED)),
        (host(500, ONE), host(480, ONE, dataclasses.replace(LOADED, digest="9" * 64))),
        (host(500, ONE), host(510, ONE, dataclasses.replace(LOADED, memory_bytes=None))),
    ],
    ids=[
        "another version came", "another model came", "another is coming", "another came that had begun before",
        "another left", "another is leaving", "the host was started again", "it was there before",
        "something else by its number", "more is free than before, and the host says nothing",
    ],
)  # fmt: skip
def test_a_load_beside_which_something_else_moved_is_not_counted(before: Observation, after: Observation) -> None:
    assert taken_by(before, after, "m", WANTED) is None


def test_an_engine_that_does_not_tell_is_not_measured() -> None:
    silent = dataclasses.replace(host(0, ONE), memory_total=0)

    assert taken_by(silent, dataclasses.replace(host(0, ONE, LOADED), memory_total=0), "m", WANTED) is None


def keep(fleet: Fleet, version: Version, taken: int, *, device: str = "cpu") -> None:
    memory.keep_taken(version=version, host=fleet.hosts[0], device=device, taken=taken)


def bytes_of(version: Version) -> int:
    return sum(version.files.values_list("artifact__size", flat=True))


def test_every_load_is_measured_through_the_hosts_hands(fleet: Fleet) -> None:
    remote: Remote = hands.reach(fleet.hosts[0], fleet.endpoint)
    remote.stage(fleet.good)

    remote.load(fleet.good)

    [row] = LoadMemory.objects.all()
    held = hands.version_on(remote.look(), fleet.good)
    assert held is not None
    assert (row.version, row.host, row.engine, row.device) == (fleet.good, fleet.hosts[0], "bundled", "cpu")
    assert row.taken >= (held.memory_bytes or 0) > 0
    remote.load(fleet.good)
    assert LoadMemory.objects.count() == 1, "it was in memory already"


def test_the_last_loads_of_a_version_foretell_the_next_with_their_range(fleet: Fleet) -> None:
    for taken in (900, 100, 120, 130, 110, 140):
        keep(fleet, fleet.good, taken * MIB)

    need = need_of(fleet.good, engine="bundled", device="cpu")

    assert (need.taken, need.low, need.high) == (120 * MIB, 100 * MIB, 140 * MIB)
    day = f"{timezone.now():%Y-%m-%d}"
    assert need.sentence.replace("\u202f", " ") == f"120.0 MiB (100.0 MiB to 140.0 MiB), as measured on h1 on {day}"
    assert LoadMemory.objects.count() == memory.NEWEST


def test_another_version_of_the_model_foretells_by_the_size_of_the_files(fleet: Fleet) -> None:
    keep(fleet, fleet.bad, 100 * MIB)

    need = need_of(fleet.good, engine="bundled", device="cpu")

    assert need.taken == round(100 * MIB * bytes_of(fleet.good) / bytes_of(fleet.bad))
    assert "by its files, as version 2 took it on h1" in need.sentence


@pytest.mark.parametrize(("engine", "device"), [("bundled", "cuda:0"), ("torchserve", "cpu")])
def test_what_another_engine_or_device_took_says_nothing(fleet: Fleet, engine: str, device: str) -> None:
    keep(fleet, fleet.good, 900 * MIB)

    need = need_of(fleet.good, engine=engine, device=device)

    assert need.bytes == 2 * bytes_of(fleet.good)
    assert "twice its files, since no load of it was measured yet" in need.sentence


def test_what_the_bundled_host_refuses_counts_whatever_was_measured(fleet: Fleet) -> None:
    weights = sum(fleet.good.files.filter(component="weights").values_list("artifact__size", flat=True))
    keep(fleet, fleet.good, weights)

    need = need_of(fleet.good, engine="bundled", device="cpu")

    assert need.bytes == 2 * weights
    assert f"its engine wants {filesize_short(2 * weights)} free while it loads" in need.sentence


def test_the_preflight_says_what_is_needed_and_where_it_was_measured(fleet: Fleet) -> None:
    keep(fleet, fleet.good, 300 * MIB)
    proposed = fleet.propose()

    assert preflight.run(proposed.pk)

    asked = proposed.preflights.get(name="memory", host__name="h2")
    assert (asked.answer, "as measured on h1 on" in asked.expected) == ("pass", True)
    assert asked.expected.startswith("300.0")


def test_a_version_that_took_more_than_is_free_is_not_loaded_though_its_files_would_fit(fleet: Fleet) -> None:
    keep(fleet, fleet.good, 10**15)
    proposed = fleet.propose()

    assert preflight.run(proposed.pk)

    asked = proposed.preflights.get(name="memory", host__name="h1")
    assert (asked.answer, "propose it with the strategy recreate" in asked.observed) == ("fail", True)
    assert "1" not in fleet.processes[0].view(fleet.slug)["versions"]
    remotes = trials.remotes_of(fleet.endpoint)
    assert trials.roomy(remotes, fleet.good) == []
    assert trials.roomy(remotes, fleet.bad) == remotes, "it is in memory"


def test_loads_of_many_versions_are_known_by_two_queries(fleet: Fleet, django_assert_num_queries: Any) -> None:
    for version in (fleet.good, fleet.bad):
        keep(fleet, version, 50 * MIB)
    LoadMemory.objects.update(measured_at=timezone.now() - timedelta(days=3))

    with django_assert_num_queries(2):
        known = memory.known_of([fleet.good, fleet.bad])
        known.need(fleet.good, engine="bundled", device="cpu")
        known.need(fleet.bad, engine="bundled", device="cpu")
