"""What is said and drawn of a version's importance."""

from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.utils.translation import gettext, ngettext

from monitoring.charts.parts import Chart
from monitoring.drift.importance import SURE
from monitoring.drift.judge import LEAST_WEIGHT
from monitoring.importance.models import Importance, ImportanceState
from monitoring.profiles import given_weights
from monitoring.quality.declared import UNFIT
from registry.models import Version

MOST_BARS = 30
TALL = 12
MEASURED = ImportanceState.DONE


@dataclass(frozen=True)
class Column:
    """One input: its weight, and where it was measured here its loss with half of its 95 % interval, in points of
    accuracy or in the answers' unit."""

    name: str
    weight: float | None
    loss: float | None = None
    half: float = 0.0

    @property
    def hardly_read(self) -> bool:
        return self.weight is not None and self.weight < LEAST_WEIGHT

    @property
    def interval(self) -> str:
        """Its lower and upper end as text; empty where it was not measured here."""
        if self.loss is None:
            return ""
        return gettext("%(low)s to %(high)s") % {
            "low": f"{self.loss - self.half:.3g}",
            "high": f"{self.loss + self.half:.3g}",
        }


@dataclass(frozen=True)
class Shown:
    """`sentence` is what is known, `how` where from; `columns` are there once it is, the most important first. It may
    be asked for where `askable`."""

    version: Version
    one: Importance | None
    sentence: str
    how: str = ""
    columns: list[Column] = field(default_factory=list)
    waiting: bool = False
    askable: bool = False

    @property
    def in_points(self) -> bool:
        """Whether losses are shares."""
        return self.one is not None and self.one.metric == "accuracy"

    @property
    def chart(self) -> Chart | None:
        """Bars of what each column is worth, with intervals where it was measured here."""
        if not self.columns:
            return None
        bars = self.columns[:MOST_BARS]
        return Chart(
            "importance", self.sentence, self.how, _figure(bars, self.in_points),
            self._table(), size="tall" if len(bars) > TALL else "",
        )  # fmt: skip

    def _table(self) -> dict[str, list[Any]]:
        """Every column, also of those that have no bar."""
        alone = {True: gettext("wakes nobody"), False: gettext("counts")}
        lost = gettext("Points lost") if self.in_points else gettext("Error added")
        heads = [gettext("Input"), gettext("Weight"), gettext("Its drift alone")]
        if self.one is not None:
            heads[1:1] = [lost, gettext("95 % interval")]
        rows = []
        for column in self.columns:
            weight = "–" if column.weight is None else f"{column.weight:.3f}"
            measured = [] if column.loss is None else [f"{column.loss:.3g}", column.interval]
            rows.append([column.name, *measured, weight, alone[column.hardly_read]])
        return {"columns": heads, "rows": rows}


def shown(version: Version) -> Shown:
    """Two queries at most; the profile's file is read where that is not remembered."""
    try:
        one = version.importance
    except ObjectDoesNotExist:
        one = None
    try:
        given = given_weights(version)
    except UNFIT:
        given = {}
    if given:
        return _given(version, given)
    if one is not None and one.state == MEASURED:
        return _measured(version, one)
    return _unknown(version, one)


def _given(version: Version, given: dict[str, float]) -> Shown:
    columns = [Column(name, weight) for name, weight in sorted(given.items(), key=lambda item: -item[1])]
    how = gettext(
        "These weights came with the profile of version %(number)s, by whoever registered it. They are used as they "
        "came; Lastgood did not measure them."
    ) % {"number": version.number}
    return Shown(version, None, _most(columns), how, columns)


def _measured(version: Version, one: Importance) -> Shown:
    unit = 100 if one.metric == "accuracy" else 1
    columns = [
        Column(name, one.weights.get(name), loss=unit * found["loss"], half=unit * SURE * found["error"])
        for name, found in sorted(one.losses.items(), key=lambda item: -item[1]["loss"])
    ]
    return Shown(version, one, _most(columns, one), _how(one), columns)


def _most(columns: list[Column], one: Importance | None = None) -> str:
    first = columns[0]
    if first.weight is None:
        return gettext(
            "No column is known to matter: what shuffling costs is within chance for each of them, so drift of every "
            "column counts in full."
        )
    if one is not None and one.metric == "accuracy":
        said = gettext("%(column)s matters most: without it, %(loss)s points of accuracy are lost.") % {
            "column": first.name,
            "loss": f"{first.loss:.1f}",
        }
    elif one is not None:
        said = gettext("%(column)s matters most: without it, the mean error grows by %(loss)s.") % {
            "column": first.name,
            "loss": f"{first.loss:.3g}",
        }
    else:
        said = gettext("%(column)s matters most.") % {"column": first.name}
    hardly = sum(column.hardly_read for column in columns)
    if not hardly:
        return said
    return f"{said} " + ngettext(
        "%(count)s of %(columns)s columns is hardly read: its drift alone wakes nobody.",
        "%(count)s of %(columns)s columns are hardly read: drift of these alone wakes nobody.",
        hardly,
    ) % {"count": hardly, "columns": len(columns)}


def _how(one: Importance) -> str:
    unshuffled = f"{one.baseline:.1%}" if one.metric == "accuracy" else f"{one.baseline:.3g}"
    facts = {"rows": f"{one.rows:,}", "repeats": one.repeats, "baseline": unshuffled, "host": one.answered_by}
    if one.metric == "accuracy":
        how = gettext(
            "What shuffling each column costs on %(rows)s labelled rows of its holdout set, %(repeats)s times each, of "
            "the %(baseline)s that it is right in, with 95 %% intervals."
        )
    else:
        how = gettext(
            "What shuffling each column adds to the mean absolute error of %(baseline)s on %(rows)s labelled rows of "
            "its holdout set, %(repeats)s times each, with 95 %% intervals."
        )
    if one.answered_by:
        who = gettext("The host %(host)s answered, asked with one request at a time.")
    else:
        who = gettext("A worker answered, from the version's own files.")
    return f"{how % facts} {who % facts}"


def _unknown(version: Version, one: Importance | None) -> Shown:
    everything = gettext("Until it is known, drift of every column counts in full.")
    if one is not None and one.state == ImportanceState.WAITING:
        done = gettext("It is being measured: %(done)s of %(columns)s columns are done. This part updates itself.") % {
            "done": len(one.losses),
            "columns": one.columns or len(version.input_names),
        }
        return Shown(version, one, done, one.reason or everything, waiting=True)
    if one is not None and one.reason:
        sentence = gettext("It could not be measured.")
        if one.state == ImportanceState.NOWHERE:
            sentence = gettext("It is measured once a host serves this version, or holds it when somebody asks.")
        return Shown(version, one, sentence, f"{one.reason} {everything}", askable=True)
    if version.holdout_id is None:
        sentence = gettext(
            "It is not known: the version has no holdout set to measure it on, and came without an importance in its "
            "profile. Whoever may register versions can give it such a set on this page, or by the API."
        )
        return Shown(version, one, sentence, everything)
    return Shown(version, one, gettext("It is not measured yet; a worker takes it up within a minute."), everything,
                 askable=True)  # fmt: skip


def _figure(bars: list[Column], in_points: bool) -> dict[str, Any]:
    measured = all(column.loss is not None for column in bars)
    trace: dict[str, Any] = {
        "type": "bar",
        "orientation": "h",
        "y": [column.name for column in bars],
        "x": [column.loss if measured else column.weight for column in bars],
        "name": gettext("importance"),
        "meta": {"tone": "accent"},
    }
    title = gettext("weight, as a share of the largest")
    if measured:
        half = [column.half for column in bars]
        trace["error_x"] = {"type": "data", "array": half}
        title = gettext("points of accuracy lost") if in_points else gettext("added to the mean absolute error")
    return {
        "data": [trace],
        "layout": {
            "xaxis": {"title": title, "rangemode": "tozero"},
            "yaxis": {"type": "category", "autorange": "reversed", "automargin": True},
            "hovermode": "closest",
            "showlegend": False,
        },
    }
