"""An incident of a version that only one host serves: the others are not silent, they serve another one."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from audit.actions import service_actor
from incidents.diagnosing import examine
from incidents.diagnosis import diagnose
from registry.actions import place, record_switch
from registry.models import Deployment, Endpoint, Host
from tests.incidents.test_diagnosis import candidate
from tests.monitoring import world as traffic

TEST = service_actor("test")
MINUTE = timedelta(minutes=1)
CURES = candidate(0.25)


@dataclass
class Fleet:
    endpoint: Endpoint
    hosts: list[Host]
    began: datetime

    def log(self, host: Host, version: int, accuracy: float = 0.8, *, before: bool = False) -> None:
        """Two minutes of 200 answers, until the incident began or since."""
        start = self.began - 2 * MINUTE if before else self.began
        people = traffic.part(2017, 500 * (self.hosts.index(host) + 4 * before), 200)
        answers = traffic.answers(
            people, start=start, length=2 * MINUTE, version=version, accuracy=accuracy, seed=host.pk
        )
        traffic.log(self.endpoint, host, answers)

    def examined(self, number: str) -> dict[str, Any]:
        rows = examine.read(self.endpoint, number, self.began, timezone.now())
        return {claim.kind: claim.data for claim in examine.findings(self.endpoint, rows)}

    def odd(self, number: str) -> list[tuple[str, str]]:
        return [(one["host"], one["by"]) for one in self.examined(number)["odd-hosts"]["odd"]]


@pytest.fixture
def fleet(db: Any, settings: Any, tmp_path: Path) -> Fleet:
    """Version 1 on three hosts until the incident began."""
    settings.LASTGOOD_VAR = tmp_path
    endpoint = traffic.make_endpoint()
    versions = [traffic.make_version(endpoint, number, profiled=False) for number in (1, 2)]
    made = Fleet(endpoint, traffic.make_hosts("h1", "h2", "h3"), timezone.now() - 5 * MINUTE)
    for host in made.hosts:
        made.log(host, 1, before=True)
        place(endpoint=endpoint, host=host, actor=TEST)
        record_switch(endpoint=endpoint, host=host, version=versions[0], cause="release", actor=TEST)
    Deployment.objects.update(since=made.began - 10 * MINUTE)
    return made


def test_a_bad_release_at_its_canary_is_a_bad_version_and_no_healthy_host_is_drained(fleet: Fleet) -> None:
    # given version 2 on h1 alone, which is wrong more often, while the other two go on with version 1
    canary, *others = fleet.hosts
    fleet.log(canary, 2, accuracy=0.5)
    for host in others:
        fleet.log(host, 1)

    found = fleet.examined("2")
    diagnosis = diagnose(found, [CURES], from_version="2", soak_seconds=120)

    assert found["odd-hosts"]["odd"] == []
    assert diagnosis.likely is not None
    assert diagnosis.likely.word == "a bad version"
    assert [option.name for option in diagnosis.options if option.suggested] == ["Roll back to version 1"]


def test_traffic_is_that_of_all_versions_now_as_before(fleet: Fleet) -> None:
    canary, *others = fleet.hosts
    fleet.log(canary, 2)
    for host in others:
        fleet.log(host, 1)
    speed = fleet.examined("2")["speed"]
    assert float(speed["per_second"]) == pytest.approx(float(speed["before_per_second"]), rel=0.02)


def test_a_host_that_went_silent_is_odd_unless_it_was_drained(fleet: Fleet) -> None:
    first, second, third = fleet.hosts
    fleet.log(first, 1)
    fleet.log(second, 1)
    assert fleet.odd("1") == [("h3", "silence")]
    Host.objects.filter(pk=third.pk).update(drained_at=timezone.now())
    assert fleet.odd("1") == []


def test_a_host_that_serves_another_version_all_the_while_is_not_the_incidents(fleet: Fleet) -> None:
    first, _, third = fleet.hosts
    fleet.log(first, 2)
    assert fleet.odd("2") == []
    Deployment.objects.filter(host=third).delete()
    assert fleet.odd("2") == [("h3", "silence")]


def test_a_silent_host_does_not_stand_for_wrong_answers() -> None:
    silent = {"host": "h3", "by": "silence", "because": "h3 gave 33% of the answers before and none since"}
    told = {
        "quality": {"n": 900, "drop": "0.25", "dropped": "yes"},
        "odd-hosts": {"hosts": {"h1": {}, "h2": {}}, "odd": [silent]},
    }
    found = diagnose(told, [CURES], from_version="2", soak_seconds=120)
    assert found.hypotheses[0].stands == "against"
    assert found.likely is not None
    assert found.likely.word == "a bad version"
