"""How long labels take: of the answers that are old enough to tell, the share that had one by each age."""

from dataclasses import dataclass

import numpy as np
from django.utils.translation import gettext

from monitoring.charts import parts
from monitoring.charts.parts import Chart
from monitoring.drift.measures import wilson

AGES = {
    "1 min": 60,
    "5 min": 300,
    "15 min": 900,
    "1 h": 3_600,
    "6 h": 21_600,
    "1 day": 86_400,
    "3 days": 259_200,
    "7 days": 604_800,
    "30 days": 2_592_000,
}


@dataclass(frozen=True)
class Aged:
    """Of `n` answers at least so old, how many had a label by that age; shares with low and high of 95 %."""

    age: str
    n: int
    hits: int
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Delay:
    """`rows` answers of which `labelled` have a label; median and p95 of the delay in seconds of those that have."""

    rows: int
    labelled: int
    median: float | None
    p95: float | None
    aged: list[Aged]

    @property
    def sentence(self) -> str:
        """How many have one, and how long it took."""
        if self.median is None or self.p95 is None:
            return gettext("None of %(rows)s answers has a label yet.") % {"rows": f"{self.rows:,}"}
        return gettext(
            "%(labelled)s of %(rows)s answers have a label; half of these came within %(median)s, 95 %% within %(p95)s."
        ) % {
            "labelled": f"{self.labelled / self.rows:.1%}",
            "rows": f"{self.rows:,}",
            "median": in_words(self.median),
            "p95": in_words(self.p95),
        }


def delay(delays: np.ndarray, answered: np.ndarray, now: float) -> Delay:
    """`delays` in seconds (NaN without a label) and `answered` in seconds of Unix time, shape (n,). An answer
    counts for an age only once it is as old itself: young ones would make labels look slower than they are."""
    known = delays[np.logical_not(np.isnan(delays))]
    aged = []
    for age, seconds in AGES.items():
        old = now - answered >= seconds
        n, hits = int(old.sum()), int((delays[old] <= seconds).sum())
        if n:
            aged.append(Aged(age, n, hits, hits / n, *wilson(hits, n)))
    quantiles = (
        [float(value) for value in np.quantile(np.maximum(known, 0), [0.5, 0.95])] if len(known) else [None, None]
    )
    return Delay(len(delays), len(known), quantiles[0], quantiles[1], aged)


def in_words(seconds: float) -> str:
    """A length of time in its largest fitting unit."""
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def delay_chart(found: Delay) -> Chart | None:
    """Share of answers with a label by their age. None where no answer is a minute old."""
    if not found.aged:
        return None
    ages = [one.age for one in found.aged]
    drawn = {
        **parts.trace(ages, [one.share for one in found.aged], gettext("with a label"), "accent"),
        "mode": "lines+markers",
    }
    return Chart(
        "quality-delay",
        found.sentence,
        gettext("Of the answers that are at least so old, the share that had a label by then."),
        {
            "data": [drawn],
            "layout": {
                "xaxis": {"type": "category", "title": gettext("age of the answer")},
                "yaxis": {"title": gettext("share with a label"), "tickformat": ".0%", "range": [0, 1.02]},
            },
            "lastgood": {},
        },
        parts.table(
            ["age", gettext("answers so old"), gettext("with a label by then"), "share"],
            [
                [
                    one.age,
                    f"{one.n:,}",
                    f"{one.hits:,}",
                    gettext("%(share)s (%(low)s to %(high)s)")
                    % {"share": f"{one.share:.1%}", "low": f"{one.low:.1%}", "high": f"{one.high:.1%}"},
                ]
                for one in found.aged
            ],
        ),
        "small",
    )
