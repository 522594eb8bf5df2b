"""The reconciler against real host processes."""

import base64
import datetime
import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from django.db.models.functions import Now

from registry import actions, reconcile
from registry.models import Health, Placement, Version
from tests.host.fixtures import HostProcess
from tests.registry.world import (
    ALICE,
    Made,
    events,
    golden_bytes,
    make_endpoint,
    make_placement,
    make_registered_model,
    make_version,
    switched,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _empty_queues(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()


@pytest.fixture
def process(host_process: Callable[..., HostProcess]) -> HostProcess:
    return host_process(ready=False)


@pytest.fixture
def serving(process: HostProcess, tmp_path: Path) -> tuple[Placement, Version, Made]:
    """A placement whose host serves version 1 as it should, observed once."""
    model = make_registered_model()
    version, made = make_version(model, tmp_path)
    placement = make_placement(make_endpoint(model), process)
    process.serve("1", made, fence=1)
    switched(placement, version)
    look(placement)
    return placement, version, made


def look(placement: Placement, times: int = 1) -> Placement:
    """Observe as often as told, each time as if it were due."""
    for _ in range(times):
        Placement.objects.filter(pk=placement.pk).update(observe_due_at=Now())
        assert reconcile.observe_placement(placement.pk) is not None
    placement.refresh_from_db()
    return placement


def probe(placement: Placement) -> Placement:
    Placement.objects.filter(pk=placement.pk).update(golden_due_at=Now())
    reconcile.golden_probe(placement.pk)
    placement.refresh_from_db()
    return placement


def converge_asked(redis_url: str) -> list[list[object]]:
    """The arguments of the messages that ask the floor above to converge."""
    with redis.Redis.from_url(redis_url) as client:
        messages = [json.loads(raw) for raw in client.lrange("rollback", 0, -1)]
    return [
        json.loads(base64.b64decode(message["body"]))[0]
        for message in messages
        if message["headers"]["task"] == "rollback.converge"
    ]


def test_a_host_that_serves_what_it_should_is_serving_by_the_digest_in_its_memory(
    serving: tuple[Placement, Version, Made],
) -> None:
    placement, version, _ = serving

    assert placement.health == Health.SERVING
    assert placement.observed_version == "1"
    assert placement.observed_digest == version.digest
    assert placement.observed_fence == 1
    assert [event["data"]["health"] for event in events("placement.observe")] == ["serving"]


def test_an_observation_that_changes_nothing_raises_the_etag_and_records_no_event(
    serving: tuple[Placement, Version, Made],
) -> None:
    placement, _, _ = serving
    before = placement.endpoint.version
    placement.endpoint.refresh_from_db()
    before = placement.endpoint.version

    look(placement)

    placement.endpoint.refresh_from_db()
    assert placement.endpoint.version == before + 1
    assert len(events("placement.observe")) == 1


def test_a_placement_is_observed_by_one_of_two_workers(serving: tuple[Placement, Version, Made]) -> None:
    placement, _, _ = serving
    Placement.objects.filter(pk=placement.pk).update(observe_due_at=Now())

    assert reconcile.observe_placement(placement.pk) is not None
    assert reconcile.observe_placement(placement.pk) is None


def test_a_wrong_version_is_believed_at_the_second_look_and_converging_is_asked_for_once(
    serving: tuple[Placement, Version, Made], process: HostProcess, tmp_path: Path, redis_url: str
) -> None:
    placement, version, _ = serving
    other, made = make_version(version.model, tmp_path, seed=2)
    process.serve("2", made, fence=2)

    look(placement)
    assert placement.health == Health.SERVING
    look(placement, times=3)

    assert placement.health == Health.WRONG_VERSION
    assert placement.observed_digest == other.digest
    assert placement.health_reason == "It serves version 2 instead of version 1."
    assert [event["data"]["health"] for event in events("placement.observe")] == ["serving", "wrong_version"]
    assert converge_asked(redis_url) == [[placement.pk]]


def test_other_weights_under_the_right_number_are_found(process: HostProcess, tmp_path: Path) -> None:
    model = make_registered_model()
    version, _ = make_version(model, tmp_path)
    imposter, made = make_version(model, tmp_path, seed=2)
    placement = make_placement(make_endpoint(model), process)
    process.serve("1", made, fence=1)
    switched(placement, version)

    look(placement, times=2)

    assert placement.health == Health.WRONG_VERSION
    assert placement.observed_version == "1"
    assert placement.observed_digest == imposter.digest
    said = f"It says version 1, but other content is loaded ({imposter.digest[:12]})."
    assert placement.health_reason == said


def test_a_host_that_is_down_is_unreachable_once_on_record_and_serving_when_it_comes_back(
    serving: tuple[Placement, Version, Made], process: HostProcess
) -> None:
    placement, version, _ = serving
    process.stop(signal.SIGKILL)

    look(placement, times=3)

    assert placement.health == Health.UNREACHABLE
    assert placement.observed_digest == version.digest
    assert [event["data"]["health"] for event in events("placement.observe")] == ["serving", "unreachable"]

    process.start()
    look(placement)

    assert placement.health == Health.SERVING
    assert [event["data"]["health"] for event in events("placement.observe")][2:] == ["serving"]


def test_a_host_that_comes_back_with_nothing_is_not_ready_and_converging_is_asked_for(
    serving: tuple[Placement, Version, Made], host_process: Callable[..., HostProcess], redis_url: str
) -> None:
    placement, _, _ = serving
    empty = host_process(name="h2", ready=False)
    type(placement.host).objects.filter(pk=placement.host.pk).update(address=empty.url)

    look(placement)

    assert placement.health == Health.NOT_READY
    assert placement.observed_digest == ""
    assert converge_asked(redis_url) == [[placement.pk]]


def test_a_held_host_is_observed_and_not_converged(
    serving: tuple[Placement, Version, Made], process: HostProcess, tmp_path: Path, redis_url: str
) -> None:
    placement, version, _ = serving
    _, made = make_version(version.model, tmp_path, seed=2)
    process.serve("2", made, fence=2)
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    actions.hold(host=placement.host, until=until, reason="Being looked at.", actor=ALICE)

    look(placement, times=2)

    assert placement.health == Health.WRONG_VERSION
    assert converge_asked(redis_url) == []


def test_a_wrong_control_token_is_said_and_is_not_taken_for_an_answer(
    serving: tuple[Placement, Version, Made],
) -> None:
    placement, version, _ = serving
    actions.replace_token(host=placement.host, control_token="another", actor=ALICE)

    look(placement)

    assert placement.health == Health.UNKNOWN
    assert placement.observed_digest == version.digest


def test_an_observation_of_a_host_that_shall_serve_something_else_by_now_is_dropped(
    serving: tuple[Placement, Version, Made], tmp_path: Path
) -> None:
    placement, version, _ = serving
    stale = Placement.objects.select_related("endpoint__model", "host", "desired").get(pk=placement.pk)
    other, _ = make_version(version.model, tmp_path, seed=2)
    switched(placement, other)

    written = actions.observed.write_seen(placement=stale, seen=actions.observed.Seen(Health.UNREACHABLE, "gone"))

    placement.refresh_from_db()
    assert not written
    assert placement.health == Health.SERVING
    assert len(events("placement.observe")) == 1


def test_a_passed_golden_probe_keeps_a_host_serving(serving: tuple[Placement, Version, Made]) -> None:
    placement, _, _ = serving

    probe(placement)

    assert placement.health == Health.SERVING
    assert placement.golden_at is not None
    assert placement.observation["golden"]["passed"] is True
    assert placement.observation["golden"]["rows"] == 2
    assert events("placement.golden") == []


def test_wrong_outputs_from_the_right_content_are_found_and_stay_until_a_probe_passes(
    process: HostProcess, tmp_path: Path
) -> None:
    model = make_registered_model()
    version, made = make_version(model, tmp_path, golden=golden_bytes(label=0))
    placement = make_placement(make_endpoint(model), process)
    process.serve("1", made, fence=1)
    switched(placement, version)
    look(placement)

    probe(placement)
    look(placement)

    assert placement.observed_digest == version.digest
    assert placement.health == Health.WRONG_OUTPUT
    assert placement.health_reason == "2 of 2 golden rows are answered wrongly."
    [event] = events("placement.golden")
    assert (event["outcome"], event["data"]["mismatches"]) == ("failed", 2)


def test_a_golden_answer_from_another_version_is_no_answer_and_brings_the_observation_forward(
    serving: tuple[Placement, Version, Made], process: HostProcess, tmp_path: Path
) -> None:
    placement, version, _ = serving
    _, made = make_version(version.model, tmp_path, seed=2, label=0)
    process.serve("2", made, fence=2)

    probe(placement)

    assert placement.golden_at is None
    assert placement.health == Health.SERVING
    assert Placement.objects.filter(pk=placement.pk, observe_due_at__lte=Now()).exists()
