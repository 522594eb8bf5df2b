"""Switching the default of real hosts: atomic under traffic, fenced, and durable."""

import signal
import threading
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.host.artifacts import digest_of, make_model, row
from tests.host.fixtures import HostProcess

Factory = Callable[..., HostProcess]


def test_switching_under_traffic_fails_no_request_and_never_mixes_versions(
    host_process: Factory, tmp_path: Path
) -> None:
    # given two warm versions, of which the one always answers 0 and the other always 1
    host = host_process()
    made = {"1": make_model(tmp_path / "a", 1, bias=-100.0), "2": make_model(tmp_path / "b", 2, bias=100.0)}
    digests = {version: digest_of(manifest) for version, (manifest, _) in made.items()}
    host.serve("1", made["1"], 1)
    host.put("2", made["2"])
    host.load("2")
    truth = {(digests["1"], "1", 0), (digests["2"], "2", 1)}
    answers: list[tuple[str, str, int]] = []
    failures: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        columns = row()
        inputs = [{"name": n, "shape": [32], "datatype": "INT64", "data": d * 32} for n, d in columns.items()]
        with httpx.Client(base_url=host.url, timeout=10) as client:
            while not stop.is_set():
                answer = client.post("/v2/models/toy/infer", json={"inputs": inputs})
                if answer.status_code != 200:
                    failures.append(answer.text)
                    continue
                body = answer.json()
                labels = set(body["outputs"][0]["data"])
                answers.append((body["parameters"]["digest"], body["model_version"], labels.pop()))
                if labels:
                    failures.append("one answer held two labels")

    # when the default is switched to and fro, and the version left is sometimes unloaded, during traffic
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for fence in range(2, 22):
        to, left = ("2", "1") if fence % 2 == 0 else ("1", "2")
        assert host.switch(to, digests[to], fence).status_code == 200
        assert host.infer(row()).json()["model_version"] == to
        if fence % 5 == 0:
            assert host.unload(left).status_code == 200
            assert host.load(left).status_code == 200
    stop.set()
    for thread in threads:
        thread.join()

    # then every request was answered, wholly by one of the two
    assert failures == []
    assert set(answers) == truth
    versions = host.view()["versions"]
    assert sum(version["failures"] for version in versions.values()) == 0
    assert sum(version["requests"] for version in versions.values()) == len(answers) + 20
    assert [version["in_flight"] for version in versions.values()] == [0, 0]


def test_a_fence_lower_than_the_highest_seen_is_refused(host_process: Factory, tmp_path: Path) -> None:
    # given
    host = host_process()
    first = host.serve("1", make_model(tmp_path / "a", 1), 7)
    second = host.serve("2", make_model(tmp_path / "b", 2), 9)

    # when
    refused = host.switch("1", first, 8)

    # then
    assert (refused.status_code, refused.json()["type"]) == (409, "stale-fence")
    assert refused.headers["content-type"] == "application/problem+json"
    view = host.view()
    assert (view["default"], view["fence"]) == ({"version": "2", "digest": second}, 9)


def test_one_fence_switches_to_one_target_only(host_process: Factory, tmp_path: Path) -> None:
    # given
    host = host_process()
    first = host.serve("1", make_model(tmp_path / "a", 1), 1)
    second = host.serve("2", make_model(tmp_path / "b", 2), 2)

    # when
    again, other = host.switch("2", second, 2), host.switch("1", first, 2)

    # then the same call is idempotent and the other is refused
    assert again.status_code == 200
    assert again.json()["default"] == {"version": "2", "digest": second}
    assert (other.status_code, other.json()["type"]) == (409, "stale-fence")
    assert host.view()["default"]["version"] == "2"


def test_a_version_that_is_not_loaded_is_not_switched_to_but_its_fence_counts(
    host_process: Factory, tmp_path: Path
) -> None:
    # given
    host = host_process()
    first = host.serve("1", make_model(tmp_path / "a", 1), 1)
    made = make_model(tmp_path / "b", 2)
    host.put("2", made)

    # when
    early = host.switch("2", digest_of(made[0]), 5)

    # then
    assert (early.status_code, early.json()["type"]) == (409, "not-ready")
    assert host.view()["default"] == {"version": "1", "digest": first}
    assert host.switch("1", first, 4).json()["type"] == "stale-fence"

    # when it is loaded, the fence that was refused may be used
    host.load("2")
    assert host.switch("2", digest_of(made[0]), 5).status_code == 200


def test_a_switch_that_names_another_digest_is_refused(host_process: Factory, tmp_path: Path) -> None:
    # given
    host = host_process()
    first = host.serve("1", make_model(tmp_path / "a", 1), 1)
    host.put("2", make_model(tmp_path / "b", 2))
    host.load("2")

    # when
    refused = host.switch("2", first, 2)

    # then
    assert (refused.status_code, refused.json()["type"]) == (409, "digest-mismatch")
    assert host.view()["default"] == {"version": "1", "digest": first}
    assert host.infer(row()).json()["parameters"]["digest"] == first


def test_default_fence_and_staged_versions_survive_kill_9(host_process: Factory, tmp_path: Path) -> None:
    # given
    host = host_process()
    first = host.serve("1", make_model(tmp_path / "a", 1), 3)
    second = host.serve("2", make_model(tmp_path / "b", 2), 4)
    before = host.infer(row()).json()["outputs"]
    boot = host.http.get("/lastgood/v1/state").json()["boot_id"]

    # when
    host.stop(signal.SIGKILL)
    host.start()

    # then the default answers as before, the other is staged, and the fence still holds
    assert host.infer(row()).json()["outputs"] == before
    view = host.view()
    assert (view["default"], view["fence"]) == ({"version": "2", "digest": second}, 4)
    assert view["versions"]["2"]["loaded_digest"] == second
    assert (view["versions"]["1"]["state"], view["versions"]["1"]["loaded_digest"]) == ("staged", None)
    assert host.http.get("/lastgood/v1/state").json()["boot_id"] != boot
    host.load("1")
    assert host.switch("1", first, 3).json()["type"] == "stale-fence"


def test_a_default_damaged_on_disk_keeps_the_host_not_ready_until_it_is_staged_again(
    host_process: Factory, tmp_path: Path
) -> None:
    # given a host whose default's weights are damaged while it is down
    host = host_process()
    made = make_model(tmp_path / "a", 1)
    digest = host.serve("1", made, 1)
    host.stop()
    weights = host.blob(made, "weights")
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")

    # when
    host.start(ready=False)

    # then it is alive and answers nothing
    host.wait_for_state("1", "failed")
    assert host.http.get("/v2/health/ready").status_code == 503
    assert host.infer(row()).status_code == 503
    assert "damaged" in host.view()["versions"]["1"]["reason"]

    # when the version is staged again
    assert host.put("1", made).status_code == 200
    assert host.load("1").status_code == 200

    # then
    assert host.http.get("/v2/health/ready").status_code == 200
    assert host.infer(row()).json()["parameters"]["digest"] == digest


def test_the_default_can_not_be_unloaded(host_process: Factory, tmp_path: Path) -> None:
    host = host_process()
    host.serve("1", make_model(tmp_path / "a", 1), 1)

    refused = host.unload("1")

    assert (refused.status_code, refused.json()["type"]) == (409, "is-default")
    assert host.infer(row()).status_code == 200


def test_control_needs_the_token(host_process: Factory, tmp_path: Path) -> None:
    # given
    host = host_process()
    first = host.serve("1", make_model(tmp_path / "a", 1), 1)
    host.serve("2", make_model(tmp_path / "b", 2), 2)

    # when
    with httpx.Client(base_url=host.url, headers={"Authorization": "Bearer guess"}) as stranger:
        answers = [
            stranger.get("/lastgood/v1/state"),
            stranger.post("/v2/repository/index"),
            stranger.post("/lastgood/v1/models/toy/default", json={"version": "1", "digest": first, "fence": 3}),
            stranger.post("/lastgood/v1/models/toy/versions/1/unload"),
        ]

    # then
    assert [answer.status_code for answer in answers] == [401] * 4
    assert (host.view()["default"]["version"], host.view()["versions"]["1"]["state"]) == ("2", "ready")


def test_a_second_host_does_not_start_on_a_state_directory_in_use(host_process: Factory, tmp_path: Path) -> None:
    host = host_process()
    rival = HostProcess(host.state, "rival", {})

    assert rival.run_to_end() == (
        2,
        f"The host can't start. Another host runs on {host.state}; give this one a state directory of its own.\n",
    )
    assert host.http.get("/v2/health/ready").status_code == 200
