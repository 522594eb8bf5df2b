"""A model is taken out of service and brought back, and a second version takes a share, each under a fence."""

from pathlib import Path
from typing import Any

import pytest

from tests.host.artifacts import make_model, row
from tests.host.fixtures import Two


def post(two: Two, what: str, **body: Any) -> tuple[int, str]:
    answer = two[0].http.post(f"/lastgood/v1/models/{two[1]}/{what}", json=body)
    return answer.status_code, answer.json().get("type", "")


def test_out_of_service_it_is_not_ready_answers_late_requests_and_lets_its_default_go(two: Two) -> None:
    host, model, first, second = two
    assert host.unload("1", model).status_code == 409

    assert post(two, "service", serving=False, fence=2) == (200, "")

    assert host.http.get(f"/v2/models/{model}/ready").json()["type"] == "out-of-service"
    assert host.http.get("/v2/health/ready").status_code == 503
    assert host.infer(row(), model=model).json()["parameters"]["digest"] == first
    assert host.unload("1", model).status_code == 200
    assert host.infer(row(), model=model).status_code == 503
    assert post(two, "service", serving=True, fence=2) == (409, "not-ready")
    assert host.switch("2", second, 2, model).status_code == 200
    assert host.view(model)["in_service"] is True
    assert host.infer(row(), model=model).json()["parameters"]["digest"] == second
    assert host.http.get("/v2/health/ready").status_code == 200


def test_a_late_call_to_take_it_out_does_nothing_after_the_switch(two: Two) -> None:
    host, model, _, second = two
    assert post(two, "service", serving=False, fence=2) == (200, "")
    assert host.switch("2", second, 2, model).status_code == 200

    assert post(two, "service", serving=False, fence=2) == (409, "stale-fence")
    assert post(two, "service", serving=False, fence=1) == (409, "stale-fence")
    assert host.view(model)["in_service"] is True


def answered_by(two: Two, ids: list[str]) -> list[str]:
    host, model = two[:2]
    return [host.infer(row(), model=model, id=id_).json()["parameters"]["digest"] for id_ in ids]


def test_a_share_is_decided_by_the_requests_id_and_only_grows_under_one_fence(two: Two) -> None:
    host, model, first, second = two
    ids = [f"request-{i}" for i in range(200)]

    assert post(two, "share", version="2", digest=second, percent=20, fence=2) == (200, "")
    small = answered_by(two, ids)
    again = answered_by(two, ids[:20])
    assert post(two, "share", version="2", digest=second, percent=60, fence=2) == (200, "")
    large = answered_by(two, ids)

    assert small[:20] == again
    assert 20 <= small.count(second) <= 60
    assert 95 <= large.count(second) <= 145
    assert all(after == second for before, after in zip(small, large, strict=True) if before == second)
    assert post(two, "share", version="2", digest=second, percent=20, fence=2) == (409, "stale-fence")
    assert host.unload("2", model).status_code == 409
    assert host.infer(row(), model=model).json()["parameters"]["digest"] == first


def test_an_id_with_half_a_character_is_refused_while_a_share_is_decided_by_it(two: Two) -> None:
    host, model, _, second = two
    assert post(two, "share", version="2", digest=second, percent=20, fence=2) == (200, "")

    answer = host.http.post(f"/v2/models/{model}/infer", content=b'{"id": "\\ud800", "inputs": []}')

    assert (answer.status_code, answer.json()["field"]) == (400, "id")


def test_the_switch_ends_the_share_and_its_late_calls(two: Two) -> None:
    host, model, first, second = two
    assert post(two, "share", version="2", digest=second, percent=20, fence=2) == (200, "")

    assert host.switch("1", first, 3, model).status_code == 200

    assert host.view(model)["share"] is None
    assert post(two, "share", version="2", digest=second, percent=50, fence=2) == (409, "stale-fence")
    assert post(two, "share", version="2", digest=second, percent=50, fence=3) == (409, "stale-fence")
    assert set(answered_by(two, [f"r{i}" for i in range(30)])) == {first}


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("service", {"serving": 1, "fence": 2}),
        ("service", {"serving": True, "fence": 0}),
        ("share", {"version": "2", "digest": "0" * 64, "percent": 100, "fence": 2}),
        ("share", {"version": "2", "digest": "0" * 64, "percent": True, "fence": 2}),
    ],
)
def test_a_call_that_makes_no_sense_changes_nothing(two: Two, what: str, body: dict[str, Any]) -> None:
    before = two[0].view(two[1])

    assert post(two, what, **body) == (400, "bad-request")
    assert two[0].view(two[1])["fence"] == before["fence"]


def test_a_restart_keeps_it_out_of_service_and_loads_nothing(host_process: Any, tmp_path: Path) -> None:
    host = host_process()
    made = make_model(tmp_path / "one", 1)
    host.serve("1", made, 1)
    assert host.http.post("/lastgood/v1/models/toy/service", json={"serving": False, "fence": 2}).status_code == 200

    host.stop(9)
    host.start(ready=False)

    assert (host.view()["in_service"], host.view()["versions"]["1"]["state"]) == (False, "staged")
    assert host.load("1").status_code == 200
    assert host.http.post("/lastgood/v1/models/toy/service", json={"serving": True, "fence": 3}).status_code == 200
    host.wait_for("/v2/health/ready")
