"""What a worker has in hand while it moves a run: the plan, the lease, the versions, and the hosts as last seen."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from audit.actions import Actor
from incidents.rollback import fleet
from incidents.rollback.document import PlanDocument
from incidents.rollback.fleet import Known, Remote
from incidents.rollback.lease import Lease
from incidents.rollback.models import HostStep, Run, StepState
from registry.models import Host, Version
from registry.serving.base import ModelObservation

FRESH_SECONDS = 0.5


class StepFailed(Exception):
    """The step can't go on; the message is a sentence for people."""


class StepWaits(Exception):
    """Nothing can be said or done yet; the run is taken up again after `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds


class FenceLost(Exception):
    """The host has seen a higher fence than the run's: somebody else has acted. The run halts for a person."""


@dataclass(frozen=True)
class Work:
    """What every edge needs: the run, its lease, the versions, the golden test, who is on record as acting."""

    run: Run
    document: PlanDocument
    lease: Lease
    target: Version
    origin: Version | None
    golden: Mapping[str, Any] | None
    actor: Actor
    known: Known

    def remote(self, step: HostStep) -> Remote:
        return self.remote_of(step.host)

    def remote_of(self, host: Host) -> Remote:
        """Raises HostUnreachable when the host may not be called."""
        if host.pk not in self.known.remotes:
            self.known.remotes[host.pk] = fleet.reach(host, self.run.endpoint)
        return self.known.remotes[host.pk]

    def look(self, step: HostStep, *, anew: bool = False) -> ModelObservation:
        return self.look_at(step.host, anew=anew)

    def look_at(self, host: Host, *, anew: bool = False, within: float = FRESH_SECONDS) -> ModelObservation:
        """What the host holds and serves. The edges of one pass share an observation of the last half second, in which
        nobody but this lease's holder acts on the host; after an act it is observed anew."""
        at, seen = self.known.seen.get(host.pk, (-within, None))
        if anew or seen is None or time.monotonic() - at > within:
            self.known.seen.pop(host.pk, None)  # what gives no answer now is not as it was
            seen = self.remote_of(host).look()
            self.known.seen[host.pk] = (time.monotonic(), seen)
        return seen

    def reads_back(self, step: HostStep) -> bool:
        return self.remote(step).driver.capabilities.digest_read_back


def has_acted(step: HostStep) -> bool:
    """Whether a call of this run may have changed where the host's requests go."""
    steered = {StepState.DRAINED, StepState.SHARED, StepState.IN_SERVICE} & step.marks.keys()
    return bool(step.switch_calls or step.steer_calls or steered)
