"""What is it? A diagnosis in fixed words, each with the evidence for or against it, and what could be done.

Everything is judged from what was frozen with the incident and from the replay of its traffic: the test that tells a
bad version from bad inputs is whether another version does better on the very same inputs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from incidents.rollback.models import Candidate

FOR, AGAINST, OPEN = "for", "against", "open"
ENOUGH_LABELS = 100
SLOWER = 2.0
BUSIER = 1.5

Data = Mapping[str, Any]


@dataclass(frozen=True)
class Hypothesis:
    """One of the fixed words, whether the evidence speaks for it, against it or leaves it open, and that evidence."""

    word: str
    stands: str
    because: str


@dataclass(frozen=True)
class Option:
    """Something that could be done, with what it would bring, how long it would take and what it would cost."""

    name: str
    effect: str
    time: str
    cost: str
    suggested: bool = False
    plan: str = ""
    """What the plan that does it is asked for by: an outcome without another version, or `propose`."""


@dataclass(frozen=True)
class Diagnosis:
    hypotheses: list[Hypothesis]
    options: list[Option]

    @property
    def likely(self) -> Hypothesis | None:
        """The first hypothesis that the evidence speaks for, in the order in which they are asked."""
        return next((one for one in self.hypotheses if one.stands == FOR), None)

    @property
    def sentence(self) -> str:
        if self.likely is None:
            return "The evidence does not tell yet what it is."
        return f"It looks like {self.likely.word}: {self.likely.because}"


def diagnose(
    evidence: Mapping[str, Data], candidates: Sequence[Candidate], *, from_version: str, soak_seconds: int
) -> Diagnosis:
    """Judge each hypothesis. `evidence` maps a kind to the data of its newest piece; `soak_seconds` is how long a
    rollback waits after its canary host."""
    best = best_candidate(candidates)
    does_better = _does_better(best)
    hypotheses = [
        _bad_host(evidence),
        _bad_version(evidence, best, does_better, from_version),
        _load(evidence),
        _upstream(evidence, does_better),
        _shift(evidence, does_better),
        _labels(evidence, does_better),
        _not_enough(evidence, best),
    ]
    return Diagnosis(hypotheses, _options(hypotheses, best, soak_seconds))


def best_candidate(candidates: Sequence[Candidate]) -> Candidate | None:
    return next((candidate for candidate in candidates if candidate.eligible), None)


def _does_better(best: Candidate | None) -> bool | None:
    """Whether the candidate's accuracy on the same rows is above the live version's, interval against interval; None
    where nothing was replayed or neither is surely better."""
    replay = best.replay if best else {}
    if "candidate" not in replay or "live" not in replay:
        return None
    candidate, live = replay["candidate"], replay["live"]
    if candidate["low"] > live["high"]:
        return True
    return False if candidate["accuracy"] <= live["accuracy"] else None


def share(value: Any) -> str:
    return f"{float(value) * 100:.1f} %"


def _bad_version(
    evidence: Mapping[str, Data], best: Candidate | None, better: bool | None, from_version: str
) -> Hypothesis:
    word = "a bad version"
    if better and best is not None:
        replay = best.replay
        return Hypothesis(
            word,
            FOR,
            f"on the same {replay['labelled']:,} inputs {best.to_version} is right in "
            f"{share(replay['candidate']['accuracy'])}, version {from_version} in {share(replay['live']['accuracy'])}.",
        )
    ratio = _slower(evidence)
    if ratio is not None and ratio >= SLOWER and not _busier(evidence):
        return Hypothesis(word, FOR, f"it answers {ratio:.1f} times slower than before, under no more traffic.")
    if better is False:
        return Hypothesis(word, AGAINST, "no other version does better on the same inputs.")
    return Hypothesis(word, OPEN, "no other version has been tried on the same inputs yet.")


def _bad_host(evidence: Mapping[str, Data]) -> Hypothesis:
    word = "a bad host"
    rows = {name: row for name, row in evidence.get("hosts", {}).get("hosts", {}).items() if row["share"]}
    if len(rows) < 2:
        return Hypothesis(word, OPEN, "there are too few hosts with labelled answers to compare.")
    worst = min(rows, key=lambda name: float(rows[name]["share"]))
    others = [float(row["low"]) for name, row in rows.items() if name != worst]
    if float(rows[worst]["high"]) < min(others):
        return Hypothesis(word, FOR, f"{worst} is right in {share(rows[worst]['share'])}, all others more often.")
    return Hypothesis(word, AGAINST, f"all {len(rows)} hosts are hit alike.")


def _slower(evidence: Mapping[str, Data]) -> float | None:
    found = evidence.get("latency", {})
    before = float(found.get("before_p50_ms") or 0)
    return float(found["p50_ms"]) / before if before else None


def _busier(evidence: Mapping[str, Data]) -> bool:
    found = evidence.get("latency", {})
    before = float(found.get("before_per_second") or 0)
    return bool(before) and float(found["per_second"]) >= BUSIER * before


def _load(evidence: Mapping[str, Data]) -> Hypothesis:
    ratio = _slower(evidence)
    if ratio is None:
        return Hypothesis("load", OPEN, "there is no latency from before to compare with.")
    if ratio < SLOWER:
        return Hypothesis("load", AGAINST, "it answers about as fast as before.")
    if _busier(evidence):
        return Hypothesis("load", FOR, f"it answers {ratio:.1f} times slower, under more traffic than before.")
    return Hypothesis("load", AGAINST, "it is slower, though there is no more traffic than before.")


def _upstream(evidence: Mapping[str, Data], better: bool | None) -> Hypothesis:
    word = "upstream data"
    if better:
        return Hypothesis(word, AGAINST, "another version does well on the same inputs.")
    if "drift" not in evidence:
        return Hypothesis(word, AGAINST, "what is sent is like what the version learned from.")
    if better is False:
        return Hypothesis(word, FOR, "what is sent has changed, and no version does well on it.")
    return Hypothesis(word, OPEN, "what is sent has changed; whether another version minds is not known yet.")


def _shift(evidence: Mapping[str, Data], better: bool | None) -> Hypothesis:
    word = "a population shift"
    if better:
        return Hypothesis(word, AGAINST, "another version does well on the same people.")
    if "drift" not in evidence:
        return Hypothesis(word, AGAINST, "who asks is like those whom the version learned from.")
    return Hypothesis(word, OPEN, "the inputs have moved; look whether one column jumped or many moved together.")


def _labels(evidence: Mapping[str, Data], better: bool | None) -> Hypothesis:
    word = "suspect labels"
    if "accuracy" not in evidence:
        return Hypothesis(word, OPEN, "there are no labelled answers.")
    if better:
        return Hypothesis(word, AGAINST, "the same labels agree with another version.")
    if "drift" in evidence or "output-drift" in evidence:
        return Hypothesis(word, AGAINST, "inputs or answers have changed too, not the labels alone.")
    stands = FOR if better is False else OPEN
    return Hypothesis(word, stands, "only the labels disagree; inputs and answers are as they were.")


def _not_enough(evidence: Mapping[str, Data], best: Candidate | None) -> Hypothesis:
    n = int(evidence.get("accuracy", {}).get("now", {}).get("n", 0))
    if n < ENOUGH_LABELS and "latency" not in evidence and (best is None or not best.replay):
        return Hypothesis("not enough data", FOR, f"there are {n} labelled answers since it began.")
    return Hypothesis("not enough data", AGAINST, f"{n:,} labelled answers since it began.")


def _options(hypotheses: Sequence[Hypothesis], best: Candidate | None, soak_seconds: int) -> list[Option]:
    stands = {one.word: one.stands for one in hypotheses}
    found = []
    if best is not None:
        effect = "; ".join(best.reasons[-1:]) or "not replayed"
        spell = f"about {max(1, round(soak_seconds / 60))} min" if soak_seconds >= 60 else "under a minute"
        found.append(
            Option(
                f"Roll back to {best.to_version}",
                effect,
                f"{spell} after the last approval",
                "what the newer version was released for",
                suggested=stands["a bad version"] == FOR,
            )
        )
    host_is_bad = stands["a bad host"] == FOR
    found.append(
        Option(
            "Drain a host",
            "helps, if one host alone is bad" if host_is_bad else "none: no host stands out",
            "a minute",
            "the others carry its share",
            suggested=host_is_bad,
            plan="drain",
        )
    )
    found.append(
        Option("Freeze", "none: it keeps others from adding a change", "a minute", "releases wait", plan="freeze")
    )
    upstream = stands["upstream data"] == FOR
    found.append(Option("Fix forward", "depends on the fix", "hours", "errors go on until then", upstream, "propose"))
    found.append(Option("Retrain", "if the world has changed for good", "days", "errors go on until then"))
    found.append(Option("Wait", "none by itself", "–", "errors go on"))
    return found
