"""What every driver must do, asked of the real servers of all engines."""

import re
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from registry.serving import DRIVERS
from registry.serving.base import Act, HostAddress, Refused, ServingError
from tests.engines.servers import SERVERS
from tests.engines.story import Story
from tests.waiting import until

pytestmark = pytest.mark.engines
ENOUGH_REQUESTS = 2000


class Traffic:
    """Clients that ask all the time; what failed, and what was answered, is kept."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.failures: list[str] = []
        self.answered: list[tuple[float, dict[str, list[Any]]]] = []
        self.stopped = threading.Event()
        self.clients = [threading.Thread(target=self._ask) for _ in range(4)]

    def __enter__(self) -> "Traffic":
        for client in self.clients:
            client.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        for client in self.clients:
            client.join(60)

    def _ask(self) -> None:
        with httpx.Client(base_url=str(self.story.server.http.base_url), timeout=30) as http:
            while not self.stopped.is_set():
                at = time.monotonic()
                try:
                    self.answered.append((at, self.story.server.ask(http, self.story.model)))
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))


def test_there_is_a_server_for_every_driver() -> None:
    assert set(SERVERS) == set(DRIVERS)


def test_a_version_is_asked_before_it_serves_and_serves_when_it_is_switched_to(story: Story) -> None:
    story.serve(1)
    story.stage(2)
    assert story.seen().versions["2"].state == "staged"

    story.load(2)
    loaded = story.seen()
    assert (loaded.default_version, loaded.default_digest) == ("1", story.digest(1))
    assert loaded.versions["2"].state == "ready"
    assert story.answers("2") == story.server.expected(2)
    assert story.answers() == story.server.expected(1)

    story.switch(2)
    switched = story.seen()
    assert (switched.default_version, switched.default_digest) == ("2", story.digest(2))
    assert story.answers() == story.server.expected(2)


def test_it_goes_back_and_forth_as_often_as_it_is_asked_to(story: Story) -> None:
    story.serve(1)
    for number in (2, 1, 2, 1):
        story.serve(number)
        assert story.answers() == story.server.expected(number)
    assert story.seen().default_digest == story.digest(1)


def test_every_call_may_be_repeated(story: Story) -> None:
    story.serve(1)
    story.stage(2)
    for _ in range(2):
        story.stage(2)
        story.load(2)
    for _ in range(2):
        story.driver.switch(story.address, story.model, "2", story.digest(2), 9)
        story.load(2)

    assert story.answers() == story.server.expected(2)


def called_in(story: Story, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The calls that the story's driver makes from now on, by method and whole address."""
    module, made = sys.modules[type(story.driver).__module__], list[tuple[str, str]]()
    real = module.call  # type: ignore[attr-defined]

    def call(address: HostAddress, method: str, path: str, **more: Any) -> Any:
        made.append((method, f"{address.url.rstrip('/')}{path}"))
        return real(address, method, path, **more)

    monkeypatch.setattr(module, "call", call)
    return made


def test_what_a_dry_run_says_would_be_called_is_what_is_called(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    story.serve(1)
    story.stage(2)
    made = called_in(story, monkeypatch)
    steps: dict[str, Callable[[], Any]] = {
        "load": lambda: story.load(2),
        "golden": lambda: story.answers("2"),
        "switch": lambda: story.switch(2),
        "postcheck": story.answers,
    }
    for name, do in steps.items():
        act = Act(name, story.model, "2", story.digest(2), 9)
        said = story.driver.calls(story.address.url.rstrip("/"), story.address.options, act)
        made.clear()
        do()

        for one in said:
            if one.method == "write":
                assert Path(one.url).exists(), (name, one)
                continue
            address = re.sub(r"\\\(its[^)]*\\\)", "[^/]+", re.escape(one.url))
            assert [url for method, url in made if method == one.method and re.fullmatch(address, url)], (
                name,
                one,
                made,
            )


def test_a_switch_under_traffic_fails_no_request(story: Story) -> None:
    story.serve(1)
    story.stage(2)
    with Traffic(story) as traffic:
        until(lambda: len(traffic.answered) > ENOUGH_REQUESTS // 3, seconds=120)
        story.load(2)
        story.switch(2)
        at = time.monotonic()
        until(lambda: len(traffic.answered) > ENOUGH_REQUESTS + 200, seconds=120)

    assert traffic.failures == []
    assert len(traffic.answered) > ENOUGH_REQUESTS
    one, two = story.server.expected(1), story.server.expected(2)
    assert all(answer in (one, two) for _, answer in traffic.answered)
    assert {str(answer) for asked, answer in traffic.answered if asked > at} == {str(two)}
    assert traffic.answered[0][1] == one


def test_the_engines_own_count_says_which_version_has_the_traffic(story: Story) -> None:
    story.serve(1)
    story.serve(2)
    before = story.seen()
    for _ in range(40):
        assert story.server.ask(story.server.http, story.model) == story.server.expected(2)
    after = story.seen()

    def grown(version: str) -> int:
        was = before.versions[version].requests if version in before.versions else 0
        return after.versions[version].requests - was if version in after.versions else 0

    assert grown("2") == 40
    assert grown("1") == 0
    assert after.versions["2"].failures == before.versions["2"].failures


def test_the_version_that_was_left_is_warm_beside_the_new_one_and_gone_back_to_under_traffic(story: Story) -> None:
    if not story.driver.capabilities.warm_undo:
        pytest.skip("its engine loads again at each switch, as its capabilities say")
    story.serve(1)
    story.serve(2)
    if not story.driver.capabilities.keeps_at_switch:
        until(lambda: "1" not in story.seen().versions, seconds=30)
        story.stage(1)
        story.load(1)

    # given both in memory, and the engine's own count of the one that is warm
    warm = story.seen()
    assert (warm.default_version, warm.versions["1"].state) == ("2", "ready")
    assert story.answers("1") == story.server.expected(1)
    before = story.seen().versions["1"].requests

    with Traffic(story) as traffic:
        until(lambda: len(traffic.answered) > ENOUGH_REQUESTS // 3, seconds=120)
        if story.driver.capabilities.counts_by_version:
            assert story.seen().versions["1"].requests == before
        story.switch(1)
        at = time.monotonic()
        until(lambda: len(traffic.answered) > ENOUGH_REQUESTS + 200, seconds=120)

    # then nothing was loaded for it and nothing failed
    assert traffic.failures == []
    one, two = story.server.expected(1), story.server.expected(2)
    assert all(answer in (one, two) for _, answer in traffic.answered)
    assert {str(answer) for asked, answer in traffic.answered if asked > at} == {str(one)}
    assert story.seen().default_digest == story.digest(1)


def refused(act: Callable[[], None]) -> str:
    with pytest.raises(Refused) as caught:
        act()
    return caught.value.type


def test_a_version_that_is_missing_is_refused_and_the_old_one_serves_on(story: Story) -> None:
    story.serve(1)
    story.made[7] = story.server.make(story.model, 7)

    assert refused(lambda: story.load(7)) == "unknown-version"
    assert refused(lambda: story.switch(7)) == "unknown-version"
    assert refused(lambda: story.answers("7") and None) == "unknown-version"
    assert story.answers() == story.server.expected(1)


def test_a_version_that_is_broken_is_refused_and_the_old_one_serves_on(story: Story) -> None:
    story.serve(1)
    with pytest.raises(ServingError):
        story.bring_broken(3)

    with pytest.raises(Refused):
        story.switch(3)
    assert story.answers() == story.server.expected(1)
    assert story.seen().default_version == "1"


def test_a_version_that_is_not_loaded_is_not_switched_to(story: Story) -> None:
    story.serve(1)
    story.stage(2)

    assert refused(lambda: story.switch(2)) == "not-ready"
    assert story.seen().default_digest == story.digest(1)


def test_what_serves_is_not_unloaded_and_what_is_unloaded_can_be_loaded_again(story: Story) -> None:
    story.serve(1)
    story.stage(2)
    story.load(2)

    assert refused(lambda: story.driver.unload(story.address, story.model, "1")) == "is-default"
    story.driver.unload(story.address, story.model, "2")
    until(lambda: story.seen().versions["2"].state != "ready", seconds=30)
    until(lambda: story.seen().versions["2"].state != "draining", seconds=30)
    story.load(2)
    assert story.answers("2") == story.server.expected(2)
    assert story.answers() == story.server.expected(1)


def test_a_switch_to_another_digest_than_was_approved_is_refused(story: Story) -> None:
    story.serve(1)
    story.stage(2)
    story.load(2)

    with pytest.raises(Refused) as caught:
        story.driver.switch(story.address, story.model, "2", story.digest(1), 9)

    assert caught.value.type == "digest-mismatch"
    assert story.answers() == story.server.expected(1)


def test_wrong_weights_under_a_right_number_are_found_on_disk(story: Story) -> None:
    story.serve(1)
    story.stage(2)
    file = story.server.file_on_disk(story.model, "2", story.made[2])
    file.write_bytes(file.read_bytes()[:-1] + b" ")

    with pytest.raises(ServingError):
        story.load(2)

    held = story.seen().versions.get("2")
    assert held is None or held.digest != story.digest(2) or held.state != "ready"
    assert story.answers() == story.server.expected(1)


def test_a_server_that_is_killed_and_started_again_is_seen_and_brought_back(story: Story) -> None:
    story.serve(1)
    story.serve(2)
    story.server.kill()
    with pytest.raises(ServingError):
        story.driver.observe(story.address)
    story.server.start()

    until(lambda: story.seen().default_digest in (None, story.digest(2)), seconds=60)
    story.serve(2)
    assert story.seen().default_digest == story.digest(2)
    assert story.answers() == story.server.expected(2)
