"""How often a rule would cry wolf, measured: its own machine, run over the part of its past in which nobody else knew
of anything wrong, and, of a control chart, over the period that was said to be stable."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from django.core.cache import cache
from django.utils.translation import get_language, gettext, ngettext
from scipy import special

from monitoring.queries import short_digest
from monitoring.rules.answers import Condition, Judged
from monitoring.rules.bins import SECOND, Bools, stretches
from monitoring.rules.conditions import reach
from monitoring.rules.control import expected
from monitoring.rules.control.params import period
from monitoring.rules.fields import UnfitRule
from monitoring.rules.machine import Standing, What, follow
from monitoring.rules.models import AlertRule, AlertRuleKind
from monitoring.rules.preview import DAYS, Preview, length, preview
from monitoring.rules.reading import hosts_of, microseconds
from monitoring.rules.spec import Spec, between, spec_of
from monitoring.rules.troubled import troubles

LEAST_SECONDS = 86_400
"""A past without trouble that is shorter says nothing of a rule that people live with for months."""

LEAST_DAYS = 7
"""Days that a rule over many hosts is run over; of few, up to those of a preview."""


@dataclass(frozen=True)
class Measured:
    """`alarms` in `seconds` that had data and no trouble; `left_out` seconds had data and trouble. `unjudged` incidents
    of that time are the rule's own alone and not judged by anybody."""

    alarms: int
    seconds: int
    left_out: int = 0
    unjudged: int = 0

    def interval(self) -> tuple[float, float]:
        """The 95 % interval of how many alarms such a time holds (Poisson, exact); without any, one-sided."""
        if not self.alarms:
            return 0.0, float(special.gammaincinv(1, 0.95))
        low, high = special.gammaincinv([self.alarms, self.alarms + 1], [0.025, 0.975])
        return float(low), float(high)

    @property
    def often(self) -> str:
        """How many alarms there were, and how long lies between two of them, in words."""
        low, high = self.interval()
        if not self.alarms:
            return gettext("no alarm, so at most about one in %(between)s (95 %%)") % {
                "between": between(self.seconds / high)
            }
        said = ngettext(
            "%(alarms)s alarm: about one in %(between)s (95 %% interval: %(least)s to %(most)s)",
            "%(alarms)s alarms: about one in %(between)s (95 %% interval: %(least)s to %(most)s)",
            self.alarms,
        )
        return said % {
            "alarms": f"{self.alarms:,}",
            "between": between(self.seconds / self.alarms),
            "least": between(self.seconds / high),
            "most": between(self.seconds / low),
        }


def sentences(rule: AlertRule, until: datetime, found: Preview | None = None) -> list[str]:
    """Beside a rule: what was measured on its own past (that of `found`, a preview of it, where one was made), and of a
    control chart on its stable period, after what theory says."""
    said = [expected.sentence(rule)] if rule.kind == AlertRuleKind.CONTROL else []
    stable = of_stable_period(rule)
    if stable is not None:
        said.append(
            gettext("Run over its stable period, %(length)s with data, it raised %(often)s.")
            % {"length": length(stable.seconds), "often": stable.often}
        )
    if found is None:
        found = preview(rule, until=until, days=max(LEAST_DAYS, DAYS // max(len(hosts_of(rule)), 1)))
    return [*said, _past_sentence(of_past(found))]


def kept(rule: AlertRule, now: datetime) -> list[str]:
    """`sentences` of a saved rule, worked out anew each hour, and when the rule or what is known of troubles changes: a
    month of a dozen hosts takes seconds."""
    known = troubles(rule.endpoint, now - timedelta(days=DAYS), now, rule=rule)
    of = (
        rule.pk, rule.created_at, rule.revision, f"{now:%Y-%m-%dT%H}", get_language(), sorted(known.spans, key=str),
        known.unjudged,
    )  # fmt: skip
    key = f"false-alarms:{short_digest(of)}"
    said: list[str] | None = cache.get(key)
    if said is None:
        said = sentences(rule, now)
        cache.set(key, said, timeout=3_600)
    return said


def _past_sentence(past: Measured) -> str:
    left = (
        gettext(" %(length)s that incidents or other alerts touch are left out.") % {"length": length(past.left_out)}
        if past.left_out
        else ""
    )
    if past.seconds < LEAST_SECONDS:
        short = gettext(
            "How often it raises false alarms can't be measured yet: its past without trouble holds %(length)s, and a "
            "day is needed."
        )
        return short % {"length": length(past.seconds)} + left
    unjudged = (
        ngettext(
            " %(unjudged)s incident of that time is its own alone and not judged yet: it may have been right.",
            " %(unjudged)s incidents of that time are its own alone and not judged yet: they may have been right.",
            past.unjudged,
        )
        % {"unjudged": past.unjudged}
        if past.unjudged
        else ""
    )
    said = gettext("Run over its own past, %(length)s with data and without trouble, it raised %(often)s.")
    return said % {"length": length(past.seconds), "often": past.often} + left + unjudged


def of_stable_period(rule: AlertRule) -> Measured | None:
    """Of a control chart: what it raises on the period that its limits are frozen from. None for other kinds, without a
    period, and where the period's points are kept no longer. Of a period longer than a preview, its last days."""
    if rule.kind != AlertRuleKind.CONTROL:
        return None
    try:
        since, until = period(rule.params)
    except UnfitRule:
        return None
    found = _counted(preview(rule, until=until, days=min((until - since) / timedelta(days=1), DAYS)), [])
    return found if found.seconds else None


def of_past(found: Preview) -> Measured:
    """What a rule raised in the part of a preview in which nobody else knew of any trouble."""
    known = troubles(found.rule.endpoint, found.since, found.until, rule=found.rule)
    after = reach(spec_of(found.rule))
    spans = [(microseconds(began), _end(ended, found.until) + after) for began, ended in known.spans]
    whole, healthy = _counted(found, []), _counted(found, spans)
    return Measured(healthy.alarms, healthy.seconds, whole.seconds - healthy.seconds, known.unjudged)


def _end(ended: datetime | None, until: datetime) -> int:
    return microseconds(until if ended is None else min(ended, until))


def _counted(found: Preview, spans: Sequence[tuple[int, int]]) -> Measured:
    """The alarms outside of the spans (from, to), each stretch between them begun knowing nothing. The time is that in
    which any of the hosts had data and something to hold it against."""
    spec = spec_of(found.rule)
    alarms, known = 0, np.zeros(0, dtype=bool)
    for told in found.told:
        well = _outside(told.judged, spans)
        alarms += sum(_alarms(spec, told.judged, stretch) for stretch in stretches(well))
        had = well & (told.judged.condition >= Condition.CLEAR)
        known = had if not len(known) else known | had
    return Measured(alarms, int(np.count_nonzero(known)) * spec.step // SECOND)


def _outside(judged: Judged, spans: Sequence[tuple[int, int]]) -> Bools:
    well = np.ones(len(judged.at), dtype=bool)
    for began, ended in spans:
        well &= (judged.at <= began) | (judged.at > ended)
    return well


def _alarms(spec: Spec, judged: Judged, stretch: slice) -> int:
    _, changes = follow(spec, Standing(), Judged(*(column[stretch] for column in judged)))
    return sum(change.what == What.FIRE for change in changes)
