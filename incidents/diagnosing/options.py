"""What could be done, side by side: what each would bring, who is hit until then, how long it takes, its price."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext, ngettext

from incidents.diagnosing import causes, costs
from incidents.diagnosing.causes import FOR, Hypothesis
from incidents.diagnosing.seen import Seen, number, share
from incidents.rollback.models import Candidate

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0


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
        return gettext("about %(cost)s") % {"cost": cost} if cost else ""

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
        if self.wrong:
            return gettext("about %(count)s %(noun)s wrongly answered until then") % self._hit(seconds)
        return gettext("%(count)s %(noun)s answered until then") % self._hit(seconds)

    def affected_an_hour(self) -> str:
        """The same within an hour, while nothing is done."""
        if not self.per_second:
            return ""
        if self.wrong:
            return gettext("about %(count)s %(noun)s wrongly answered an hour") % self._hit(HOUR)
        return gettext("%(count)s %(noun)s answered an hour") % self._hit(HOUR)

    def _hit(self, seconds: float) -> dict[str, str]:
        return {"count": f"{self.per_second * seconds * (self.wrong or 1.0):,.0f}", "noun": self.noun}


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
    spell = gettext("about %(time)s after the last approval") % {"time": _spell(seconds)}
    if outlook.rollback_seconds is not None:
        runs = ngettext("%(spell)s, by %(n)s earlier run", "%(spell)s, by %(n)s earlier runs", outlook.earlier_runs)
        spell = runs % {"spell": spell, "n": outlook.earlier_runs}
    if seen.best is not None:
        yield Option(
            gettext("Roll back to %(to_version)s") % {"to_version": seen.best.to_version},
            _brings(seen.best, likely),
            spell,
            gettext("what the newer version was released for"),
            suggested=likely == causes.VERSION,
            expected=_expected(seen.best),
            **outlook.until(seconds),
            version=seen.best.to_version.number,
        )
    part = seen.part
    if part is not None:
        yield Option(
            gettext("Roll back a part: %(to_version)s") % {"to_version": part.to_version},
            _joined(
                part.reasons[0] if part.reasons else "",
                gettext("It has never soaked: nothing but this replay speaks for it."),
            ),
            gettext("the same, and a rehearsal of it first; %(spell)s") % {"spell": spell},
            gettext("what has never run in production may fail in other ways"),
            expected=_expected(part),
            **outlook.until(2 * seconds),
            version=part.to_version.number,
        )


def _brings(best: Candidate, likely: str) -> str:
    pairs = best.replay.get("paired")
    if likely == causes.HOST:
        return gettext("little: the host would answer wrongly with that version too")
    if not pairs:
        return "; ".join(best.reasons[-1:]) or gettext("not replayed")
    if pairs["low"] > 0:
        return gettext("%(low)s to %(high)s points on the same rows") % {
            "low": f"{100 * pairs['low']:+.1f}",
            "high": f"{100 * pairs['high']:+.1f}",
        }
    if pairs["high"] < 0:
        return gettext("harm: %(low)s to %(high)s points on the same rows") % {
            "low": f"{100 * pairs['low']:+.1f}",
            "high": f"{100 * pairs['high']:+.1f}",
        }
    return gettext("nothing that the rows would show: chance explains the difference")


def _expected(candidate: Candidate) -> str:
    found = candidate.replay.get("candidate")
    return (
        gettext("%(accuracy)s right (%(low)s to %(high)s)")
        % {"accuracy": share(found["accuracy"]), "low": share(found["low"]), "high": share(found["high"])}
        if found
        else ""
    )


def _drain(seen: Seen, outlook: Outlook, likely: str) -> Option:
    odd = sorted(seen.odd_hosts)
    name = gettext("Drain %(odd)s") % {"odd": ", ".join(odd)} if odd else gettext("Drain a host")
    helps = gettext("the others answer as they should") if odd else gettext("none: no host stands out")
    cost = gettext("the others carry its share")
    suggested = likely == causes.HOST
    return Option(name, helps, "a minute", cost, suggested, "drain", **(outlook.until(MINUTE) if odd else {}))


def _freeze(outlook: Outlook, likely: str) -> Option:
    upstream = likely == causes.UPSTREAM
    effect = (
        gettext("none by itself: it keeps a release from hiding what is wrong")
        if upstream
        else gettext("none by itself")
    )
    return Option(gettext("Freeze"), effect, gettext("a minute"), gettext("releases wait"), upstream, "freeze")


def _fix_forward(outlook: Outlook, likely: str) -> Option:
    effect, time = gettext("depends on the fix"), gettext("hours")
    if likely == causes.UPSTREAM:
        effect = gettext("whoever sends the inputs mends them; no version of ours does")
    if likely == causes.LOAD:
        effect = gettext("more hosts, or less traffic")
    cost = gettext("errors go on until then")
    suggested = likely in (causes.UPSTREAM, causes.LOAD)
    return Option(gettext("Fix forward"), effect, time, cost, suggested, "propose", **outlook.until(4 * HOUR))


def _retrain(outlook: Outlook, likely: str) -> Option:
    shift = likely == causes.SHIFT
    effect = (
        gettext("a version that has learned from who asks now")
        if shift
        else gettext("if the world has changed for good")
    )
    cost = gettext("errors go on until then")
    return Option(gettext("Retrain"), effect, gettext("days"), cost, shift, **outlook.until(3 * DAY))


def _wait(outlook: Outlook, likely: str) -> Option:
    effect = gettext("none by itself")
    if likely == causes.LABELS:
        effect = gettext("time to find out where the labels come from; the answers are as they were")
    if likely == causes.NOT_ENOUGH:
        effect = gettext("more labels; then look again")
    suggested = likely in (causes.LABELS, causes.NOT_ENOUGH)
    cost = gettext("errors go on")
    priced = outlook.about(HOUR)
    return Option(
        gettext("Wait"),
        effect,
        "–",
        cost,
        suggested,
        affected=outlook.affected_an_hour(),
        priced=gettext("%(priced)s an hour") % {"priced": priced} if priced else "",
    )


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _spell(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / MINUTE)} min"
