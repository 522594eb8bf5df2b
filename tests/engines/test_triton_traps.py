"""Where Triton's own word is not the truth: each trap as it really is, and that the driver does not fall into it."""

import base64
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from registry.serving.base import HostAddress, OutcomeUnknown, Refused, ServingError
from tests.engines.by_hand import index, load_by_hand, named, post, slot
from tests.engines.servers import PROGRAMS, PollingTriton, RestrictedTriton, Server, kill_stub, weights
from tests.engines.story import Story
from tests.waiting import until

pytestmark = pytest.mark.engines


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


def test_triton_that_watches_its_folder_itself_takes_no_orders_and_nothing_is_believed_to_be_loaded(
    own: Callable[[type[Server]], Story],
) -> None:
    polling = own(PollingTriton)
    polling.stage(1)

    for act in (lambda: polling.load(1), lambda: polling.bring_broken(2)):
        with pytest.raises(
            Refused, match="explicit model load / unload is not allowed if polling is enabled"
        ) as caught:
            act()
        assert (caught.value.status, caught.value.type) == (503, "load-failed")

    seen = polling.seen()
    assert (seen.default_version, {state.state for state in seen.versions.values()}) == (None, {"staged"})


def test_triton_with_a_restricted_repository_is_driven_with_its_key_as_the_control_token(
    own: Callable[[type[Server]], Story],
) -> None:
    restricted = own(RestrictedTriton)
    restricted.serve(1)
    assert restricted.answers() == restricted.server.expected(1)

    restricted.address = replace(restricted.address, token="another")
    with pytest.raises(Refused, match="This API is restricted, expecting header 'authorization'"):
        restricted.seen()


def test_triton_a_file_override_is_answered_200_and_does_nothing_or_puts_other_weights_under_our_number(
    triton: Story,
) -> None:
    triton.serve(1)
    number = slot(triton, "1")
    files = {"weights.json": weights(1, False, 9.0), "model.py": (PROGRAMS / "model.py").read_bytes()}
    parameters = {f"file:{number}/{name}": base64.b64encode(data).decode() for name, data in files.items()}
    config = {**triton.server.config, "version_policy": {"specific": {"versions": [number]}}}  # type: ignore[attr-defined]
    path = f"/v2/repository/models/{triton.model}"
    assert post(triton, f"{path}/load", {"parameters": parameters})[0] == 500, "it wants the configuration beside"

    def overridden() -> int:
        return post(triton, f"{path}/load", {"parameters": {"config": json.dumps(config), **parameters}})[0]

    # given it is in memory: answered 200, and nothing is done
    assert overridden() == 200
    assert triton.answers() == triton.server.expected(1)

    # given it is not: other weights are in memory, and the index and the folder say that it is ours
    post(triton, f"{path}/unload")
    until(lambda: index(triton)[str(number)] == "UNAVAILABLE", seconds=30)
    assert overridden() == 200
    assert triton.seen().default_digest == triton.digest(1)

    # then the golden test finds it, and the next version that is brought is right
    assert triton.answers() == {"y": [13.5, 18.0]} != triton.server.expected(1)
    triton.serve(2)
    assert triton.answers() == triton.server.expected(2)


def test_triton_lets_nothing_of_a_set_in_where_one_version_of_it_is_broken(triton: Story) -> None:
    triton.serve(1)
    triton.stage(2)
    triton.stage(3, broken=True)
    numbers = [slot(triton, version) for version in ("1", "2", "3")]

    # when the broken one is asked for again, it is refused again
    for _ in range(2):
        assert load_by_hand(triton, numbers)[0] == 400
        with pytest.raises(Refused, match="these weights are broken"):
            triton.load(3)

    assert triton.seen().versions["2"].state in ("staged", "draining")
    assert (triton.seen().default_digest, triton.answers()) == (triton.digest(1), triton.server.expected(1))
    triton.load(2)
    assert triton.answers("2") == triton.server.expected(2)


def stage_slow(story: Story, number: int, seconds: float) -> None:
    story.made[number] = story.server.make(story.model, number, seconds=seconds)  # type: ignore[call-arg]
    story.driver.stage(story.address, story.model, str(number), *story.made[number])


def test_triton_answers_200_to_both_of_two_writers_and_what_the_later_one_left_out_is_not_switched_to(
    triton: Story,
) -> None:
    triton.serve(1)
    # given a load that is under way
    number, loading, told = load_in_sight(triton)

    # when somebody else tells Triton what to hold, which waits for it
    assert load_by_hand(triton, [slot(triton, "1")])[0] == 200
    loading.join(60)

    # then the load may have been seen whole for a moment; what is in memory decides
    assert told == [None] or isinstance(told[0], OutcomeUnknown)
    until(lambda: triton.seen().versions[str(number)].state == "staged", seconds=30)
    with pytest.raises(Refused) as caught:
        triton.switch(number)
    assert caught.value.type == "not-ready"
    assert triton.answers() == triton.server.expected(1)


def load_in_sight(triton: Story) -> tuple[int, threading.Thread, list[Exception | None]]:
    """A slow load that Triton's index shows, and what its driver will have told: an index that was asked as the load
    began may come only when it is over, and then the next version is loaded."""
    for number in (2, 3, 4):
        stage_slow(triton, number, seconds=3)
        told: list[Exception | None] = []
        loading = threading.Thread(target=load_and_tell, args=(triton, number, told))
        loading.start()
        while not told:
            if index(triton).get(str(slot(triton, str(number)))) == "LOADING":
                return number, loading, told
        assert told == [None]
    raise AssertionError("three loads came and went, and none was seen")


def load_and_tell(triton: Story, number: int, told: list[Exception | None]) -> None:
    try:
        triton.load(number)
        told.append(None)
    except ServingError as error:
        told.append(error)


def test_triton_a_load_that_outlasts_its_answer_is_unknown_and_observed_until_it_is_there(
    triton: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    triton.serve(1)
    stage_slow(triton, 2, seconds=4)
    monkeypatch.setattr("registry.serving.triton.LOAD_SECONDS", 1.0)

    with pytest.raises(OutcomeUnknown):
        triton.load(2)

    assert triton.seen().versions["2"].state == "loading"
    assert triton.answers() == triton.server.expected(1)
    until(lambda: triton.seen().versions["2"].state == "ready", seconds=60)
    triton.switch(2)
    assert triton.answers() == triton.server.expected(2)


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


@pytest.mark.parametrize("folders", [[1], [1, 2, 3], [1_700_000_000]])
def test_triton_a_model_that_others_numbered_is_gone_on_from_and_their_folders_are_left_as_they_are(
    triton: Story, folders: list[int]
) -> None:
    # given a model as it is found where nobody has heard of Lastgood
    story, root = triton, triton.server.repository / triton.model
    manifest, blobs = story.server.make(story.model, 9)
    for number in folders:
        for name, sha256 in named(manifest).items():
            target = root / str(number) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(blobs[sha256].read_bytes())
    assert load_by_hand(story, [folders[-1]])[0] == 200

    def left() -> dict[str, bytes]:
        found = [path for number in folders for path in (root / str(number)).iterdir() if path.is_file()]
        return {str(path.relative_to(root)): path.read_bytes() for path in found}

    before, asked, over = left(), list[float](), threading.Event()

    def ask() -> None:
        while not over.is_set():
            asked.append(story.server.ask(story.server.http, story.model)["y"][0] / 1.5)

    traffic = threading.Thread(target=ask)
    traffic.start()
    try:
        # when it goes from one version to the next, more often than there are numbers
        for version in (2, 3, 4):
            story.serve(version)
            # then each answers, and may be gone back from
            assert story.answers() == story.server.expected(version)
    finally:
        over.set()
        traffic.join()
    assert list(dict.fromkeys(asked)) == [9.0, 2.0, 3.0, 4.0]
    assert left() == before
    assert story.seen().default_version == "4"
