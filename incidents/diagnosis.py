"""What is it? A diagnosis in fixed words, each with the evidence for or against it, and what could be done.

Everything is judged from what was frozen with the incident and from the replay of its traffic: the test that tells a
bad version from bad inputs is whether another version does better on the very same inputs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.utils.translation import gettext

from incidents.diagnosing.causes import AGAINST, FOR, OPEN, Hypothesis, hypotheses
from incidents.diagnosing.options import Option, options
from incidents.diagnosing.seen import Data, Seen, share
from incidents.rollback.models import Candidate

__all__ = ["AGAINST", "FOR", "OPEN", "Diagnosis", "Hypothesis", "Option", "best_candidate", "diagnose", "share"]


@dataclass(frozen=True)
class Diagnosis:
    hypotheses: list[Hypothesis]
    options: list[Option]

    @property
    def likely(self) -> Hypothesis | None:
        """The first hypothesis that the evidence speaks for, in the order in which they are asked."""
        return next((one for one in self.hypotheses if one.stands == FOR), None)

    @property
    def quiet(self) -> bool:
        """Whether the evidence speaks against every one of them: nothing is found to be wrong."""
        return all(one.stands == AGAINST for one in self.hypotheses)

    @property
    def sentence(self) -> str:
        if self.likely is not None:
            return gettext("It looks like %(word)s: %(because)s") % {
                "word": self.likely.called,
                "because": self.likely.because,
            }
        if self.quiet:
            return gettext("Nothing is found to be wrong: the evidence speaks against each cause.")
        return gettext("The evidence does not tell yet what it is.")


def diagnose(
    evidence: Mapping[str, Data], candidates: Sequence[Candidate], *, from_version: str, soak_seconds: int
) -> Diagnosis:
    """Judge each hypothesis. `evidence` maps a kind to the data of its newest piece (docs/judgement.md lists what is
    read of it); `soak_seconds` is how long a rollback waits after its canary host."""
    seen = Seen(evidence, candidates, from_version)
    found = hypotheses(seen)
    return Diagnosis(found, options(seen, found, soak_seconds))


def best_candidate(candidates: Sequence[Candidate]) -> Candidate | None:
    return next((candidate for candidate in candidates if candidate.eligible), None)
