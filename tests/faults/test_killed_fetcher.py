"""Kill -9 of a worker while a host fetches a file on its behalf: the host goes on, and who comes next waits for it."""

import pytest

from incidents.rollback.models import PlanState
from registry import store
from tests.faults.conftest import House, wait_until
from tests.host.sources import FileServer
from tests.incidents.rollback.fleet import Fleet

pytestmark = pytest.mark.faults


def test_what_a_killed_worker_had_a_host_fetch_is_gone_on_with(fleet: Fleet, house: House) -> None:
    version, process = fleet.add_version(34, bias=2.0), fleet.processes[1]
    weights = version.files.get(component="weights").artifact
    upload = f"/lastgood/v1/blobs/{weights.pk}/upload"
    with FileServer(store.path(weights.pk).read_bytes()) as source:
        others = version.files.exclude(artifact=weights).values_list("artifact_id", flat=True)
        source.also = {sha256: store.path(sha256).read_bytes() for sha256 in others}
        source.hold_at = weights.size // 2
        house.env["LASTGOOD_ARTIFACTS_ADDRESS"] = source.url
        proposed = fleet.propose(version)
        first = house.worker("first")
        house.clock()
        wait_until(lambda: process.http.get(upload).json()["offset"] == source.hold_at, 60, "half has come")

        first.kill()
        first.wait()
        house.worker("second")
        asked = len(source.asked)
        wait_until(lambda: "second@" in house.log("second") and "ready" in house.log("second"), 60, "a second worker")
        assert process.http.get(upload).json() == {
            "whole": False, "offset": source.hold_at, "fetching": True, "failed": ""
        }  # fmt: skip
        source.let_go.set()

        def passed() -> bool:
            proposed.refresh_from_db()
            return proposed.state == PlanState.AWAITING

        wait_until(passed, 90, "the preflight has passed")
        assert len([begun for begun, _ in source.asked[asked:] if begun]) == 0
    assert process.view(fleet.slug)["versions"]["3"]["loaded_digest"] == version.digest
