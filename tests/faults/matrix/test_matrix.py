"""Kill -9 at every persisted edge, before the call, before the commit and after it; then the clock and another worker.

The deaths of one round happen side by side, each on an endpoint of its own, while the clock and the worker that go on
afterwards are stopped (SIGSTOP). The judge reads the hosts' logs and the exported bundle.
"""

from collections import deque
from pathlib import Path

import pytest

from incidents.rollback.models import RunState, Watch, WatchState
from tests.faults.judge import Judgement
from tests.faults.matrix.edges import CASES, Case
from tests.faults.matrix.endpoints import OnFurtherHosts, WithAHostOfItsOwn, WithMoreVersions
from tests.faults.matrix.stories import (
    COMPARED,
    END,
    GONE_STORIES,
    OUT_OF_SERVICE,
    Death,
    DeathInARehearsal,
    composed,
    ordered_rehearsal,
    prepare,
)
from tests.faults.town import ENDED_OR_HALTED, PATIENT, Endpoint, Town, go_on, pause
from tests.waiting import until

pytestmark = pytest.mark.faults
SIDE_BY_SIDE = {Endpoint: 6, WithAHostOfItsOwn: 3, WithMoreVersions: 3, OnFurtherHosts: 1}


class Played:
    """All cases, played round by round: how each dying process ended, and how its run did."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.died: dict[Case, int] = {}
        self.ended: dict[Case, tuple[str, str]] = {}
        self.nursery = town.nursery()
        self.others = [town.clock(), town.worker(queues="rollback,compute")]

    def all(self, cases: list[Case]) -> None:
        left: dict[type[Endpoint], deque[Case]] = {kind: deque() for kind in SIDE_BY_SIDE}
        for case in cases:
            left[_kind_for(case)].append(case)
        while any(left.values()):
            self._round(left)
        for process in self.others:
            pause(process)

    def _round(self, left: dict[type[Endpoint], deque[Case]]) -> None:
        for process in self.others:
            pause(process)
        deaths = [
            prepare(self.town, endpoint, cases.popleft())
            for kind, cases in left.items()
            for endpoint in self._made(kind, SIDE_BY_SIDE[kind], cases)
            if cases
        ]
        for death in deaths:
            self.nursery.begin(death.task, *death.args, point=death.point)
        for death, end in zip(deaths, self.nursery.ends(), strict=True):
            self.died[death.case] = end
        self.town.flush_broker()
        for process in self.others:
            go_on(process)
        self._live_on(deaths)

    def _live_on(self, deaths: list[Death]) -> None:
        for death in deaths:
            death.come_back()
        until(lambda: all(death.is_put() for death in deaths), seconds=PATIENT)
        for death in deaths:
            death.answer()
        until(lambda: all(death.is_begun() for death in deaths), seconds=PATIENT)
        carrying = [death for death in deaths if not isinstance(death, DeathInARehearsal)]
        self.town.wait_for([death.row() for death in carrying if not death.waits_for_a_person], *ENDED_OR_HALTED)
        for death in deaths:
            death.afterwards()
        self.town.wait_for([death.row() for death in carrying])
        self.town.wait_for_watches()
        until(lambda: all(death.ended()[0] for death in deaths), seconds=PATIENT)
        self.ended |= {death.case: death.ended() for death in deaths}

    def _made(self, kind: type[Endpoint], count: int, cases: deque[Case]) -> list[Endpoint]:
        there = [endpoint for endpoint in self.town.endpoints if type(endpoint) is kind]
        missing = range(min(count, len(cases)) - len(there))
        return there + [self.town.endpoint(kind) for _ in missing]


def _kind_for(case: Case) -> type[Endpoint]:
    if case.story in GONE_STORIES:
        return WithAHostOfItsOwn
    if case.story in COMPARED:
        return WithMoreVersions
    return OnFurtherHosts if case.story in OUT_OF_SERVICE else Endpoint


@pytest.fixture(scope="module")
def played(town: Town, request: pytest.FixtureRequest) -> Played:
    """Only the cases that are asked for by this call of pytest are played."""
    specs = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    chosen = [spec["case"] for spec in specs if "case" in spec]
    found = Played(town)
    found.all([case for case in CASES if case in chosen])
    return found


@pytest.fixture(scope="module")
def judgement(played: Played) -> Judgement:
    return played.town.judge()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_run_goes_on_where_its_worker_was_killed(played: Played, case: Case) -> None:
    assert played.died[case] == -9, "the process did not come to the point at which it was to die"
    ended, reason = played.ended[case]
    assert ended == END.get(case.story, RunState.SWITCHED), reason


def test_nothing_was_lost_doubled_unapproved_or_left_behind(played: Played, judgement: Judgement) -> None:
    assert judgement.wrong() == []
    assert len(judgement.stories) + len(judgement.rehearsals) >= len(played.died)


def test_the_record_of_all_these_deaths_is_whole(played: Played, judgement: Judgement) -> None:
    assert judgement.verdict.status() == 0, judgement.verdict.bad[:5]
    assert len(played.town.ledger.read_text().split()) > 10 * len(played.died)


def test_every_watch_came_to_its_end(played: Played) -> None:
    assert played.died
    assert not Watch.objects.exclude(state=WatchState.PASSED).exists()


def test_every_unload_that_was_begun_is_told_to_its_end(judgement: Judgement) -> None:
    def told(action: str) -> set[tuple[str, str]]:
        found = [r["data"] for r in judgement.records if r["action"] == action]
        return {(data["run"], data["host"]) for data in found}

    assert told("rollback.unload.intent") - told("rollback.unload.outcome") == set()


def test_the_hosts_say_the_same_of_themselves_as_their_logs(played: Played, judgement: Judgement) -> None:
    for endpoint in played.town.endpoints:
        mine = [deed for deed in judgement.deeds if (deed.what, deed.model) == ("switch", endpoint.slug)]
        last = {deed.host: deed.digest for deed in mine}
        assert set(played.town.defaults(endpoint).values()) == set(last.values())


def test_an_undisturbed_run_persists_no_edge_that_is_not_enumerated(played: Played, tmp_path: Path) -> None:
    endpoint = played.town.endpoint()
    run = played.town.run(endpoint)
    played.nursery.begin("rollback.advance", run.pk, visited=tmp_path / "visited")
    assert played.nursery.ends() == [0]
    edges = {line for line in (tmp_path / "visited").read_text().split() if not line.startswith("event:")}
    assert "run:running>switched" in edges
    assert edges <= {case.edge for case in CASES}


def test_an_undisturbed_rehearsal_persists_no_edge_that_is_not_enumerated(played: Played, tmp_path: Path) -> None:
    endpoint = played.town.endpoint()
    trial = ordered_rehearsal(endpoint, composed(endpoint))
    played.nursery.begin("rollback.try", trial.pk, visited=tmp_path / "visited")
    assert played.nursery.ends() == [0]
    edges = set((tmp_path / "visited").read_text().split())
    assert "trial:done" in edges
    assert edges <= {case.edge for case in CASES}
