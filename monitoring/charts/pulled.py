"""What a source answered to an expression that is not kept."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

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
    count = f"{len(found)} series" + (f", the {MOST_LINES} highest drawn" if len(found) > MOST_LINES else "")
    return Chart(
        "asked",
        f"{top} is the highest: {max(value for _, value in samples):,.4g}, and {samples[-1][1]:,.4g} at the latest.",
        f"{expression}, asked of {source} with a step of {step.total_seconds():g} s; {count}.",
        parts.figure(traces, {}, {}),
        parts.table(["series", "newest", "lowest", "highest"], [
            [label, *(f"{value:,.4g}" for value in (points[-1][1], min(values), max(values)))]
            for label, points in named.items()
            for values in [[value for _, value in points]]
        ]),
        "tall",
    )  # fmt: skip


def _called(labels: dict[str, str]) -> str:
    return ", ".join(f"{name}={labels[name]}" for name in sorted(labels)) or "all"
