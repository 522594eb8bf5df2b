"""Where MLServer's own word is not the truth: each trap as it really is, and that the driver does not fall into it."""

import json
import threading

import pytest

from registry.serving.base import Refused
from tests.engines.by_hand import index, named, post
from tests.engines.servers import weights
from tests.engines.story import Story
from tests.waiting import until

pytestmark = pytest.mark.engines


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


def test_mlserver_fails_every_unversioned_request_while_a_higher_version_loads_which_the_driver_spares_them(
    mlserver: Story,
) -> None:
    def by_hand(number: int, seconds: float) -> None:
        folder = mlserver.server.repository / f"{mlserver.model}-{number}"
        folder.mkdir()
        (folder / "weights.json").write_bytes(weights(number, False, None, seconds=seconds))
        settings = {"name": mlserver.model, "implementation": "linear_runtime.Linear"}
        parameters = {"uri": str(folder), "version": f"v{number}"}
        (folder / "model-settings.json").write_text(json.dumps({**settings, "parameters": parameters}))

    load = f"/v2/repository/models/{mlserver.model}/load"
    tensor = {"name": "x", "shape": [1], "datatype": "FP64", "data": [1.0]}

    def asked() -> tuple[int, str]:
        return post(mlserver, f"/v2/models/{mlserver.model}/infer", {"inputs": [tensor]})

    # given a version by its string, as a folder of MLServer's own has them
    by_hand(1, seconds=0)
    assert post(mlserver, load)[0] == 200
    assert asked()[0] == 200

    # when a higher one is loaded beside it
    by_hand(2, seconds=3)
    loading = threading.Thread(target=post, args=(mlserver, load))
    loading.start()
    until(lambda: asked()[0] != 200, seconds=30)
    assert asked() == (400, json.dumps({"error": f"Model {mlserver.model} is not ready yet."}, separators=(",", ":")))
    loading.join(60)
    assert asked()[0] == 200
