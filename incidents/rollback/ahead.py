"""The next wave's hosts load while this one's come through, so that a rollback waits for loading once and not in every
wave anew.

For each host that has come through the wave, one of the next begins, and the rest once the whole wave has: a version
that brings down whoever loads it reaches no further than it would otherwise by one host for each that it has not
brought down. Those that load longest begin first, so that the slow ones of several waves do not add up. They go as far
as holding the version beside the one that serves; none switches before this wave's gate has let its own wave begin.
Only what the endpoint has served before goes ahead: what is new stays off hosts until the gate before them has passed.
"""

import math
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from functools import partial

from incidents.rollback.hands import Hands
from incidents.rollback.models import HostStep, StepState, WaveState
from incidents.rollback.steps import advance_step
from incidents.rollback.work import Work
from registry.models import Deployment, Placement

BEFORE_LOADED = (StepState.PENDING, StepState.LOCKED, StepState.PREFLIGHT, StepState.STAGED)


class Ahead:
    """What loads ahead while one worker holds the run's lease. The outcome of what is begun here is not asked: a host
    that failed has said so in its step, and anything else is met again when its wave begins."""

    def __init__(self, hands: Hands[float | None]) -> None:
        self._hands = hands
        self._waiting: deque[int] = deque()
        self._begun: dict[int, Future[float | None]] = {}
        self._laid_out = 0

    def lay_out(self, work: Work, wave_index: int) -> None:
        """Who may load ahead of this wave's gate, asked once: hosts of the next wave that hold both versions and are
        not taken out of service to load."""
        if self._laid_out == wave_index:
            return
        self._laid_out = wave_index
        self._waiting.clear()
        if not _has_served(work):
            return
        following = work.run.waves.filter(index__gt=wave_index, state=WaveState.PENDING).order_by("index").first()
        if following is None:
            return
        before_loaded = following.steps.filter(state__in=BEFORE_LOADED).select_related("host").order_by("id")
        for step in longest_first(work.run.endpoint_id, before_loaded):
            path = work.document.path_of(step.host.name)
            kept_serving = StepState.LOADED in path and StepState.DRAINED not in path
            if kept_serving:
                self._waiting.append(step.pk)

    def begin(self, work: Work, most: int | None = None) -> None:
        """Let `most` more of them load; all that are left, where none is given."""
        for _ in range(len(self._waiting) if most is None else most):
            try:
                step_id = self._waiting.popleft()
            except IndexError:
                return
            self._begun[step_id] = self._hands.begin(partial(advance_step, work, step_id, until=StepState.LOADED))

    def under_way(self, step: HostStep) -> Future[float | None] | None:
        """What is begun ahead for this host; its own wave goes on with it afterwards."""
        return self._begun.get(step.pk)


def longest_first(endpoint_id: int, steps: Iterable[HostStep]) -> list[HostStep]:
    """By what each host took for its last load, to half a second; a host of which that is not known may take longest.
    (Longest processing time first: Graham, Bounds on multiprocessing timing anomalies, 1969.)"""
    placed = Placement.objects.filter(endpoint=endpoint_id).values_list("host_id", "load_seconds")
    known = {host: seconds for host, seconds in placed if seconds is not None}
    return sorted(steps, key=lambda step: -round(2 * known.get(step.host_id, math.inf), 0))


def _has_served(work: Work) -> bool:
    """Whether the endpoint has served the target before this run."""
    run = work.run
    served = Deployment.objects.filter(endpoint=run.endpoint_id, version=work.target, since__lt=run.started_at)
    return served.exists()
