"""What the engine itself counts is read before and after a switch, and said on the run's lanes."""

from incidents.rollback.models import HostStep
from incidents.rollback.queries import waves_of
from registry.models import Placement
from registry.reconcile import observe_placement
from tests.host.artifacts import row
from tests.incidents.rollback.fleet import Fleet


def test_each_lane_says_what_the_engine_counted_for_both_versions_before_and_since(fleet: Fleet) -> None:
    # given three live answers of the bad version on the first host, and five after it was switched
    for _ in range(3):
        fleet.processes[0].infer(row(), None, fleet.slug)
    run = fleet.finished()
    for _ in range(5):
        fleet.processes[0].infer(row(), None, fleet.slug)
    placement = Placement.objects.get(host__name="h1")

    # when the host is observed again
    Placement.objects.filter(pk=placement.pk).update(observe_due_at="2000-01-01T00:00Z")
    observe_placement(placement.pk)

    # then its own counts are told
    lane = next(lane for wave in waves_of(run) for lane in wave["lanes"] if lane["host"] == "h1")
    assert lane["counted"] == [
        "version 2: 3 before, 0 while it was changed, 0 since",
        "version 1: 0 before, 0 while it was changed, 5 since",
    ]
    baseline = HostStep.objects.get(run=run, host__name="h1").baseline
    assert (baseline["before"]["2"], baseline["after"]["2"], baseline["requests"]) == (3, 3, 0)


def test_an_engine_that_was_started_again_is_not_said_to_have_answered_less_than_nothing(fleet: Fleet) -> None:
    run = fleet.finished()
    HostStep.objects.filter(run=run, host__name="h1").update(baseline={"before": {"2": 40}, "after": {"2": 50}})
    Placement.objects.filter(host__name="h1").update(observation={"versions": {"2": {"requests": 7}}})

    lane = next(lane for wave in waves_of(run) for lane in wave["lanes"] if lane["host"] == "h1")

    assert lane["counted"] == ["version 2: 40 before, 10 while it was changed, 7 since the host's restart"]
