"""Whatever the clocks of our programs say, leases and deadlines go by the database's."""

import datetime

import pytest

from audit.clock import database_now
from incidents.rollback.models import HostStep, Run, RunState
from tests.faults.points import Point
from tests.faults.town import Town

pytestmark = pytest.mark.faults


def test_f31_clocks_that_are_ten_minutes_off_change_nothing_and_are_told_of(town: Town) -> None:
    """The first worker, whose clock is ten minutes slow, dies with the lease; the next one's is ten minutes fast."""
    endpoint = town.endpoint()
    run = town.run(endpoint)
    town.clock(CLOCK_OFFSET="-600")
    dying = town.worker("slow", point=Point("step:golden_ok>switched", "before_commit"), CLOCK_OFFSET="-600")
    assert dying.wait(120) == -9
    town.worker("fast", CLOCK_OFFSET="600")

    town.wait_for([run])

    assert Run.objects.get(pk=run.pk).state == RunState.SWITCHED
    marks = [mark for step in HostStep.objects.filter(run=run) for mark in step.marks.values()]
    moments = [datetime.datetime.fromisoformat(mark) for mark in marks]
    assert max(moments) - min(moments) < datetime.timedelta(minutes=5)
    assert abs(database_now() - max(moments)) < datetime.timedelta(minutes=5)
    assert "clock.offset this machine's clock is -6" in town.said("clock")
    assert town.judge().wrong() == []
