"""What a rule would have done: the span behind us, judged by the code that judges what comes."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from django.utils.translation import gettext, ngettext

from monitoring.rules.answers import Condition, Judged
from monitoring.rules.bins import SECOND
from monitoring.rules.conditions import judge, moments, needed
from monitoring.rules.machine import Firing, Standing, What, firings, follow
from monitoring.rules.models import AlertRule
from monitoring.rules.reading import hosts_of, microseconds, moment, read
from monitoring.rules.spec import spec_of
from registry.models import Host

MOST_HOSTS = 12
"""Hosts that a preview judges; of more, the first by name."""
DAYS = 30


@dataclass(frozen=True)
class Told:
    """What came of one host, or of the endpoint as a whole (host None)."""

    host: Host | None
    judged: Judged
    fired: list[Firing]
    unheard: list[Firing]
    standing: Standing

    def seconds(self, until: int) -> int:
        """How long it fired in all."""
        return sum(((one.ended or until) - one.fired) // SECOND for one in self.fired)

    @property
    def silent_share(self) -> float:
        """The share of moments without data."""
        return float(np.mean(self.judged.condition == Condition.NO_DATA))

    @property
    def unknown_share(self) -> float:
        """The share of moments with a value and nothing to hold it against."""
        return float(np.mean(self.judged.condition == Condition.UNKNOWN))


@dataclass(frozen=True)
class Preview:
    """A rule judged from `since` to `until`. `left_out` hosts were not, being too many."""

    rule: AlertRule
    since: datetime
    until: datetime
    told: list[Told]
    left_out: int

    @property
    def fired(self) -> list[tuple[Host | None, Firing]]:
        """Every firing, oldest first."""
        found = [(one.host, firing) for one in self.told for firing in one.fired]
        return sorted(found, key=lambda pair: pair[1].fired)

    @property
    def worst(self) -> Told | None:
        """What fired longest; the first where none did."""
        until = microseconds(self.until)
        return max(self.told, key=lambda one: one.seconds(until), default=None)

    @property
    def sentence(self) -> str:
        """The answer in words."""
        until = microseconds(self.until)
        span = gettext("from %(since)s to %(until)s UTC") % {
            "since": f"{self.since:%Y-%m-%d %H:%M}",
            "until": f"{self.until:%Y-%m-%d %H:%M}",
        }
        if not self.told or all(one.silent_share == 1 for one in self.told):
            return gettext("There was no data %(span)s: it would have judged nothing.") % {"span": span}
        fired = self.fired
        if not fired:
            return gettext("It would not have fired %(span)s.%(gaps)s") % {"span": span, "gaps": self._gaps()}
        seconds = sum(one.seconds(until) for one in self.told)
        times = "once" if len(fired) == 1 else gettext("%(count)s times") % {"count": f"{len(fired):,}"}
        hosts = len({host.pk for host, _ in fired if host})
        where = ngettext(" on %(hosts)s host", " on %(hosts)s hosts", hosts) % {"hosts": hosts} if hosts else ""
        first = moment(fired[0][1].fired)
        return gettext(
            "It would have fired %(times)s%(where)s %(span)s, %(seconds)s in all; first at %(first)s UTC.%(gaps)s"
        ) % {
            "times": times,
            "where": where,
            "span": span,
            "seconds": length(seconds),
            "first": f"{first:%Y-%m-%d %H:%M}",
            "gaps": self._gaps(),
        }

    def _gaps(self) -> str:
        parts = []
        for share, words in (
            (float(np.mean([one.silent_share for one in self.told])), gettext("there was no data")),
            (float(np.mean([one.unknown_share for one in self.told])), gettext("there was too little to compare with")),
        ):
            if share >= 0.001:
                parts.append(
                    gettext("For %(share)s of the time %(words)s.") % {"share": f"{share:.1%}", "words": words}
                )
        unheard = sum(len(one.unheard) for one in self.told)
        if unheard:
            parts.append(
                ngettext(
                    "It would have told %(unheard)s time that nothing comes any more.",
                    "It would have told %(unheard)s times that nothing comes any more.",
                    unheard,
                )
                % {"unheard": unheard}
            )
        return f" {' '.join(parts)}" if parts else ""


def preview(rule: AlertRule, *, until: datetime, days: float = DAYS) -> Preview:
    """Judge the rule (saved or not) over the days before the last moment of its own until `until`, from a standing that
    knows nothing."""
    spec = spec_of(rule)
    until = moment(microseconds(until) // spec.step * spec.step)
    at = moments(spec, microseconds(until - timedelta(days=days)), microseconds(until))
    hosts = hosts_of(rule)
    shown = hosts[:MOST_HOSTS]
    told = []
    if len(at):
        found = read(rule, shown, needed(spec, int(at[0]), int(at[-1])))
        for host in shown:
            judged = judge(spec, found[host], at)
            standing, changes = follow(spec, Standing(), judged)
            spans = firings(changes)
            told.append(
                Told(
                    host,
                    judged,
                    [one for one in spans if one.what == What.FIRE],
                    [one for one in spans if one.what == What.UNHEARD],
                    standing,
                )
            )
    return Preview(rule, until - timedelta(days=days), until, told, len(hosts) - len(shown))


def length(seconds: int) -> str:
    """A length in words, with its two largest units."""
    parts = []
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {name}")
    return " ".join(parts[:2]) or "0 s"
