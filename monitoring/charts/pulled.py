"""What a source answered to an expression that is not kept."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from django.utils.translation import gettext

from monitoring.charts import parts
from monitoring.charts.parts import Chart

MOST_LINES = 20


class Answered(Protocol):
    """A series of an answer: monitoring.pull.asking.Line."""

    labels: dict[str, str]
    samples: list


def asked_chart(source: str, expression: str, lines: Sequence[Answered], step: timedelta) -> Chart | None:
    """The series of an answer, the twenty highest of more. None where it has none."""
    found = sorted((one for one in lines if one.samples), key=lambda one: -max(value for _, value in one.samples))
    if not found:
        return None
    named = {_called(one.labels): one.samples for one in found}
    traces = [
        {**parts.trace([parts.stamp(at) for at, _ in samples], [value for _, value in samples], label, tone)}
        for tone, (label, samples) in enumerate(list(named.items())[:MOST_LINES], 1)
    ]
    top, samples = next(iter(named.items()))
    count = (gettext("%(count)s series") % {"count": len(found)}) + (
        gettext(", the %(most)s highest drawn") % {"most": MOST_LINES} if len(found) > MOST_LINES else ""
    )
    return Chart(
        "asked",
        gettext("%(top)s is the highest: %(max)s, and %(samples)s at the latest.")
        % {"top": top, "max": f"{max((value for _, value in samples)):,.4g}", "samples": f"{samples[-1][1]:,.4g}"},
        gettext("%(expression)s, asked of %(source)s with a step of %(total_seconds)s s; %(count)s.")
        % {"expression": expression, "source": source, "total_seconds": f"{step.total_seconds():g}", "count": count},
        parts.figure(traces, {}, {}),
        parts.table(
            ["series", "newest", "lowest", "highest"],
            [
                [label, *(f"{value:,.4g}" for value in (points[-1][1], min(values), max(values)))]
                for label, points in named.items()
                for values in [[value for _, value in points]]
            ],
        ),
        "tall",
    )


def _called(labels: dict[str, str]) -> str:
    return ", ".join(f"{name}={labels[name]}" for name in sorted(labels)) or "all"
