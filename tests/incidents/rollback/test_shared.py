"""A host that serves two endpoints leaves both: what the other one asks for is asked."""

from typing import Any

import pytest
from django.core.exceptions import PermissionDenied

from accounts.models import RoleGrant
from incidents.rollback import preflight
from incidents.rollback import run as runs
from incidents.rollback.models import Plan, Run
from incidents.rollback.plan import read
from incidents.rollback.prepare import NotPrepared, check_memory
from incidents.rollback.shared import shared_with
from registry.actions import place, register_endpoint, register_model
from registry.models import Endpoint, Health, Placement
from tests.incidents.rollback.fleet import SETUP, Fleet
from tests.incidents.rollback.test_outcomes import proposed, seen

__all__ = ["seen"]


def beside(fleet: Fleet, *hosts: int, team: str = "tests", **fields: Any) -> Endpoint:
    """Another endpoint, of another model, that those of the fleet's hosts serve too."""
    slug = f"{fleet.slug}-beside"
    model = register_model(slug=slug, name=slug, team=team, group_columns=[], actor=SETUP)
    other = register_endpoint(slug=slug, name=slug, model=model, actor=SETUP, **fields)
    for at in hosts:
        place(endpoint=other, host=fleet.hosts[at], actor=SETUP)
    Placement.objects.filter(endpoint=other).update(health=Health.SERVING)
    return other


@pytest.mark.parametrize(
    ("fields", "observed"),
    [
        ({"min_hosts_serving": 2}, "1 of its other hosts serve, at least 2"),
        ({"team": "others"}, "has other approvers, who are not asked"),
        ({}, ""),
    ],
)
def test_a_host_is_drained_from_another_endpoint_only_as_that_one_allows(
    seen: Fleet, fields: dict[str, Any], observed: str
) -> None:
    other = beside(seen, 0, 1, **fields)
    plan = proposed(seen, "drain", "h2")

    preflight.run(plan.pk)

    [found] = plan.preflights.filter(name="shared")
    plan.refresh_from_db()
    assert (found.answer, plan.state) == (("fail", "draft") if observed else ("inconclusive", "awaiting_approval"))
    assert observed in found.observed
    assert f"with {other.slug} served there too" in found.question


def test_a_drain_does_not_start_beside_a_run_of_an_endpoint_that_it_takes_the_host_from(seen: Fleet) -> None:
    other = beside(seen, 0, 1)
    plan = proposed(seen, "drain", "h2")
    preflight.run(plan.pk)
    plan.refresh_from_db()
    seen.approve(plan, seen.commander)
    Run.objects.create(plan=proposed(seen, "drain", "h3"), endpoint=other, fence=1)

    with pytest.raises(runs.StartRefused, match=f"a run of {other.slug} is active") as refused:
        runs.start(plan_id=plan.pk, user=None, actor=SETUP)

    assert refused.value.code == "shared_host"
    assert not Run.objects.filter(plan=plan).exists()
    assert seen.processes[1].view(seen.slug)["in_service"] is True


def test_nothing_is_loaded_where_a_run_of_another_endpoint_empties_the_memory_for_its_own_version(seen: Fleet) -> None:
    other = beside(seen, 0, 1)
    emptying = seen.propose(kind="drill", strategy="recreate")
    run = Run.objects.create(plan=emptying, endpoint=other, fence=1)
    plan = seen.propose(kind="drill")

    preflight.run(plan.pk)

    [failed] = plan.preflights.filter(answer="fail")
    assert (failed.name, failed.question) == ("emptied", "Is the memory of h1, h2 not needed by another run?")
    assert f"a run of {other.slug} empties it" in failed.observed
    assert not [view for view in (process.view(seen.slug) for process in seen.processes) if "1" in view["versions"]]
    with pytest.raises(NotPrepared, match=f"A run of {other.slug} empties h1 for its own version"):
        check_memory(seen.endpoint, seen.hosts[0])
    check_memory(seen.endpoint, seen.hosts[2])

    Run.objects.filter(pk=run.pk).update(state="switched", ended_at=run.started_at)
    preflight.again(plan_id=plan.pk, actor=SETUP)
    preflight.run(plan.pk)
    plan.refresh_from_db()
    assert plan.state == "awaiting_approval"


def test_who_may_not_propose_for_the_other_endpoint_drains_no_host_of_it(seen: Fleet) -> None:
    beside(seen, 1)
    RoleGrant.objects.filter(user=seen.responder).update(scope={"models": [seen.slug]})

    proposed(seen, "drain", "h3")
    with pytest.raises(PermissionDenied):
        proposed(seen, "drain", "h2")

    assert Plan.objects.count() == 1


@pytest.mark.parametrize(("least", "hindered"), [(1, False), (2, True)])
def test_a_host_that_is_recreated_is_out_for_its_other_endpoint_too(seen: Fleet, least: int, hindered: bool) -> None:
    other = beside(seen, 0, 1, 2, team="others", min_hosts_serving=least)
    document = read(seen.propose(strategy="recreate"))

    [found] = shared_with(seen.endpoint, document)

    assert (found.endpoint, found.named, found.observed) == (
        other,
        ["h1", "h2", "h3"],
        "1 of its hosts serve while 2 are out",
    )
    assert bool(found.hindrance) is hindered
    assert shared_with(seen.endpoint, read(seen.propose())) == []


@pytest.mark.parametrize(("down", "rest"), [(["h1", "h2", "h3"], 0), (["h1", "h2"], 0), (["h1"], 0), ([], 1)])
def test_hosts_that_do_not_serve_the_other_endpoint_are_not_taken_from_it_twice(
    seen: Fleet, down: list[str], rest: int
) -> None:
    other = beside(seen, 0, 1, 2)
    Placement.objects.filter(endpoint=other, host__name__in=down).update(health=Health.UNREACHABLE)

    [found] = shared_with(seen.endpoint, read(seen.propose(strategy="recreate")))

    assert found.observed == f"{rest} of its hosts serve while 2 are out"
