"""Where TorchServe's own word is not the truth: each trap as it is, and that the driver does not fall into it."""

from dataclasses import replace

import pytest

from registry.serving.base import Refused, ServingError
from tests.engines.by_hand import management, named
from tests.engines.story import Story
from tests.waiting import until

pytestmark = pytest.mark.engines


def test_torchserve_calls_itself_healthy_while_nothing_answers_and_the_driver_looks_at_the_workers(
    torchserve: Story,
) -> None:
    torchserve.serve(1)
    assert torchserve.server.process is not None
    own = f"{torchserve.model}/1.0"
    assert management(torchserve, "PUT", f"/models/{own}?min_worker=0&max_worker=0&synchronous=true") == 200

    ping = torchserve.server.http.get("/ping")
    assert (ping.status_code, ping.json()) == (200, {"status": "Healthy"})
    assert torchserve.seen().versions["1"].state == "loading"
    with pytest.raises(Refused, match="has no worker to serve inference request"):
        torchserve.answers()

    torchserve.load(1)
    assert torchserve.answers() == torchserve.server.expected(1)


def test_torchserve_keeps_a_version_that_does_not_fit_into_memory_and_the_driver_takes_it_out_again(
    torchserve: Story,
) -> None:
    torchserve.serve(1)
    torchserve.made[2] = torchserve.server.make(torchserve.model, 2, out_of_memory=True)  # type: ignore[call-arg]
    torchserve.driver.stage(torchserve.address, torchserve.model, "2", *torchserve.made[2])

    # given that by hand it stays, without a worker
    path = f"/models?url={torchserve.digest(2)}.mar&model_name={torchserve.model}&initial_workers=1&synchronous=true"
    assert management(torchserve, "POST", path) == 507
    assert torchserve.seen().versions["2"].state == "loading"

    with pytest.raises(Refused, match="Failed to start workers") as caught:
        torchserve.load(2)

    assert (caught.value.status, caught.value.type) == (507, "load-failed")
    assert management(torchserve, "GET", f"/models/{torchserve.model}/2.0") == 404
    assert torchserve.seen().versions["2"].state == "staged"
    assert torchserve.answers() == torchserve.server.expected(1)


def test_torchserve_that_scales_without_waiting_answers_202_and_the_driver_waits_for_a_worker(
    torchserve: Story,
) -> None:
    torchserve.serve(1)
    torchserve.stage(2)
    torchserve.load(2)
    own = f"/models/{torchserve.model}/2.0"
    assert management(torchserve, "PUT", f"{own}?min_worker=0&max_worker=0&synchronous=true") == 200
    until(lambda: torchserve.seen().versions["2"].state != "ready", seconds=30)

    # given somebody has it scaled, and was answered before there is a worker
    assert management(torchserve, "PUT", f"{own}?min_worker=3&max_worker=3") == 202

    # when the driver is told to load it, it returns with one that answers
    torchserve.load(2)
    assert torchserve.answers("2") == torchserve.server.expected(2)
    torchserve.switch(2)
    assert torchserve.answers() == torchserve.server.expected(2)


def test_torchserve_makes_a_version_without_workers_the_default_and_the_driver_does_not(torchserve: Story) -> None:
    torchserve.serve(1)
    torchserve.stage(2)
    torchserve.load(2)
    assert (
        management(torchserve, "PUT", f"/models/{torchserve.model}/2.0?min_worker=0&max_worker=0&synchronous=true")
        == 200
    )
    until(lambda: torchserve.seen().versions["2"].state != "ready", seconds=30)

    with pytest.raises(Refused) as caught:
        torchserve.switch(2)
    assert caught.value.type == "not-ready"
    assert torchserve.answers() == torchserve.server.expected(1)

    torchserve.load(2)
    torchserve.switch(2)
    assert torchserve.answers() == torchserve.server.expected(2)


def test_torchserve_does_not_unregister_its_default_and_the_driver_does_not_ask_it_to(torchserve: Story) -> None:
    torchserve.serve(1)
    torchserve.stage(2)
    torchserve.load(2)
    assert management(torchserve, "DELETE", f"/models/{torchserve.model}/1.0") == 403

    with pytest.raises(Refused) as caught:
        torchserve.driver.unload(torchserve.address, torchserve.model, "1")

    assert caught.value.type == "is-default"
    assert torchserve.answers("1") == torchserve.server.expected(1)


def test_torchserve_counts_unversioned_requests_for_no_version_so_a_run_does_not_either(torchserve: Story) -> None:
    """Whichever version is the default later has the count of all of them: only their growth since is its own."""
    torchserve.serve(1)
    for _ in range(3):
        torchserve.server.ask(torchserve.server.http, torchserve.model)
    torchserve.serve(2)

    assert torchserve.seen().versions["2"].requests >= 3
    assert not torchserve.driver.capabilities.counts_by_version


def test_torchserve_forgets_versions_and_default_when_it_is_started_again(torchserve: Story) -> None:
    torchserve.serve(1)
    torchserve.server.kill()
    torchserve.server.start()

    forgotten = torchserve.seen()
    assert (forgotten.default_version, forgotten.default_digest) == (None, None)
    assert forgotten.versions["1"].state == "staged"


def test_torchserve_a_version_of_an_archive_that_is_not_ours_is_unknown(torchserve: Story) -> None:
    torchserve.serve(1)
    manifest, blobs = torchserve.server.make(torchserve.model, 5)
    (torchserve.server.repository / "by-hand.mar").write_bytes(blobs[named(manifest)["model.mar"]].read_bytes())
    path = f"/models?url=by-hand.mar&model_name={torchserve.model}&initial_workers=1&synchronous=true"
    assert management(torchserve, "POST", path) == 200
    assert management(torchserve, "PUT", f"/models/{torchserve.model}/5.0/set-default") == 200

    assert (torchserve.seen().default_version, torchserve.seen().default_digest) == ("unknown", "unknown")


def test_torchserve_asks_for_one_key_to_manage_and_another_to_predict(guarded: Story) -> None:
    guarded.serve(1)
    assert guarded.answers() == guarded.answers("1") == guarded.server.expected(1)
    management, inference = guarded.address.token.split(":")

    # when a key is not what is asked for, as after a restart or its hour
    for token, act in ((management, guarded.answers), (f"{inference}:{inference}", guarded.seen)):
        guarded.address = replace(guarded.server.address, token=token)
        with pytest.raises(ServingError, match="Token either incorrect, expired"):
            act()


def test_torchserve_two_archives_of_one_inner_version_do_not_stand_beside_each_other(torchserve: Story) -> None:
    torchserve.serve(1)
    torchserve.made[2] = torchserve.server.make(torchserve.model, 1, scale=2.0)
    torchserve.driver.stage(torchserve.address, torchserve.model, "2", *torchserve.made[2])

    with pytest.raises(Refused, match="already registered"):
        torchserve.load(2)

    assert torchserve.answers() == torchserve.server.expected(1)
