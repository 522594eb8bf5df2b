"""What the shadows of a run have found so far, for pages and the API."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.utils.translation import gettext

from incidents.rollback.document import PlanDocument
from incidents.rollback.models import HostStep, StepState
from incidents.rollback.shadow.terms import percent, terms_of
from monitoring.drift.measures import psi
from registry.serving.mirrored import Mirrored

ALIKE, APART = 0.1, 0.2
"""How the population stability index is usually read; rules on drift begin at the second, too."""
STATES = (StepState.SHADOWED, StepState.COMPARED)


def counted_in(kept: Mapping[str, Any]) -> Mirrored:
    """The figures in a step's `baseline["shadow"]`: of the shadow that goes on, and of those before it."""
    return Mirrored.of(kept.get("earlier", {})).plus(Mirrored.of(kept.get("now", {})))


def figures_of(steps: Iterable[HostStep]) -> Mirrored:
    """What was compared on these hosts, together."""
    found = Mirrored()
    for step in steps:
        found = found.plus(counted_in(step.baseline.get("shadow", {})))
    return found


def facts_of(steps: Iterable[HostStep], document: PlanDocument | None) -> dict[str, Any] | None:
    """The comparison of a run as JSON: shares as parts of 1, latency in milliseconds, None for what nothing is known
    of. None for a run without a shadow, or that has not come to it."""
    begun = [step for step in steps if step.baseline.get("shadow")]
    if document is None or not document.shadowed or not begun:
        return None
    found = figures_of(begun)
    compared = found.requests + found.failures
    return {
        "hosts": [step.host.name for step in begun],
        "under_way": any(step.state == StepState.SHADOWED for step in begun),
        "taken": found.taken,
        "dropped": found.dropped,
        "requests": found.requests,
        "failures": found.failures,
        "failure": next((said for step in begun if (said := step.baseline["shadow"].get("failure"))), ""),
        "rows": found.rows,
        "differing_rows": found.differing,
        "differing_share": found.differing / found.rows if found.rows else None,
        "failed_share": found.failures / compared if compared else None,
        "moved_mean": found.moved_sum / found.rows if found.rows else None,
        "moved_signed": found.moved_signed / found.rows if found.rows else None,
        "moved_largest": found.moved_largest if found.rows else None,
        "moved": _counts(found.moved_bounds, found.moved_counts),
        "score_psi": psi(found.live_scores, found.shadow_scores) if sum(found.live_scores) else None,
        "live_scores": list(found.live_scores),
        "shadow_scores": list(found.shadow_scores),
        "live_ms": found.live_ms / found.requests if found.requests else None,
        "shadow_ms": found.shadow_ms / found.requests if found.requests else None,
        "live_p95_ms": _quantile(found.latency_bounds, found.live_latency, 0.95),
        "shadow_p95_ms": _quantile(found.latency_bounds, found.shadow_latency, 0.95),
    }


def _counts(bounds: Iterable[float], counts: Iterable[int]) -> list[dict[str, Any]]:
    """How many rows lie at most at each bound and above the one before; the last has no bound."""
    found = list(counts)
    return [{"at_most": bound, "rows": rows} for bound, rows in zip([*bounds, None], found, strict=False)]


def _quantile(bounds: tuple[float, ...], counts: tuple[int, ...], share: float) -> float | None:
    """The upper bound of the bin in which the quantile lies; None where it lies above all bounds, or of nothing."""
    wanted, passed = share * sum(counts), 0
    for bound, count in zip(bounds, counts, strict=False):
        passed += count
        if passed and passed >= wanted:
            return bound
    return None


def lines_of(facts: Mapping[str, Any] | None, document: PlanDocument | None) -> list[dict[str, Any]]:
    """The same for a page: rows of label, value and what the plan expects; with `within` where the gate will judge the
    figure, whether it lies within that so far, and with `scores` where the row is about their distribution."""
    if facts is None or document is None or document.shadow is None:
        return []
    asked = terms_of(document.shadow)
    lines = [
        _line(
            gettext("Compared"),
            gettext("%(rows)s rows of %(requests)s requests")
            % {"rows": f"{facts['rows']:,}", "requests": f"{facts['requests']:,}"},
            gettext("at least %(rows)s rows in %(seconds)s s") % {"rows": f"{asked.rows:,}", "seconds": asked.seconds},
        ),
        _line(
            gettext("Dropped"),
            gettext("%(dropped)s of %(taken)s mirrored requests")
            % {"dropped": f"{facts['dropped']:,}", "taken": f"{facts['taken']:,}"},
            gettext("not judged"),
        ),
        _line(
            gettext("Failed by the new version"),
            f"{facts['failures']:,}",
            gettext("at most %(max_failures)s") % {"max_failures": percent(asked.max_failures)},
            within=None if facts["failed_share"] is None else facts["failed_share"] <= asked.max_failures,
        ),
    ]
    if facts["failure"]:
        lines.append(_line(gettext("The last failure"), facts["failure"], ""))
    if not facts["rows"]:
        return lines
    moved = gettext("%(mean)s on average (%(signed)s with sign), at most %(largest)s") % {
        "mean": f"{facts['moved_mean']:.4f}",
        "signed": f"{facts['moved_signed']:+.4f}",
        "largest": f"{facts['moved_largest']:.4f}",
    }
    scored = facts["score_psi"] is not None
    return [
        *lines,
        _line(
            gettext("Another output"),
            gettext("%(differing_rows)s rows, %(differing_share)s")
            % {"differing_rows": f"{facts['differing_rows']:,}", "differing_share": percent(facts["differing_share"])},
            gettext("at most %(max_differing)s") % {"max_differing": percent(asked.max_differing)},
            within=facts["differing_share"] <= asked.max_differing,
        ),
        _line(
            gettext("Scores move") if scored else gettext("Outputs move"),
            moved,
            gettext("at most %(max_moved)s on average") % {"max_moved": f"{asked.max_moved:f}"}
            if scored
            else gettext("not judged"),
            within=facts["moved_mean"] <= asked.max_moved if scored else None,
        ),
        *([_distributions(facts)] if scored else []),
        _line(
            gettext("Time to answer"),
            gettext("%(shadow_ms)s ms on average beside %(live_ms)s ms")
            % {"shadow_ms": f"{facts['shadow_ms']:.2f}", "live_ms": f"{facts['live_ms']:.2f}"},
            gettext("not judged here: the shadow gives way to live requests"),
        ),
    ]


def _distributions(facts: Mapping[str, Any]) -> dict[str, Any]:
    found = facts["score_psi"]
    if found < ALIKE:
        said = gettext("PSI %(psi)s: distributed alike")
    elif found < APART:
        said = gettext("PSI %(psi)s: distributed somewhat differently")
    else:
        said = gettext("PSI %(psi)s: distributed differently")
    line = _line(gettext("Scores as a whole"), said % {"psi": f"{found:.2f}"}, gettext("not judged"))
    scores = [(gettext("answers now"), facts["live_scores"]), (gettext("asked beside"), facts["shadow_scores"])]
    return line | {"scores": [{"label": label, "values": values} for label, values in scores]}


def _line(label: str, value: str, expected: str, within: bool | None = None) -> dict[str, Any]:
    return {"label": label, "value": value, "expected": expected, "within": within}
