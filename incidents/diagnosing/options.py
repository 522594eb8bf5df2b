"""What could be done, side by side: what each would bring, who is hit until then, how long it takes, its price."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from incidents.diagnosing import causes, costs
from incidents.diagnosing.causes import FOR, Hypothesis
from incidents.diagnosing.seen import Seen, number, share
from incidents.rollback.models import Candidate

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
APPROVAL = " after the last approval"


@dataclass(frozen=True)
class Option:
    """Something that could be done. `effect` is what it would bring, `time` how long it takes; `expected` the quality
    afterwards with its interval, `affected` who is hit until then, `priced` what that costs by the model's formula, and
    `cost` what has to be given up for it."""

    name: str
    effect: str
    time: str
    cost: str
    suggested: bool = False
    plan: str = ""
    """What the plan that does it is asked for by: an outcome without another version, or `propose`."""
    expected: str = ""
    affected: str = ""
    priced: str = ""
    version: int | None = None
    """The number of the version that it goes to."""


@dataclass(frozen=True)
class Outlook:
    """What goes on meanwhile: answers a second, and the share of them that is wrong beyond what is usual; and how long
    a rollback takes by earlier runs."""

    per_second: float
    wrong: float
    noun: str
    rollback_seconds: float | None
    earlier_runs: int
    wrongly_positive: float = 0.0
    wrongly_negative: float = 0.0
    prices: costs.Terms | None = None

    def until(self, seconds: float) -> dict[str, str]:
        """Who is hit within so many seconds, and what that costs, as the fields of an option."""
        return {"affected": self.affected(seconds), "priced": self.about(seconds)}

    def about(self, seconds: float) -> str:
        cost = self.priced(self.per_second * seconds, seconds)
        return f"about {cost}" if cost else ""

    def priced(self, answers: float, seconds: float) -> str:
        """What so many answers within so many seconds cost beyond what is usual; "" without a formula, or while nothing
        is surely worse than usual."""
        if self.prices is None or not self.wrong:
            return ""
        positive, negative = answers * self.wrongly_positive, answers * self.wrongly_negative
        return self.prices.said(self.prices.cost(positive=positive, negative=negative, seconds=seconds))

    def affected(self, seconds: float) -> str:
        """How many are answered wrongly beyond the usual within so many seconds."""
        if not self.per_second:
            return ""
        count = self.per_second * seconds * self.wrong
        if self.wrong:
            return f"about {count:,.0f} {self.noun} wrongly answered until then"
        return f"{self.per_second * seconds:,.0f} {self.noun} answered until then"


def outlook_of(data: Mapping[str, Any]) -> Outlook:
    """The piece of evidence `outlook`, read."""
    return Outlook(
        per_second=number(data.get("per_second")) or 0.0,
        wrong=number(data.get("wrong_beyond_usual")) or 0.0,
        noun=str(data.get("noun", "answers")),
        rollback_seconds=number(data.get("rollback_seconds")),
        earlier_runs=int(data.get("earlier_runs", 0)),
        wrongly_positive=number(data.get("wrongly_positive")) or 0.0,
        wrongly_negative=number(data.get("wrongly_negative")) or 0.0,
        prices=costs.terms_of(data.get("cost") or {}),
    )


def options(seen: Seen, found: list[Hypothesis], soak_seconds: int) -> list[Option]:
    """All options, in the fixed order; the one that fits what it looks like is suggested."""
    likely = next((one.word for one in found if one.stands == FOR), "")
    outlook = outlook_of(seen.of("outlook"))
    return [
        *_rollbacks(seen, outlook, likely, soak_seconds),
        _drain(seen, outlook, likely),
        _freeze(outlook, likely),
        _fix_forward(outlook, likely),
        _retrain(outlook, likely),
        _wait(outlook, likely),
    ]


def _rollbacks(seen: Seen, outlook: Outlook, likely: str, soak_seconds: int) -> Iterator[Option]:
    if seen.best is None and seen.part is None:
        return
    seconds = outlook.rollback_seconds or float(max(soak_seconds, 30))
    spell = f"about {_spell(seconds)}{APPROVAL}"
    if outlook.rollback_seconds is not None:
        runs = "run" if outlook.earlier_runs == 1 else "runs"
        spell += f", by {outlook.earlier_runs} earlier {runs}"
    if seen.best is not None:
        yield Option(
            f"Roll back to {seen.best.to_version}",
            _brings(seen.best, likely),
            spell,
            "what the newer version was released for",
            suggested=likely == causes.VERSION,
            expected=_expected(seen.best),
            **outlook.until(seconds),
            version=seen.best.to_version.number,
        )
    part = seen.part
    if part is not None:
        yield Option(
            f"Roll back a part: {part.to_version}",
            _joined(
                part.reasons[0] if part.reasons else "", "It has never soaked: nothing but this replay speaks for it."
            ),
            f"the same, and a rehearsal of it first; {spell}",
            "what has never run in production may fail in other ways",
            expected=_expected(part),
            **outlook.until(2 * seconds),
            version=part.to_version.number,
        )


def _brings(best: Candidate, likely: str) -> str:
    pairs = best.replay.get("paired")
    if likely == causes.HOST:
        return "little: the host would answer wrongly with that version too"
    if not pairs:
        return "; ".join(best.reasons[-1:]) or "not replayed"
    if pairs["low"] > 0:
        return f"{100 * pairs['low']:+.1f} to {100 * pairs['high']:+.1f} points on the same rows"
    if pairs["high"] < 0:
        return f"harm: {100 * pairs['low']:+.1f} to {100 * pairs['high']:+.1f} points on the same rows"
    return "nothing that the rows would show: chance explains the difference"


def _expected(candidate: Candidate) -> str:
    found = candidate.replay.get("candidate")
    return f"{share(found['accuracy'])} right ({share(found['low'])} to {share(found['high'])})" if found else ""


def _drain(seen: Seen, outlook: Outlook, likely: str) -> Option:
    odd = sorted(seen.odd_hosts)
    name = f"Drain {', '.join(odd)}" if odd else "Drain a host"
    helps = "the others answer as they should" if odd else "none: no host stands out"
    cost = "the others carry its share"
    suggested = likely == causes.HOST
    return Option(name, helps, "a minute", cost, suggested, "drain", **(outlook.until(MINUTE) if odd else {}))


def _freeze(outlook: Outlook, likely: str) -> Option:
    upstream = likely == causes.UPSTREAM
    effect = "none by itself: it keeps a release from hiding what is wrong" if upstream else "none by itself"
    return Option("Freeze", effect, "a minute", "releases wait", upstream, "freeze")


def _fix_forward(outlook: Outlook, likely: str) -> Option:
    effect, time = "depends on the fix", "hours"
    if likely == causes.UPSTREAM:
        effect = "whoever sends the inputs mends them; no version of ours does"
    if likely == causes.LOAD:
        effect = "more hosts, or less traffic"
    cost = "errors go on until then"
    suggested = likely in (causes.UPSTREAM, causes.LOAD)
    return Option("Fix forward", effect, time, cost, suggested, "propose", **outlook.until(4 * HOUR))


def _retrain(outlook: Outlook, likely: str) -> Option:
    shift = likely == causes.SHIFT
    effect = "a version that has learned from who asks now" if shift else "if the world has changed for good"
    cost = "errors go on until then"
    return Option("Retrain", effect, "days", cost, shift, **outlook.until(3 * DAY))


def _wait(outlook: Outlook, likely: str) -> Option:
    effect = "none by itself"
    if likely == causes.LABELS:
        effect = "time to find out where the labels come from; the answers are as they were"
    if likely == causes.NOT_ENOUGH:
        effect = "more labels; then look again"
    suggested = likely in (causes.LABELS, causes.NOT_ENOUGH)
    cost = "errors go on"
    hour = outlook.affected(HOUR).replace("until then", "an hour")
    priced = outlook.about(HOUR)
    return Option("Wait", effect, "–", cost, suggested, affected=hour, priced=f"{priced} an hour" if priced else "")


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _spell(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / MINUTE)} min"
