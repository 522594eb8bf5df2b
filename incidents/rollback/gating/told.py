"""What a registered gate is asked with, and what it says."""

from dataclasses import dataclass
from string import Template
from typing import Protocol

from incidents.rollback.document import PlanDocument
from incidents.rollback.fleet import Remote
from incidents.rollback.gating.planned import Planned
from incidents.rollback.models import CheckAnswer, HostStep, Run
from registry.models import Version


@dataclass(frozen=True)
class Said:
    """An answer before it is kept. `asked`: how often it was asked so far, of those that count that."""

    answer: CheckAnswer
    observed: str
    interval: str = ""
    asked: int = 0


class About(Protocol):
    """What a gate is asked about: a run whose hosts can be reached."""

    @property
    def run(self) -> Run: ...

    @property
    def document(self) -> PlanDocument: ...

    @property
    def target(self) -> Version: ...

    def remote(self, step: HostStep) -> Remote: ...


@dataclass(frozen=True)
class Asked:
    """A gate with the hosts that it is about: `steps` have switched by now, `fresh` of them in this wave. `series` is
    how many gates of that kind the plan asks, and `asked_before` what `Said.asked` was last."""

    work: About
    gate: Planned
    steps: list[HostStep]
    fresh: list[HostStep]
    series: int
    asked_before: int

    @property
    def times(self) -> int:
        """How often the plan has the gate asked: in each wave, in the watch, or both."""
        waves = max(1, len(self.work.document.waves)) if self.gate.when != "watch" else 0
        return waves + (self.gate.when != "wave")

    def fill(self, text: str) -> str:
        """The text with $version, $digest, $endpoint and $model put in, and $hosts and $others as regular
        expressions: hosts that have switched, and the endpoint's others. Hosts' names are slugs."""
        run, target = self.work.run, self.work.target
        switched = [step.host.name for step in self.steps]
        names = {
            "version": str(target.number),
            "digest": target.digest,
            "endpoint": run.endpoint.slug,
            "model": run.endpoint.model.slug,
            "hosts": "|".join(switched),
            "others": "|".join(name for name in self.work.document.hosts if name not in switched),
        }
        return Template(text).safe_substitute(names)
