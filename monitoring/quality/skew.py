"""Training-serving skew: what a version's declared files make of inputs, and what a host really made of them.

The host logs each input as it was sent and as the network read it, and what was answered. Here the declaration is
carried out once more, by code that is not the host's: the preprocessing of the last-good version, or of another one,
and then the network of the version that answered. Both are held against each other, column by column, in the order of
the declaration, the answers after the inputs.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from django.utils.translation import gettext

from monitoring.quality.declared import PREPROCESSING, UNFIT, component, declared, read_as_declared
from monitoring.quality.offline import NotCarriedOut
from monitoring.quality.reading import Rows
from monitoring.windows import numpy_column
from registry.models import Version

ANSWERED_ROWS = 2_000
"""The newest rows whose answers are made once more."""
ANSWERS = ("score", "output")
CLOSE = 1e-4
"""How far a served score may lie from the offline one, as a share of the larger of 1 and the score: a host computes in
float32, on a GPU in another order. Where the score is that close to the head's threshold, either answer is right."""
TOLERANCE = 1e-5
"""How far a float32 may lie from the declared value, as a share of the larger of 1 and the value."""


@dataclass(frozen=True)
class Skewed:
    """One column: rows with another value than declared, of `n`; an input as sent, what the declaration makes of it,
    and what the host read, for the first of them."""

    column: str
    n: int
    other: int
    sent: str
    declared: str
    served: str


@dataclass(frozen=True)
class Skew:
    """What came of it. `columns` are in the declaration's order; `why_not` says why no input could be held. `answers`
    are score and output as served, held against what the files of version `answers_of` make of the inputs as sent."""

    offline: str
    served: str
    columns: list[Skewed]
    why_not: str = ""
    answers: list[Skewed] = field(default_factory=list)
    answers_of: str = ""
    answers_why_not: str = ""

    @property
    def first(self) -> Skewed | None:
        """The first column that differs."""
        return next((one for one in self.columns if one.other), None)

    @property
    def sentence(self) -> str:
        """The first differing column by name, or that there is none."""
        if self.why_not:
            return self.why_not
        one = self.first
        if one is None:
            rows = max((column.n for column in self.columns), default=0)
            return gettext(
                "Version %(served)s reads its inputs as version %(offline)s declares: no difference in %(count)s "
                "columns of %(rows)s rows."
            ) % {"served": self.served, "offline": self.offline, "count": len(self.columns), "rows": f"{rows:,}"}
        count = sum(bool(column.other) for column in self.columns)
        return gettext(
            "%(column)s is the first column that version %(served)s reads otherwise than version %(offline)s "
            "declares: %(other)s of %(n)s rows, such as %(sent)s, which becomes %(reads)s and not "
            "%(declared)s; %(count)s of %(columns)s columns differ."
        ) % {
            "column": one.column,
            "served": self.served,
            "offline": self.offline,
            "other": f"{one.other:,}",
            "n": f"{one.n:,}",
            "sent": one.sent,
            "reads": one.served,
            "declared": one.declared,
            "count": count,
            "columns": len(self.columns),
        }

    @property
    def answers_sentence(self) -> str:
        """The same of the answers."""
        if self.answers_why_not:
            return self.answers_why_not
        rows = max((column.n for column in self.answers), default=0)
        one = next((one for one in self.answers if one.other), None)
        if one is None:
            return gettext(
                "The newest %(rows)s answers are what the files of version %(answers_of)s make of the same "
                "inputs, computed once more without the host."
            ) % {"rows": f"{rows:,}", "answers_of": self.answers_of}
        return gettext(
            "%(column)s is the first column of the answers that differs from what the files of version "
            "%(answers_of)s make of the same inputs: %(other)s of %(n)s rows, such as %(served)s, where they "
            "make %(declared)s."
        ) % {
            "column": one.column,
            "answers_of": self.answers_of,
            "other": f"{one.other:,}",
            "n": f"{one.n:,}",
            "served": one.served,
            "declared": one.declared,
        }

    @property
    def first_of_all(self) -> Skewed | None:
        """The first column that differs, of the inputs and then of the answers."""
        return self.first or next((one for one in self.answers if one.other), None)


def skew(rows: Rows, served: str, offline: Version | None, answering: Version | None = None) -> Skew:
    """Served rows held against the preprocessing that `offline` declares, and their answers against what the files of
    `answering` make of the same inputs."""
    found = _inputs(rows, served, offline)
    if answering is None:
        return replace(
            found,
            answers_why_not=gettext("Version %(served)s is not registered, so its answers can't be made again.")
            % {"served": served},
        )
    whose = gettext("Version %(answering)s") % {"answering": answering.number}
    try:
        return replace(found, answers=_answers(rows, answering), answers_of=str(answering.number))
    except NotCarriedOut as why:
        return replace(
            found,
            answers_why_not=gettext("%(whose)s's answers can't be made again here: %(why)s")
            % {"whose": whose, "why": why},
        )
    except UNFIT as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        return replace(
            found,
            answers_why_not=gettext("%(whose)s's answers can't be made again here: %(said)s")
            % {"whose": whose, "said": said},
        )


def _answers(rows: Rows, version: Version) -> list[Skewed]:
    """Score and output of the newest rows whose inputs are all there. Raises NotCarriedOut, and what UNFIT names."""
    files = declared(version)
    table = rows.table.slice(max(len(rows) - ANSWERED_ROWS, 0))
    absent = [name for name in files.names if f"feature.{name}" not in table.column_names]
    if absent:
        raise NotCarriedOut(gettext("the prediction log holds no input %(absent)s.") % {"absent": absent[0]})
    made = files.read({name: numpy_column(table, f"feature.{name}") for name in files.names})
    whole = np.all([np.isfinite(values) for values in made.values()], axis=0)
    if not whole.any():
        raise NotCarriedOut(gettext("no row has all inputs."))
    offline = files.answers({name: values[whole] for name, values in made.items()})
    served = {name: numpy_column(table, name)[whole] for name in ANSWERS if name in table.column_names}
    return list(_held(files.network["head"], offline, served))


def _held(head: dict[str, Any], offline: dict[str, np.ndarray], served: dict[str, np.ndarray]) -> Iterator[Skewed]:
    for name in ANSWERS:
        if name not in offline or name not in served:
            continue
        made, read = offline[name], served[name].astype(np.float64)
        other = (np.abs(read - made) > CLOSE * np.maximum(np.abs(made), 1.0)) | (np.isnan(read) != np.isnan(made))
        if name == "output" and head["type"] == "binary":
            other &= np.abs(offline["score"] - head["threshold"]) > CLOSE
        yield _skewed(name, other, np.full(len(made), ""), made, read)


def _inputs(rows: Rows, served: str, offline: Version | None) -> Skew:
    number = str(offline.number) if offline else ""
    steps = component(offline, "preprocessing", PREPROCESSING) if offline else None
    if steps is None:
        whose = gettext("Version %(number)s") % {"number": number} if number else gettext("The version")
        return Skew(
            number,
            served,
            [],
            gettext("%(whose)s declares no preprocessing that Lastgood can carry out.") % {"whose": whose},
        )
    found = []
    for item in [*steps["numeric"], *steps["categorical"]]:
        name = item["name"]
        if f"feature.{name}" in rows.table.column_names and f"input.{name}" in rows.table.column_names:
            found.append(_column(rows, item))
    if not found:
        return Skew(
            number, served, [], gettext("The host logs no inputs as the network read them, so nothing can be held.")
        )
    return Skew(number, served, found)


def _column(rows: Rows, item: dict[str, Any]) -> Skewed:
    name = item["name"]
    sent = numpy_column(rows.table, f"feature.{name}")
    read = numpy_column(rows.table, f"input.{name}").astype(np.float64)
    made = read_as_declared(sent, item)
    gap = np.abs(read - made) > TOLERANCE * np.maximum(np.abs(made), 1.0)
    return _skewed(name, gap | (np.isnan(read) != np.isnan(made)), sent, made, read)


def _skewed(name: str, other: np.ndarray, sent: np.ndarray, made: np.ndarray, read: np.ndarray) -> Skewed:
    if not other.any():
        return Skewed(name, len(other), 0, "", "", "")
    first = int(np.flatnonzero(other)[0])
    return Skewed(name, len(other), int(other.sum()), str(sent[first]), f"{made[first]:g}", f"{read[first]:g}")
