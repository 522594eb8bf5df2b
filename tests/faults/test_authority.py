"""Nothing runs that was not approved as it runs, whoever dies, repeats himself or changes his mind in between."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from django.utils import timezone

from accounts.actions import end_role, grant_role
from accounts.approvals.models import ApprovalRequest
from incidents.rollback.models import Plan, Run, RunState
from registry import reconcile, serving_access
from registry.models import Placement
from tests.faults.points import Point
from tests.faults.town import Endpoint, Town, caller
from tests.incidents.rollback.fleet import SETUP, events
from tests.waiting import until

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def web(town: Town) -> str:
    return town.web()


def ask_to_start(url: str, endpoint: Endpoint, plan: Plan) -> httpx.Response:
    return caller(url, endpoint.commander, "view", "plan.start")(f"plans/{plan.pk}/start/")


def refused(plan: Plan) -> list[str]:
    found = events("rollback.run.start", outcome="denied", target_id=str(plan.pk))
    return [event["data"]["refused"] for event in found]


def untouched(endpoint: Endpoint, plan: Plan) -> bool:
    """No run, and no host has been asked for anything under a newer fence."""
    fences = [process.view(endpoint.slug)["fence"] for process in endpoint.processes]
    return not Run.objects.filter(plan=plan).exists() and fences == [1, 1, 1]


def test_f01_a_web_process_killed_after_the_commit_has_started_the_run_once(town: Town) -> None:
    """The web process dies after COMMIT and before the message; the clock finds the run."""
    endpoint = town.endpoint()
    plan = town.approved(endpoint, start_on_approval=False)
    url = town.web("dying", Point("plan:awaiting_approval>started", "after_commit"))

    with pytest.raises(httpx.TransportError):
        ask_to_start(url, endpoint, plan)
    town.flush_broker()
    town.clock()
    town.worker()

    run = Run.objects.get(plan=plan)
    town.wait_for([run])
    run.refresh_from_db()
    assert run.state == RunState.SWITCHED
    assert set(town.defaults(endpoint).values()) == {endpoint.good.digest}
    assert town.judge().wrong() == []


def test_f26_of_two_commanders_who_start_the_same_plan_one_is_told_409(town: Town, web: str) -> None:
    endpoint = town.endpoint()
    plan = town.approved(endpoint, start_on_approval=False)
    calls = [caller(web, endpoint.commander, "view", "plan.start") for _ in range(2)]

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda call: call(f"plans/{plan.pk}/start/"), calls))

    assert sorted(answer.status_code for answer in answers) == [201, 409]
    assert Run.objects.filter(plan=plan).count() == 1
    assert refused(plan) == ["already_started"]


def test_f27_a_second_plan_for_the_same_fleet_waits_for_the_end_of_the_first(town: Town, web: str) -> None:
    endpoint = town.endpoint()
    first, second = (town.approved(endpoint, start_on_approval=False, wave_soak_seconds=s) for s in (3600, 0))
    assert ask_to_start(web, endpoint, first).status_code == 201

    answer = ask_to_start(web, endpoint, second)

    assert (answer.status_code, refused(second)) == (409, ["active_run"])
    assert Run.objects.filter(endpoint=endpoint.endpoint).count() == 1


def test_f28_an_approval_that_was_taken_back_starts_nothing(town: Town, web: str) -> None:
    endpoint = town.endpoint()
    plan = town.approved(endpoint, start_on_approval=False)
    endpoint.decide(plan, endpoint.commander, "revoke")

    assert ask_to_start(web, endpoint, plan).status_code == 409
    assert len(refused(plan)) == 1
    assert untouched(endpoint, plan)


def test_f28_an_approval_that_has_run_out_starts_nothing(town: Town, web: str) -> None:
    endpoint = town.endpoint()
    plan = town.approved(endpoint, start_on_approval=False)
    ApprovalRequest.objects.filter(pk=plan.request_id).update(expires_at=timezone.now())

    assert ask_to_start(web, endpoint, plan).status_code == 409
    assert untouched(endpoint, plan)


def test_f29_an_approver_who_lost_the_role_no_longer_counts(town: Town, web: str) -> None:
    endpoint = town.endpoint(environment="production")
    plan = endpoint.awaiting(endpoint.good, start_on_approval=False)
    endpoint.approve(plan)
    end_role(user=endpoint.approver, role="approver", actor=SETUP)

    answer = ask_to_start(web, endpoint, plan)
    grant_role(user=endpoint.approver, role="approver", granted_by=None, actor=SETUP)

    assert (answer.status_code, refused(plan)) == (409, ["not_enough"])
    assert untouched(endpoint, plan)


def test_f30_a_fleet_that_has_moved_since_the_approval_voids_it(town: Town, web: str) -> None:
    """Somebody with the control token switches a host by hand to a version that the plan does not know."""
    endpoint = town.endpoint()
    plan = town.approved(endpoint, start_on_approval=False)
    foreign = endpoint.add_version(7, bias=0.5)
    host, process = endpoint.hosts[1], endpoint.processes[1]
    driver, address = serving_access.driver_of(host), serving_access.address_of(host)
    driver.stage(address, endpoint.slug, "9", bytes(foreign.manifest), serving_access.blobs_of(foreign))
    driver.load(address, endpoint.slug, "9")
    assert process.switch("9", foreign.digest, 77, endpoint.slug).status_code == 200
    placement = Placement.objects.filter(endpoint=endpoint.endpoint, host=host)

    def seen() -> bool:
        placement.update(observe_due_at=timezone.now())
        reconcile.observe_placement(placement.get().pk)
        return placement.get().observed_digest == foreign.digest

    until(seen, seconds=60)
    answer = ask_to_start(web, endpoint, plan)

    assert answer.status_code == 409, answer.text
    assert not Run.objects.filter(plan=plan).exists()
    assert process.view(endpoint.slug)["fence"] == 77
