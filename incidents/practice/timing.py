"""How long a change of an endpoint took, from what its hosts' steps have marked, and how long the next will take."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from statistics import median

from django.db.models import Max, OuterRef, Prefetch, QuerySet, Subquery, Sum, Window
from django.db.models.functions import RowNumber

from accounts.approvals.models import ApprovalDecision, Decision
from audit.clock import database_now
from audit.models import AuditEvent, Outcome
from incidents.practice.models import Drill
from incidents.rollback.models import HostStep, Plan, PlanKind, Run, RunState, StepState
from registry.models import Endpoint, Model, Version

TAUGHT_BY = 9
"""The prediction is reckoned from so many of the last runs of the model. The next of ten that are alike lies
between the shortest and the longest of the nine before it with a probability of 0.8, whatever their distribution."""
BEGAN, SWITCHED, CHECKED = StepState.LOCKED.value, StepState.SWITCHED.value, StepState.POSTCHECK_OK.value
LOADING = ("stage", "load")
ACTS = [f"rollback.{part}.{end}" for part in ("prepare", "step") for end in ("intent", "outcome")]


@dataclass(frozen=True)
class Course:
    """A run in seconds: `begun` from the last approval to its first host, `waves` each from its first host to its last
    golden test after the switch, `between` what passed between two waves beyond the soak that was asked for;
    `switched` and `checked` from the last approval to the last host."""

    begun: float
    waves: list[float]
    between: list[float]
    switched: float
    checked: float

    @property
    def working(self) -> float:
        """From the last approval to the last golden test, without the soaks that were asked for."""
        return self.begun + sum(self.waves) + sum(self.between)


@dataclass(frozen=True)
class Predicted:
    """`seconds` from the last approval until the last host is checked, from `runs` earlier runs of the model; by the
    shortest of them `low` seconds, by the longest `high`."""

    seconds: float
    low: float
    high: float
    runs: int


@dataclass(frozen=True)
class Loaded:
    """What was brought into memory for a plan: over how many hosts, bytes in all, seconds on the slowest."""

    hosts: int
    bytes: int
    seconds: float


def with_course(runs: QuerySet[Run]) -> QuerySet[Run]:
    """The runs with what `course_of` reads, in two queries."""
    approved = ApprovalDecision.objects.filter(
        request=OuterRef("plan__request"), decision=Decision.APPROVE, decided_at__lte=OuterRef("started_at")
    )
    latest = approved.order_by().values("request").annotate(last=Max("decided_at")).values("last")
    steps = HostStep.objects.select_related("wave").order_by("wave__index", "id")
    return (
        runs.select_related("plan")
        .annotate(approved_at=Subquery(latest))
        .prefetch_related(Prefetch("steps", queryset=steps, to_attr="timed_steps"))
    )


def course_of(run: Run) -> Course | None:
    """The course of a run that came from `with_course`; None where it has not got to the end of its last wave.

    A plan that a person started by hand is timed from then. Hosts that were absent count for nothing.
    """
    spans: dict[int, list[tuple[float, float, float]]] = {}
    start, soak = start_of(run), soak_of(run.plan)
    for step in getattr(run, "timed_steps", ()):
        if CHECKED in step.marks and BEGAN in step.marks:
            began, switched, checked = (_after(start, step.marks.get(name)) for name in (BEGAN, SWITCHED, CHECKED))
            spans.setdefault(step.wave.index, []).append((began, switched, checked))
        elif step.state not in (StepState.UNREACHABLE, StepState.FAILED):
            return None
    if not spans:
        return None
    waves = [
        (min(one[0] for one in found), max(one[1] for one in found), max(one[2] for one in found))
        for _, found in sorted(spans.items())
    ]
    return Course(
        begun=waves[0][0],
        waves=[end - begin for begin, _, end in waves],
        between=[max(0.0, later[0] - earlier[2] - soak) for earlier, later in pairwise(waves)],
        switched=max(one[1] for one in waves),
        checked=max(one[2] for one in waves),
    )


def _after(start: datetime, mark: str | None) -> float:
    return (datetime.fromisoformat(mark) - start).total_seconds() if mark else 0.0


def courses(models: Sequence[Model]) -> dict[int, list[Course]]:
    """The courses of each model's last runs that switched, newest first, by the model's key, in two queries."""
    found: dict[int, list[Course]] = {model.pk: [] for model in models}
    switched = Run.objects.filter(
        endpoint__model__in=list(found),
        state=RunState.SWITCHED,
        plan__kind__in=[PlanKind.ROLLBACK, PlanKind.RELEASE, PlanKind.DRILL],
        plan__from_version__isnull=False,
    )
    newest = Window(RowNumber(), partition_by="endpoint__model", order_by="-started_at")
    runs = with_course(switched.select_related("endpoint").annotate(newest=newest).filter(newest__lte=TAUGHT_BY))
    for run in runs.order_by("-started_at"):
        if (course := course_of(run)) is not None:
            found[run.endpoint.model_id].append(course)
    return found


def load_rates(models: Sequence[Model]) -> dict[int, float]:
    """Bytes a second at which each model's last cold drill brought a version into a host's memory, by its key."""
    cold = Drill.objects.filter(endpoint__model__in=[model.pk for model in models], load_seconds__gt=0)
    rows = cold.annotate(size=Sum("version__files__artifact__size")).order_by("ended_at")
    return {row[0]: row[1] / row[2] for row in rows.values_list("endpoint__model", "size", "load_seconds") if row[1]}


def predict(known: Sequence[Course], *, waves: int, soak_seconds: float) -> Predicted | None:
    """The time until the last host is checked, by earlier runs: the median of what those of as many waves took as a
    whole; where there is none, medians of what it took until the first host, per wave, and between two waves. Medians
    of parts do not add up to that of the whole: the first wave is one host, and most of what varies is in few parts.
    The range is put together in the same way, of the shortest and of the longest. What waves are to soak is added. None
    where nothing was measured yet."""
    if not known:
        return None
    soaks = (waves - 1) * soak_seconds
    alike = [course.working for course in known if len(course.waves) == waves]
    if alike:
        return Predicted(median(alike) + soaks, min(alike) + soaks, max(alike) + soaks, len(alike))
    begun = [course.begun for course in known]
    each = [wave for course in known for wave in course.waves]
    between = [gap for course in known for gap in course.between] or [0.0]
    middle, low, high = (
        pick(begun) + waves * pick(each) + (waves - 1) * pick(between) + soaks for pick in (median, min, max)
    )
    return Predicted(middle, low, high, len(known))


def predict_for(endpoint: Endpoint, hosts: int) -> Predicted | None:
    """The same for an endpoint of so many hosts: one canary host, then the rest, as a plan does it by default."""
    known = courses([endpoint.model])[endpoint.model_id]
    return predict(known, waves=1 if hosts < 2 else 2, soak_seconds=endpoint.wave_soak_seconds)


def loaded_for(plan: Plan, run: Run, version: Version) -> Loaded:
    """What the preflight of a plan, and its run, staged and loaded of the version, from the record."""
    acts = AuditEvent.objects.filter(action__in=ACTS, occurred_at__gte=plan.created_at)
    cause, begun = f"plan {plan.plan_hash[:12]}", {}
    spent: dict[str, float] = {}
    hosts: set[str] = set()
    for event in acts.filter(occurred_at__lte=run.ended_at or database_now()).order_by("pk"):
        data = json.loads(bytes(event.canon))["data"]
        host, name = str(data.get("host")), str(data.get("step"))
        mine = data.get("cause") == cause or data.get("run") == str(run.pk)
        if not mine or name not in LOADING or data.get("version") != version.digest:
            continue
        if event.outcome == Outcome.INTENT:
            begun[host, name] = event.occurred_at
        elif (since := begun.pop((host, name), None)) is not None and event.outcome == Outcome.SUCCESS:
            spent[host] = spent.get(host, 0.0) + (event.occurred_at - since).total_seconds()
            hosts |= {host} if name == "load" else set()
    size = version.files.aggregate(size=Sum("artifact__size"))["size"] or 0
    return Loaded(len(hosts), size * len(hosts), max((spent[host] for host in hosts), default=0.0))


def soak_of(plan: Plan) -> float:
    """The seconds that a plan's waves soak."""
    return float(json.loads(bytes(plan.document)).get("wave_soak_seconds", 0))


def start_of(run: Run) -> datetime:
    """From when a run that came from `with_course` is timed: its last approval, or its start where a person pressed."""
    asked: datetime | None = getattr(run, "approved_at", None)
    return asked if asked is not None and run.plan.start_on_approval else run.started_at
