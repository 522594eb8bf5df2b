"""What the detectors that look at more than one column found of a version over a span: from their findings."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.translation import gettext

from monitoring.charts import parts
from monitoring.charts.parts import Chart
from monitoring.detectors.concept import CALLED
from monitoring.models import Answer, Finding, RuleKind
from monitoring.questions import limits_in_words
from registry.models import Endpoint

MOST_WINDOWS = 400
"""The newest windows of the span that are told of."""


@dataclass(frozen=True)
class Detected:
    """The findings of one rule about a version, newest first."""

    kind: str
    findings: list[Finding]

    @property
    def newest(self) -> Finding | None:
        """The newest that was not for want of data, else the newest of all."""
        judged = [one for one in self.findings if one.answer != Answer.NOT_ENOUGH]
        return next(iter(judged or self.findings), None)

    @property
    def judged(self) -> int:
        """Windows with enough data."""
        return sum(one.answer != Answer.NOT_ENOUGH for one in self.findings)

    @property
    def beyond(self) -> int:
        """Windows beyond the limit."""
        return sum(one.answer == Answer.BREACH for one in self.findings)

    @property
    def limits(self) -> str:
        """The rule's limits and its measured false alarms, in sentences."""
        one = self.newest
        return (
            f"{limits_in_words(self.kind, one.rule.params)} {one.data.get('false_alarms', '')}".strip() if one else ""
        )

    @property
    def signals(self) -> list[tuple[str, str]]:
        """Each detector of errors with when it signalled in the newest window (UTC); empty text where it did not."""
        found = self.newest.data.get("signals", {}) if self.newest else {}
        return [(CALLED[name], (found[name].get("at") or "")[11:19]) for name in CALLED if name in found]

    @property
    def telling(self) -> list[dict[str, Any]]:
        """The columns, or pairs of them, that tell most in the newest window: `column` and `share`."""
        return list(self.newest.data.get("telling", [])) if self.newest else []

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        one = self.newest
        return {
            "rule": self.kind, "sentence": one.sentence if one else "", "answer": one.answer if one else "",
            "value": one.value if one else None, "limit": one.limit if one else None, "windows": self.judged,
            "beyond": self.beyond, "limits": self.limits, "signals": dict(self.signals), "telling": self.telling,
        }  # fmt: skip


def detected(endpoint: Endpoint, version: str, since: datetime, until: datetime) -> list[Detected]:
    """Errors in the order of time and inputs taken together, of the windows that lie in [since, until)."""
    return [
        Detected(
            kind,
            list(
                Finding.objects.filter(
                    rule__endpoint=endpoint, rule__kind=kind, version=version, host=None,
                    window__start__gte=since, window__end__lte=until,
                ).select_related("rule", "window").order_by("-window__start")[:MOST_WINDOWS]
            ),
        )
        for kind in (RuleKind.CONCEPT_DRIFT, RuleKind.JOINT_DRIFT)
    ]  # fmt: skip


def joint_chart(found: Detected) -> Chart | None:
    """AUC of the classifier, window by window, against its limit. None with fewer than two windows."""
    judged = [one for one in reversed(found.findings) if one.value is not None]
    if len(judged) < 2 or found.kind != RuleKind.JOINT_DRIFT:
        return None
    x = [parts.stamp(one.window.end) for one in judged]
    drawn = {**parts.trace(x, [one.value for one in judged], "AUC", "accent"), "mode": "lines+markers"}
    limit = judged[-1].limit
    return Chart(
        "quality-joint", judged[-1].sentence,
        gettext("ROC AUC of a classifier that tells each window's rows from the holdout set's; 0.5 is chance."),
        parts.figure(
            [drawn], {"title": "AUC"},
            {"limits": [{"y": limit, "label": gettext("limit %(limit)s") % {"limit": f"{limit:g}"}}] if limit else []},
        ),
        parts.table([gettext("up to, UTC"), "AUC", "MMD²", "p"], [
            [parts.clock(one.window.end), f"{one.value:.3f}", f"{one.data['mmd']:.4f}", f"{one.data['mmd_p']:.3f}"]
            for one in reversed(judged)
        ]),
        "small",
    )  # fmt: skip
