"""Two sides of an endpoint, held against each other: a sentence, figures with intervals, columns, distributions."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from django.db.models import F, FloatField, QuerySet, Sum
from django.db.models.functions import Cast
from django.utils.translation import gettext, ngettext

from monitoring import history
from monitoring.charts import parts
from monitoring.charts.distributions import bars
from monitoring.charts.parts import Chart
from monitoring.comparing import differences
from monitoring.comparing.columns import Column, Columns, by_sketches
from monitoring.comparing.differences import ALPHA, Difference
from monitoring.comparing.sides import AGAINST, Asked, Side
from monitoring.history import Reading
from monitoring.models import MetricPoint, MetricSeries
from monitoring.questions import listed
from monitoring.references import promised
from monitoring.sketches import Counted

ACCURACY_MATTERS, SHARE_MATTERS, ERRORS_MATTER = 0.03, 0.05, 0.01
QUANTILES = {"Median latency": 0.5, "p95 of latency": 0.95, "p99 of latency": 0.99}
LEVELS = [0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99]
Quantiles = Sequence[Sequence[float]]
"""Latencies at LEVELS in ms, of the side that is looked at and of the other; empty where one has none."""
FIGURES = 6
"""Figures that are asked together at most: each is judged at ALPHA / FIGURES (Bonferroni)."""


@dataclass(frozen=True)
class Comparison:
    """What came of a comparison. Words for both sides stand in `now` and `before`."""

    asked: Asked
    found: Columns
    figures: list[Difference]
    now: str
    before: str
    chart: Chart | None
    latency: Chart | None
    shown: str = ""
    """The column whose distribution is drawn."""
    quantiles: Quantiles = ()

    @property
    def sentence(self) -> str:
        """The answer first: what is worse, else what differs, else that nothing does."""
        told = [one for one in self.figures if one.found in ("worse", "other", "better")]
        told.sort(key=lambda one: ("worse", "other", "better").index(one.found))
        words = [
            gettext("%(one)s is %(words)s, %(difference)s")
            % {"one": one.name.lower(), "words": one.words, "difference": one.difference}
            for one in told[:2]
        ]
        differ = [column.name for column in self.found.columns if column.verdict.drifted]
        if differ:
            said = ngettext(
                "%(differing)s of %(columns)s columns differs, %(names)s",
                "%(differing)s of %(columns)s columns differ, %(names)s",
                len(differ),
            )
            named = {"differing": len(differ), "columns": len(self.found.columns), "names": listed(differ)}
            words.append(said % named)
        subject = gettext("%(now)s, held against %(before)s") % {
            "now": f"{self.now[0].upper()}{self.now[1:]}",
            "before": self.before,
        }
        if words:
            return f"{subject}: {'; '.join(words)}."
        judged = [column for column in self.found.columns if column.verdict.outcome != "not enough data"]
        if not judged and not any(one.found == "alike" for one in self.figures):
            return gettext("%(subject)s: too little was answered to tell a difference.") % {"subject": subject}
        return gettext("%(subject)s: no difference that matters was found.") % {"subject": subject}

    @property
    def names(self) -> list[str]:
        """The columns in the order of their names."""
        return sorted(column.name for column in self.found.columns)

    @property
    def bad(self) -> bool:
        """Whether something is worse or drifted."""
        overall = self.found.overall
        return any(one.found == "worse" for one in self.figures) or bool(overall and overall.drifted)

    @property
    def precision(self) -> str:
        """How exact the columns' figures are, as a sentence."""
        if self.found.exact:
            return gettext("Computed from every row.")
        if not self.found.error:
            return gettext(
                "Merged from sketches of the hosts' windows, which hold every value of these columns: exact."
            )
        return gettext(
            "Merged from sketches of the hosts' windows: shares are within %(error)s points, and what they "
            "leave open is never taken for a difference."
        ) % {"error": f"{100 * self.found.error:.1f}"}

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        return {
            "endpoint": self.asked.endpoint.slug,
            "sentence": self.sentence,
            "against": self.asked.against,
            "exact": self.found.exact,
            "error": self.found.error,
            "now": _side_json(self.asked.now, self.found.now.rows),
            "before": None
            if self.asked.before is None or self.found.before is None
            else _side_json(self.asked.before, self.found.before.rows),
            "training_of": str(self.found.training.number) if self.found.training else None,
            "figures": [{"name": one.name, "found": one.found, "values": one.values} for one in self.figures],
            "columns": [_column_json(column) for column in self.found.columns],
            "left_out": self.found.left_out,
        }

    def rows(self) -> Iterator[list[object]]:
        """The comparison as rows of a table, a heading first."""
        yield ["what", "name", "now", "before", "difference", "answer", "sentence"]
        for one in self.figures:
            yield ["figure", one.name, one.now, one.before, one.difference, one.found, ""]
        for column in self.found.columns:
            psi = "" if column.drift.psi is None else round(column.drift.psi, 6)
            yield ["column", column.name, "", "", psi, column.verdict.outcome, column.verdict.sentence]


def compare_sides(asked: Asked) -> Comparison:
    """The comparison, from sketches. Raises what monitoring.comparing.columns.by_sketches raises."""
    return comparison_of(asked, by_sketches(asked))


def comparison_of(asked: Asked, found: Columns) -> Comparison:
    """What came of both sides' columns, with the figures of both."""
    return assembled(asked, found, [one for one in _figures(asked, found) if one], _quantiles(found))


def assembled(asked: Asked, found: Columns, figures: list[Difference], quantiles: Quantiles) -> Comparison:
    """The comparison whose parts are known, with its charts: of the column that is asked for, else of the first."""
    chosen = next((one for one in found.columns if one.name == asked.column), None)
    if chosen is None and found.columns:
        chosen = found.columns[0]
    now, before = _words(asked, found)
    return Comparison(
        asked,
        found,
        figures,
        now,
        before,
        _chart(chosen, now, before) if chosen else None,
        _latency_chart(quantiles, now, before),
        chosen.name if chosen else "",
        quantiles,
    )


def _words(asked: Asked, found: Columns) -> tuple[str, str]:
    """Both sides in words, with what tells them apart."""
    now = _side_words(asked.now, found.now)
    if asked.before is None:
        number = found.training.number if found.training else ""
        return now, gettext("the training data of version %(number)s") % {"number": number}
    before = _side_words(asked.before, found.before)
    if (asked.before.since, asked.before.until) != (asked.now.since, asked.now.until):
        before = AGAINST[asked.against] if asked.against in ("before", "week") else f"{before}, {asked.before.span}"
    return now, before


def _side_words(side: Side, found: Counted | None) -> str:
    """The side in words; where one version alone answered, it is named."""
    alone = found.versions[0] if found and len(found.versions) == 1 else side.version
    return replace(side, version=side.version or alone).words


def _figures(asked: Asked, found: Columns) -> Iterator[Difference | None]:
    alpha = ALPHA / FIGURES
    now, before = _hits(asked, asked.now, "accuracy"), None
    if asked.before:
        before = _hits(asked, asked.before, "accuracy")
    elif found.training:
        share, rows = promised(found.training)
        before = (round(share * rows), rows) if share is not None and rows else None
    if before:
        yield differences.of_shares("Accuracy", now, before, matters=ACCURACY_MATTERS, good="up", alpha=alpha)
    if asked.before:
        now, before = (_hits(asked, side, "positive_share") for side in (asked.now, asked.before))
        yield differences.of_shares(gettext("Share answered 1"), now, before, matters=SHARE_MATTERS, alpha=alpha)
        now, before = (_failures(asked, side) for side in (asked.now, asked.before))
        yield differences.of_shares(
            gettext("Share of failed requests"), now, before, matters=ERRORS_MATTER, good="down", alpha=alpha
        )
    fast, slow = (differences.thinned(values) for values in found.latency)
    for name, level in QUANTILES.items():
        yield differences.of_latency(name, fast, slow, level, alpha)


def _series(asked: Asked, side: Side, name: str, *, of_hosts: bool) -> QuerySet[MetricSeries]:
    series = MetricSeries.objects.filter(endpoint=asked.endpoint, name=name)
    if side.version:
        series = series.filter(version=side.version)
    return series.filter(host__name=side.host) if side.host else series.filter(host__isnull=not of_hosts)


def _hits(asked: Asked, side: Side, name: str) -> tuple[int, int]:
    """Of how many rows a share was taken, and how many had it, over the windows of a side."""
    series = _series(asked, side, name, of_hosts=False)
    points = MetricPoint.objects.filter(series__in=series, at__gt=side.since, at__lte=side.until)
    total = Sum(Cast("value", FloatField()) * F("n"), output_field=FloatField())
    found = points.aggregate(hits=total, rows=Sum("n"))
    return round(found["hits"] or 0.0), found["rows"] or 0


def _failures(asked: Asked, side: Side) -> tuple[int, int]:
    """Requests that failed, and all: each rate as it was read, times the time since the reading before."""
    sums = []
    for name in ("failures_per_second", "requests_per_second"):
        lines: dict[int, list[Reading]] = defaultdict(list)
        for reading in history.read(_series(asked, side, name, of_hosts=True), side.since, side.until):
            lines[reading.series.pk].append(reading)
        sums.append(sum(b.value * (b.at - a.at).total_seconds() for line in lines.values() for a, b in pairwise(line)))
    failed, all_of_them = round(sums[0]), round(sums[1])
    return min(failed, all_of_them), all_of_them


def _chart(column: Column, now: str, before: str) -> Chart:
    sides = [before, now if now != before else f"{now}, now"]
    rows = gettext("%(rows_window)s rows beside %(rows_reference)s") % {
        "rows_window": f"{column.drift.rows_window:,}",
        "rows_reference": f"{column.drift.rows_reference:,}",
    }
    return bars(
        column.verdict.sentence,
        gettext("Share of rows by value of %(column)s: %(now)s, beside %(before)s; %(rows)s.")
        % {"column": column.name, "now": now, "before": before, "rows": rows},
        column.name,
        column.cells,
        sides,
    )


def _quantiles(found: Columns) -> Quantiles:
    if not all(len(values) for values in found.latency):
        return ()
    return [[float(values[min(int(q * len(values)), len(values) - 1)]) for q in LEVELS] for values in found.latency]


def _latency_chart(quantiles: Quantiles, now: str, before: str) -> Chart | None:
    """Quantiles of latency of both sides over their level. None where a side has no latencies."""
    if not quantiles:
        return None
    names = [f"{100 * q:g} %" for q in LEVELS]
    traces = [
        {**parts.trace(names, values, name, tone), "mode": "lines+markers"}
        for values, name, tone in zip(
            quantiles, (now, before if before != now else f"{before}, before"), ("accent", "muted"), strict=True
        )
    ]
    middle = LEVELS.index(0.5)
    figure = {
        "data": traces,
        "layout": {
            "xaxis": {"type": "category"},
            "yaxis": {"title": "ms", "rangemode": "tozero"},
            "legend": {"orientation": "h", "x": 0, "y": -0.25, "yanchor": "top"},
        },
        "lastgood": {},
    }
    return Chart(
        "latency-quantiles",
        gettext("Half of all answers took at most %(now)s ms, %(before)s ms before.")
        % {"now": f"{quantiles[0][middle]:.2f}", "before": f"{quantiles[1][middle]:.2f}"},
        gettext("What share of answers took at most so long, preprocessing and forward pass, of both sides."),
        figure,
        parts.table(
            ["quantile", gettext("now, ms"), gettext("before, ms")],
            [[name, f"{a:.2f}", f"{b:.2f}"] for name, a, b in zip(names, *quantiles, strict=True)],
        ),
        "small",
    )


def _side_json(side: Side, rows: int) -> dict[str, Any]:
    return {"version": side.version, "host": side.host, "since": side.since, "until": side.until, "rows": rows}


def _column_json(column: Column) -> dict[str, Any]:
    drift, verdict = column.drift, column.verdict
    return {
        "column": column.name,
        "kind": drift.kind,
        "answer": verdict.outcome,
        "sentence": verdict.sentence,
        "psi": drift.psi,
        "ks": drift.ks.statistic if drift.ks else None,
        "wasserstein": drift.wasserstein,
        "js": drift.js,
        "chi_square": drift.chi_square.statistic if drift.chi_square else None,
        "p_adjusted": verdict.p_adjusted,
        "missing": drift.missing_share_window,
        "missing_before": drift.missing_share_reference,
        "rows": drift.rows_window,
        "rows_before": drift.rows_reference,
        "error": column.error,
        "importance": column.weight,
    }
