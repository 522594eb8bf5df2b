"""What the clock must wake on this floor: observations, golden probes, soaks, comparisons, compositions."""

from datetime import datetime

from audit.due import Due
from registry.models import ComparisonState, Composition, CompositionState, Placement, TensorComparison
from registry.soak import objection_to, soaked

AT_ONCE = 500


def observations(now: datetime) -> list[int]:
    due = Placement.objects.filter(observe_due_at__lte=now).order_by("observe_due_at")
    return list(due.values_list("pk", flat=True)[:AT_ONCE])


def golden_probes(now: datetime) -> list[int]:
    due = Placement.objects.filter(golden_due_at__lte=now, desired__isnull=False).order_by("golden_due_at")
    return list(due.values_list("pk", flat=True)[:AT_ONCE])


def soaks(now: datetime) -> list[int]:
    return [found.endpoint.pk for found in soaked(now) if not objection_to(found)]


def comparisons(now: datetime) -> list[int]:
    due = TensorComparison.objects.filter(state=ComparisonState.WAITING, due_at__lte=now).order_by("due_at")
    return list(due.values_list("pk", flat=True)[:AT_ONCE])


def compositions(now: datetime) -> list[int]:
    due = Composition.objects.filter(state=CompositionState.WAITING, due_at__lte=now).order_by("due_at")
    return list(due.values_list("pk", flat=True)[:AT_ONCE])


SOURCES = [
    Due(task="registry.observe", queue="intake", ids=observations),
    Due(task="registry.golden_probe", queue="intake", ids=golden_probes),
    Due(task="registry.soak", queue="intake", ids=soaks),
    Due(task="registry.compare_tensors", queue="compute", ids=comparisons),
    Due(task="registry.compose", queue="compute", ids=compositions),
]
