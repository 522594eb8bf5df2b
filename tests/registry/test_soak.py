"""A version becomes last-good when it has been live on every host for the soak time, and nobody objects."""

import datetime
from pathlib import Path

import pytest
from django.utils import timezone

from registry import actions, due, soak
from registry.models import Alias, Deployment, Endpoint, Health, Placement, Version
from tests.registry.world import (
    ALICE,
    events,
    make_endpoint,
    make_placement,
    make_registered_model,
    make_version,
    switched,
)

pytestmark = pytest.mark.django_db
LATER = datetime.timedelta(seconds=61)


@pytest.fixture(autouse=True)
def _nobody_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "_objections", [])


@pytest.fixture
def live(tmp_path: Path) -> tuple[Endpoint, Version]:
    """A version that serves well on two hosts; it soaks for a minute."""
    model = make_registered_model()
    version, _ = make_version(model, tmp_path)
    endpoint = make_endpoint(model, soak_seconds=60)
    for name in ("gpu-a1", "gpu-b1"):
        switched(make_placement(endpoint, name=name), version)
    Placement.objects.update(health=Health.SERVING)
    return endpoint, version


def test_a_version_that_has_soaked_everywhere_is_named_last_good_once(live: tuple[Endpoint, Version]) -> None:
    endpoint, version = live
    now = timezone.now() + LATER
    assert due.soaks(now) == [endpoint.pk]

    assert soak.soak(endpoint_id=endpoint.pk, now=now) == version
    assert soak.soak(endpoint_id=endpoint.pk, now=now) is None

    assert due.soaks(now) == []
    assert Alias.objects.get(name="last-good").version == version
    version.refresh_from_db()
    assert version.soaked_at is not None
    assert [len(events(name)) for name in ("version.soak", "alias.move")] == [1, 1]


def test_before_the_soak_time_nothing_happens(live: tuple[Endpoint, Version]) -> None:
    endpoint, _ = live
    now = timezone.now() + datetime.timedelta(seconds=50)

    assert due.soaks(now) == []
    assert soak.soak(endpoint_id=endpoint.pk, now=now) is None
    assert not Alias.objects.exists()


def test_a_host_that_is_not_serving_keeps_the_version_from_soaking(live: tuple[Endpoint, Version]) -> None:
    Placement.objects.filter(host__name="gpu-b1").update(health=Health.WRONG_OUTPUT)

    assert due.soaks(timezone.now() + LATER) == []


def test_a_host_with_another_version_keeps_both_from_soaking(live: tuple[Endpoint, Version], tmp_path: Path) -> None:
    other, _ = make_version(live[1].model, tmp_path, seed=2)
    switched(Placement.objects.get(host__name="gpu-b1"), other)

    assert due.soaks(timezone.now() + LATER) == []


def test_a_drained_host_is_not_waited_for(live: tuple[Endpoint, Version]) -> None:
    placement = Placement.objects.select_related("host").get(host__name="gpu-b1")
    Placement.objects.filter(pk=placement.pk).update(health=Health.UNREACHABLE)
    actions.drain(host=placement.host, reason="Being repaired.", actor=ALICE)

    assert due.soaks(timezone.now() + LATER) == [live[0].pk]


def test_an_objection_keeps_it_from_becoming_last_good(live: tuple[Endpoint, Version]) -> None:
    endpoint, version = live
    asked: list[tuple[Endpoint, Version, datetime.datetime]] = []

    def object_once(*question: object) -> str:
        asked.append(question)
        return "An alert is on record."

    soak.register_objection(object_once)

    assert soak.soak(endpoint_id=endpoint.pk, now=timezone.now() + LATER) is None
    assert asked == [(endpoint, version, max(Deployment.objects.values_list("since", flat=True)))]
    assert not Alias.objects.exists()
    assert events("version.soak") == []


def test_a_quarantined_version_does_not_become_last_good(live: tuple[Endpoint, Version]) -> None:
    actions.quarantine(version=live[1], reason="It swaps two codes.", actor=ALICE)

    assert due.soaks(timezone.now() + LATER) == []


def test_staging_makes_nothing_last_good(live: tuple[Endpoint, Version]) -> None:
    Endpoint.objects.update(environment="staging")

    assert due.soaks(timezone.now() + LATER) == []


def test_a_version_that_is_not_live_there_is_not_marked(live: tuple[Endpoint, Version], tmp_path: Path) -> None:
    other, _ = make_version(live[1].model, tmp_path, seed=2)

    with pytest.raises(actions.RegistryError, match="is not live"):
        actions.mark_soaked(version=other, endpoint=live[0], actor=ALICE)

    assert not Alias.objects.exists()


def test_two_endpoints_with_different_versions_do_not_take_the_name_from_each_other(
    live: tuple[Endpoint, Version], tmp_path: Path
) -> None:
    first, version = live
    second = make_endpoint(version.model, "toy-second", soak_seconds=0)
    other, _ = make_version(version.model, tmp_path, seed=2)
    placement = make_placement(second, name="gpu-c1", address="http://127.0.0.1:10")
    switched(placement, other)
    Placement.objects.update(health=Health.SERVING)
    Deployment.objects.filter(endpoint=first).update(since=timezone.now() - 2 * LATER)
    assert soak.soak(endpoint_id=first.pk, now=timezone.now()) == version
    Deployment.objects.filter(endpoint=second).update(since=timezone.now())
    assert soak.soak(endpoint_id=second.pk, now=timezone.now()) == other

    assert due.soaks(timezone.now()) == []
    assert len(events("alias.move")) == 2
