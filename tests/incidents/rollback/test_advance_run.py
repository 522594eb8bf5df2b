"""A started run is taken to its end, host by host."""

import pytest

from incidents.rollback import advance
from incidents.rollback.models import HostStep, Run, RunState, StepState, Watch
from registry.models import Deployment, Placement
from tests.incidents.rollback.fleet import Fleet, events


def test_an_approved_rollback_switches_every_host_once(fleet: Fleet) -> None:
    run = fleet.started()
    assert fleet.serving() == [fleet.bad.digest] * 3

    advance.advance(run.pk)

    run.refresh_from_db()
    assert (run.state, run.state_reason) == (RunState.SWITCHED, "")
    assert fleet.serving() == [fleet.good.digest] * 3
    assert [(s.state, s.switch_calls) for s in HostStep.objects.filter(run=run)] == [(StepState.DONE, 1)] * 3
    live = Deployment.objects.filter(endpoint=fleet.endpoint, until=None)
    assert {(d.version_id, d.run_ref) for d in live} == {(fleet.good.pk, str(run.pk))}
    assert set(Placement.objects.values_list("desired_id", flat=True)) == {fleet.good.pk}
    assert Watch.objects.filter(run=run).exists()
