"""What every question of this package answers with, and how several questions asked together are corrected for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Verdict = Literal["pass", "fail", "inconclusive"]
Direction = Literal["up", "down", "either"]

ALPHA = 0.05
"""How often a healthy canary may fail by chance alone."""

POWER_FLOOR = 0.8
"""How often a change that matters must be found where there is one, before not finding it counts as a pass."""


@dataclass(frozen=True)
class Judged:
    """The answer to one question.

    `estimate` with `low` and `high` is in the question's unit (`method` says which and how); `p` is the chance of data
    like these without a change; `power` is how often these data would have shown a change that matters, and
    `detectable` the smallest change that they would have shown as often as the power floor asks. Each is None where
    there was too little to compute it from.
    """

    answer: Verdict
    sentence: str
    method: str
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    power: float | None = None
    detectable: float | None = None


class Question(Protocol):
    """Data of a declared shape with what is asked of them. `judge` is pure, and its `p` does not depend on alpha."""

    def judge(self, alpha: float = ALPHA) -> Judged: ...


def decide(*, significant: bool, within: bool, power: float = 0.0, floor: float = 1.0) -> Verdict:
    """Fail on a change that chance does not explain, unless it is certainly smaller than what matters (`within`: the
    whole interval is). Pass without one where one that matters would have been found: not without any `power`, however
    low the `floor`. Inconclusive else."""
    if within:
        return "pass"
    if significant:
        return "fail"
    return "pass" if power > 0 and power >= floor else "inconclusive"


def judge_all(questions: Sequence[Question], alpha: float = ALPHA) -> list[Judged]:
    """The answers in the order given, at most `alpha` of all-healthy sets with any failure among them (Holm 1979).

    Holm's and not Benjamini-Hochberg's, because one failure halts a rollout: what has to be held is the chance of any
    false one, whatever the metrics have to do with each other. Each question is judged at the level that Holm leaves
    it, so that interval and power are those of the corrected test.
    """
    found = [question.judge(alpha) for question in questions]
    ranked = sorted((judged.p, index) for index, judged in enumerate(found) if judged.p is not None)
    levels: dict[int, float] = {}
    for p, index in ranked:
        level = alpha / (len(ranked) - len(levels))
        if p > level:
            break
        levels[index] = level
    least = alpha / max(len(ranked) - len(levels), 1)
    return [
        judged if judged.p is None else questions[index].judge(levels.get(index, least))
        for index, judged in enumerate(found)
    ]


def overall(answers: Sequence[Judged]) -> Verdict:
    """Fail when one fails, else inconclusive when one is or nothing was asked, else pass."""
    found = {judged.answer for judged in answers}
    if "fail" in found:
        return "fail"
    return "pass" if found == {"pass"} else "inconclusive"


def p_text(p: float) -> str:
    """A p-value as sentences have it."""
    return "p below 0.001" if p < 0.001 else f"p = {p:.3f}"
