"""A loaded version is asked the default's live requests as well, answers nobody, and is compared with it."""

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from host.mirror import MOST_ROWS, MOST_WAITING, Session, Shadows
from host.store import Target
from host.version import Answer
from tests.host.artifacts import row
from tests.host.fixtures import Two
from tests.waiting import until


def shadow(two: Two, fence: int = 2, **body: Any) -> tuple[int, str]:
    asked = {"version": "2", "digest": two[3], "percent": 100, "seconds": 60, "fence": fence, **body}
    answer = two[0].http.post(f"/lastgood/v1/models/{two[1]}/shadow", json=asked)
    return answer.status_code, answer.json().get("type", "")


def end(two: Two, fence: int) -> int:
    answer = two[0].http.post(f"/lastgood/v1/models/{two[1]}/shadow", json={"end": True, "fence": fence})
    return answer.status_code


def seen(two: Two) -> dict[str, Any]:
    return dict(two[0].view(two[1])["shadow"])


def test_the_shadow_is_asked_what_the_default_answered_and_each_pair_is_compared(two: Two) -> None:
    host, model, first, second = two
    ages = list(range(20, 80))
    columns = {"AGE": ages, "COLOR": [1 + age % 3 for age in ages], "SHAPE": [0] * 60}
    probe = {"parameters": {"log": False}}
    live, other = (host.infer(columns, version, model, **probe).json()["outputs"] for version in ("1", "2"))
    moved = np.abs(np.array(live[1]["data"]) - np.array(other[1]["data"]))
    assert shadow(two) == (200, "")

    for number in range(5):
        assert host.infer(columns, model=model, id=f"r{number}").json()["parameters"]["digest"] == first
    host.infer(columns, model=model, **probe)
    host.infer(columns, "2", model)
    until(lambda: seen(two)["requests"] == 5)

    found = seen(two)
    assert (found["digest"], found["against"]["digest"], found["running"]) == (second, first, True)
    assert (found["taken"], found["dropped"], found["failures"], found["rows"]) == (5, 0, 0, 300)
    assert found["differing_rows"] == 5 * sum(a != b for a, b in zip(live[0]["data"], other[0]["data"], strict=True))
    assert found["moved"]["sum"] == pytest.approx(5 * moved.sum(), abs=1e-4)
    assert found["moved"]["largest"] == pytest.approx(moved.max(), abs=1e-6)
    assert sum(found["moved"]["counts"]) == sum(found["scores"]["shadow"]) == 300
    assert sum(found["latency_ms"]["shadow"]["counts"]) == 5
    assert host.view(model)["versions"]["2"]["requests"] == 1, "only the request that named the version"


def test_one_fence_has_one_shadow_and_none_after_its_end_or_the_switch(two: Two) -> None:
    host, model, first, second = two
    assert shadow(two, fence=1) == (409, "stale-fence"), "the fence has switched already"
    assert shadow(two, fence=2) == (200, "")
    began = seen(two)["id"]
    assert shadow(two, fence=2, percent=50) == (200, "")
    assert (seen(two)["id"], seen(two)["percent"]) == (began, 50)
    assert shadow(two, fence=2, tolerance=1) == (409, "stale-fence")
    assert end(two, 1) == 409

    assert end(two, 2) == 200
    assert (seen(two)["running"], seen(two)["ended"]) == (False, "its caller ended it")
    assert shadow(two, fence=2) == (409, "stale-fence")
    assert shadow(two, fence=3) == (200, "")
    assert host.view(model)["default"] == {"version": "1", "digest": first}

    assert host.switch("2", second, 3, model).status_code == 200
    assert (seen(two)["running"], seen(two)["ended"]) == (False, "the default was switched")
    assert shadow(two, fence=3) == (409, "stale-fence")
    assert shadow(two, fence=4) == (409, "is-default")


def test_a_shadow_that_nobody_renews_ends_by_itself_and_goes_on_counting_once_renewed(two: Two) -> None:
    host, model, *_ = two
    assert shadow(two, seconds=0.05) == (200, "")
    began = seen(two)["id"]
    until(lambda: not seen(two)["running"])
    assert seen(two)["ended"] == "nobody renewed it"
    host.infer(row(), model=model)
    assert seen(two)["taken"] == 0

    assert shadow(two) == (200, "")
    host.infer(row(), model=model)
    until(lambda: seen(two)["requests"] == 1)
    assert seen(two)["id"] == began


def test_unloading_the_shadow_ends_it_and_fails_no_request(two: Two) -> None:
    host, model, *_ = two
    assert shadow(two) == (200, "")
    assert host.unload("2", model).status_code == 200
    assert host.infer(row(), model=model).status_code == 200
    assert seen(two)["ended"] == "its version was unloaded"
    assert shadow(two, fence=3) == (409, "not-ready")


@pytest.mark.parametrize(
    "wrong",
    [
        {"percent": 0},
        {"percent": 101},
        {"seconds": 0},
        {"seconds": 3601},
        {"tolerance": -1},
        {"fence": 0},
        {"digest": "x"},
    ],
)
def test_a_shadow_that_makes_no_sense_is_refused(two: Two, wrong: dict[str, Any]) -> None:
    assert shadow(two, **wrong) == (400, "bad-request")
    assert two[0].view(two[1])["shadow"] is None


class Loaded:
    """A version as the comparing sees it: `ask` is what it does for an answer."""

    signature: Any = None

    def __init__(self, ask: Callable[[], Answer]) -> None:
        self.ask = ask

    def answer(self, columns: Any) -> Answer:
        return self.ask()


def an_answer(score: float = 0.7, rows: int = 1) -> Answer:
    scores = np.full(rows, score, np.float32)
    return Answer([], (scores >= 0.5).astype(np.int64), scores, {}, 1.0)


def session_of(ask: Callable[[], Answer], monkeypatch: pytest.MonkeyPatch, **more: Any) -> Session:
    monkeypatch.setattr("host.mirror.check_columns", lambda signature, request: {})
    slot: Any = type("Slot", (), {"loaded": Loaded(ask), "state": "ready"})()
    wanted = {"tolerance": 0.0, "fence": 2, "percent": 100, "until": time.monotonic() + 60, **more}
    return Session(slot, Target("2", "b"), Target("1", "a"), **wanted)


def test_a_shadow_that_hangs_costs_the_answering_a_place_in_a_queue_and_what_finds_none_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    let_go, shadows = threading.Event(), Shadows()

    def hang() -> Answer:
        let_go.wait(60)
        return an_answer()

    session = session_of(hang, monkeypatch)
    shadows.put("m", session)
    began = time.perf_counter()
    for number in range(3 * MOST_WAITING):
        shadows.offer("m", "a", str(number), {}, an_answer())
    shadows.offer("m", "a", "long", {}, an_answer(rows=MOST_ROWS + 1))
    took = time.perf_counter() - began
    let_go.set()

    assert took < 1
    assert session.taken == 3 * MOST_WAITING + 1
    until(lambda: session.tally.requests + session.dropped == session.taken)
    assert MOST_WAITING <= session.tally.requests <= MOST_WAITING + 1
    shadows.close()


def test_whatever_the_shadow_does_wrong_is_a_failure_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Answer:
        raise ZeroDivisionError("0")

    session = session_of(broken, monkeypatch)
    session.compare({}, an_answer())
    session.slot.loaded = Loaded(lambda: Answer([], np.array([1.5]), None, {}, 1.0))  # type: ignore[assignment]
    session.compare({}, an_answer())

    assert (session.tally.requests, session.tally.failures) == (0, 2)
    assert session.tally.failure == "ValueError: its answers are of another kind than the default's"


def test_a_regression_differs_beyond_the_tolerance(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(*values: float) -> Answer:
        return Answer([], np.array(values), None, {}, 1.0)

    session = session_of(lambda: answer(10.05, 20.0, 29.0), monkeypatch, tolerance=0.1)
    session.compare({}, answer(10.0, 20.0, 30.0))

    assert (session.tally.rows, session.tally.differing) == (3, 1)
    assert session.tally.signed == pytest.approx(-0.95)
    assert session.tally.moved == [1, 0, 0, 0, 0, 1, 0, 1]


def test_a_share_takes_the_same_ids_each_time_and_about_as_many_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    session = session_of(an_answer, monkeypatch, percent=30)
    taken = [session.takes(str(number)) for number in range(2000)]
    assert taken == [session.takes(str(number)) for number in range(2000)]
    assert 540 <= sum(taken) <= 660
