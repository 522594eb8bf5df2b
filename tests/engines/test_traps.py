"""Where an engine's own word is not the truth: each trap as it really is, and that the driver does not fall into it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from registry.serving.base import HostAddress, Refused, ServingError
from tests.engines.servers import Server, kill_stub, weights
from tests.engines.story import Story
from tests.waiting import until

pytestmark = pytest.mark.engines


@pytest.fixture
def triton(servers: Callable[[str], Server]) -> Story:
    return Story(servers("triton"))


@pytest.fixture
def mlserver(servers: Callable[[str], Server]) -> Story:
    return Story(servers("mlserver"))


@pytest.fixture
def torchserve(servers: Callable[[str], Server]) -> Story:
    return Story(servers("torchserve"))


def post(story: Story, path: str, body: Any = None) -> tuple[int, str]:
    # MLServer drops the connection of a request that it answered with 500.
    answer = story.server.http.post(path, json={} if body is None else body, headers={"Connection": "close"})
    return answer.status_code, answer.text


def index(story: Story) -> dict[str, str]:
    """Version -> state, as the index says."""
    listed = json.loads(post(story, "/v2/repository/index")[1])
    return {
        entry.get("version", ""): entry["state"]
        for entry in listed
        if entry["name"] == story.model and "state" in entry
    }


def load_by_hand(story: Story, versions: list[int]) -> tuple[int, str]:
    """What an operator types: load the model with a version policy."""
    config = story.server.config | {"version_policy": {"specific": {"versions": versions}}}  # type: ignore[attr-defined]
    return post(story, f"/v2/repository/models/{story.model}/load", {"parameters": {"config": json.dumps(config)}})


def slot(story: Story, version: str) -> int:
    return int(story.server.file_on_disk(story.model, version, story.made[int(version)]).parent.name)


# Triton


def test_triton_a_dead_stub_is_ready_and_loading_it_again_answers_200_and_does_nothing(triton: Story) -> None:
    triton.serve(1)
    kill_stub(triton.server, triton.model)
    number = slot(triton, "1")

    # when: what Triton says
    assert index(triton) == {str(number): "READY"}
    assert triton.server.http.get(f"/v2/models/{triton.model}/ready").status_code == 200
    assert load_by_hand(triton, [number])[0] == 200

    # then: the golden test is not answered, whatever was said; another copy of the version is
    with pytest.raises(Refused, match="not healthy"):
        triton.answers()
    triton.stage(2)
    triton.load(2)
    assert triton.answers("2") == triton.server.expected(2)
    triton.switch(2)
    assert triton.answers() == triton.server.expected(2)


def test_triton_a_policy_that_names_a_missing_version_is_answered_200(triton: Story) -> None:
    triton.serve(1)

    assert load_by_hand(triton, [slot(triton, "1"), 4])[0] == 200

    assert triton.seen().default_digest == triton.digest(1)
    with pytest.raises(Refused) as caught:
        triton.driver.load(triton.address, triton.model, "4")
    assert caught.value.type == "unknown-version"


def test_triton_the_highest_ready_number_has_the_traffic_so_a_version_is_staged_below(triton: Story) -> None:
    triton.serve(1)
    triton.serve(2)
    assert slot(triton, "2") < slot(triton, "1")
    # where version 1 lies it would take the traffic if it were loaded, so it counts as not staged
    until(lambda: triton.seen().versions.keys() == {"2"}, seconds=30)

    load_by_hand(triton, [slot(triton, "1"), slot(triton, "2")])
    assert triton.seen().default_digest == triton.digest(1)
    with pytest.raises(Refused) as caught:
        triton.driver.unload(triton.address, triton.model, "1")
    assert caught.value.type == "is-default"


def test_triton_remembers_the_policy_of_the_last_load(triton: Story) -> None:
    triton.serve(1)
    triton.serve(2)

    assert post(triton, f"/v2/repository/models/{triton.model}/load")[0] == 200

    assert triton.answers() == triton.server.expected(2)
    assert triton.seen().default_digest == triton.digest(2)


def test_triton_one_broken_model_makes_the_whole_server_not_ready_and_it_is_observed_all_the_same(
    triton: Story,
) -> None:
    triton.serve(1)
    with pytest.raises(Refused, match="these weights are broken"):
        triton.bring_broken(3)

    assert triton.server.http.get("/v2/health/ready").status_code == 400
    assert triton.seen().default_digest == triton.digest(1)
    assert "these weights are broken" in triton.seen().versions["3"].reason
    assert triton.answers() == triton.server.expected(1)


def test_triton_versions_of_one_model_share_one_configuration(triton: Story) -> None:
    triton.serve(1)
    manifest, blobs = triton.server.make(triton.model, 2)
    other = json.dumps({**triton.server.config, "max_batch_size": 8}).encode()  # type: ignore[attr-defined]
    files = {name: blobs[sha].read_bytes() for name, sha in named(manifest).items()}
    triton.made[2] = triton.server.keep(
        triton.model,
        {
            "weights": {"weights.json": files["weights.json"]},
            "code": {"model.py": files["model.py"]},
            "config": {"config.json": other},
        },
    )
    triton.driver.stage(triton.address, triton.model, "2", *triton.made[2])

    with pytest.raises(Refused) as caught:
        triton.load(2)

    assert caught.value.type == "config-differs"
    assert triton.answers() == triton.server.expected(1)


def named(manifest: bytes) -> dict[str, str]:
    components = json.loads(manifest)["components"].values()
    return {entry["path"]: entry["sha256"] for entries in components for entry in entries}


def test_triton_unloading_what_it_does_not_know_is_answered_200(triton: Story) -> None:
    triton.serve(1)
    assert post(triton, "/v2/repository/models/nothing-of-this-name/unload")[0] == 200

    triton.stage(2)
    triton.driver.unload(triton.address, triton.model, "2")

    assert triton.seen().versions["2"].state == "staged"
    assert triton.answers() == triton.server.expected(1)


def test_triton_a_version_that_is_gone_back_to_right_after_a_switch_is_staged_below_and_not_taken_for_staged(
    triton: Story,
) -> None:
    """While Triton still unloads it, its slot lies above the serving one: loaded there it would take the traffic."""
    triton.serve(1)
    triton.serve(2)
    above = slot(triton, "1")
    triton.serve(1)

    serving = max(int(number) for number, state in index(triton).items() if state == "READY")
    assert serving < slot(triton, "2") < above
    assert triton.answers() == triton.server.expected(1)


def test_triton_what_a_switch_leaves_above_is_removed_from_disk_so_that_versions_do_not_pile_up(triton: Story) -> None:
    triton.serve(1)
    for number in (2, 1, 2, 1, 2):
        triton.serve(number)
        until(lambda: "UNLOADING" not in index(triton).values(), seconds=30)
    triton.stage(3)

    folders = [path for path in (triton.server.repository / triton.model).iterdir() if path.name.isdecimal()]
    assert sorted((path / "lastgood-version").read_text() for path in folders) == ["2", "3"]


# MLServer


def test_mlserver_refuses_an_index_without_a_body_and_an_unload_of_nothing_and_the_driver_repeats_itself(
    mlserver: Story,
) -> None:
    mlserver.serve(1)
    mlserver.stage(2)
    mlserver.load(2)
    assert mlserver.server.http.post("/v2/repository/index").status_code == 422
    assert post(mlserver, "/v2/repository/models/nothing-of-this-name/unload")[0] == 404

    for _ in range(2):
        mlserver.driver.unload(mlserver.address, mlserver.model, "2")

    assert mlserver.seen().versions["2"].state == "staged"
    assert mlserver.answers() == mlserver.server.expected(1)


def test_mlserver_says_what_its_loader_met_without_json_and_the_driver_passes_it_on(mlserver: Story) -> None:
    mlserver.serve(1)
    mlserver.stage(3, broken=True)

    with pytest.raises(Refused) as caught:
        mlserver.load(3)

    assert (caught.value.status, caught.value.type) == (500, "load-failed")
    assert "these weights are broken" in str(caught.value)


def test_mlserver_the_index_shows_what_is_on_disk_and_not_what_is_in_memory(mlserver: Story) -> None:
    mlserver.serve(1)
    settings = mlserver.server.repository / mlserver.model / "model-settings.json"
    before = json.loads(settings.read_bytes())
    mlserver.stage(3, broken=True)
    broken = mlserver.server.file_on_disk(mlserver.model, "3", mlserver.made[3]).parent
    wanted = {
        **before,
        "parameters": {"uri": str(broken), "version": "v3"},
        "platform": "lastgood/3/" + mlserver.digest(3),
    }
    settings.write_text(json.dumps(wanted))
    assert post(mlserver, f"/v2/repository/models/{mlserver.model}/load")[0] == 500

    assert index(mlserver) == {"v3": "READY"}
    assert (mlserver.seen().default_version, mlserver.seen().default_digest) == ("1", mlserver.digest(1))
    assert mlserver.answers() == mlserver.server.expected(1)


def test_mlserver_what_could_not_be_loaded_is_not_left_for_the_next_start(mlserver: Story) -> None:
    mlserver.serve(1)
    with pytest.raises(Refused, match="these weights are broken"):
        mlserver.bring_broken(3)

    folder = mlserver.server.repository / f"{mlserver.model}--next"
    assert not folder.exists()
    assert mlserver.seen().versions["3"].state == "staged"


def test_mlserver_a_version_string_would_fail_unversioned_requests_while_it_loads_so_none_is_written(
    mlserver: Story,
) -> None:
    manifest, blobs = mlserver.server.make(mlserver.model, 1)
    files = {name: blobs[sha].read_bytes() for name, sha in named(manifest).items()}
    own = json.loads(files["settings.json"]) | {"parameters": {"version": "v9", "extra": {"kept": True}}}
    mlserver.made[1] = mlserver.server.keep(
        mlserver.model,
        {"weights": {"weights.json": files["weights.json"]}, "config": {"settings.json": json.dumps(own).encode()}},
    )
    mlserver.driver.stage(mlserver.address, mlserver.model, "1", *mlserver.made[1])
    mlserver.load(1)
    mlserver.switch(1)

    written = json.loads((mlserver.server.repository / mlserver.model / "model-settings.json").read_bytes())
    assert "version" not in written["parameters"]
    assert written["parameters"]["extra"] == {"kept": True}
    assert mlserver.server.http.get(f"/v2/models/{mlserver.model}").json()["versions"] == []


# TorchServe


def management(story: Story, method: str, path: str) -> int:
    url = story.address.options["management"] + path
    return story.server.http.request(method, url, timeout=120).status_code


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


# Memory that is not what the files say


def test_weights_in_memory_that_are_not_those_on_disk_fail_the_golden_test(triton: Story) -> None:
    triton.serve(1)
    triton.stage(2)
    file: Path = triton.server.file_on_disk(triton.model, "2", triton.made[2])
    right = file.read_bytes()
    file.write_bytes(weights(2, False, 9.0))
    assert load_by_hand(triton, [slot(triton, "1"), slot(triton, "2")])[0] == 200
    file.write_bytes(right)

    assert triton.seen().versions["2"].state == "ready", "files and index say that all is well"
    assert triton.seen().versions["2"].digest == triton.digest(2)
    assert triton.answers("2") == {"y": [13.5, 18.0]} != triton.server.expected(2)


def test_a_repository_that_is_not_mounted_is_said(triton: Story, tmp_path: Path) -> None:
    lost = HostAddress(triton.server.url, "", options={"repository": str(tmp_path / "gone")})

    with pytest.raises(Exception, match="Mount the engine's model repository"):
        triton.driver.observe(lost)
