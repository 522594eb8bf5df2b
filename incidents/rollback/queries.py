"""Reads for pages and the API: plans, runs as lanes of hosts, and the candidates of an incident."""

import datetime
from collections import Counter
from collections.abc import Iterable
from typing import Any

from django.db.models import Prefetch, QuerySet, Sum, prefetch_related_objects
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from incidents.rollback.counted import in_words
from incidents.rollback.document import DocumentError, PlanDocument
from incidents.rollback.kept import kept_in_words
from incidents.rollback.left import has_switched, left_with
from incidents.rollback.models import (
    ASIDE_KINDS,
    STEERING_KINDS,
    Candidate,
    Check,
    CheckAnswer,
    HostStep,
    Plan,
    PlanKind,
    Run,
    RunState,
    StepState,
    WatchState,
    Wave,
    WaveState,
)
from incidents.rollback.state import STEP_PATH
from incidents.rollback.terms import LARGE, steering_title
from registry.models import Placement

STEP_WORDS: dict[str, object] = {
    StepState.LOCKED: "lock",
    StepState.PREFLIGHT: "check",
    StepState.STAGED: "stage",
    StepState.DRAINED: _("leave service"),
    StepState.EMPTIED: _("unload old"),
    StepState.LOADED: _("load warm"),
    StepState.GOLDEN_OK: _("golden test"),
    StepState.SHADOWED: _("ask beside"),
    StepState.COMPARED: _("compare"),
    StepState.SHARED: _("share traffic"),
    StepState.IN_SERVICE: _("back in service"),
    StepState.SWITCHED: _("switch"),
    StepState.POSTCHECK_OK: _("post-check"),
    StepState.DONE: _("done"),
}
STEERED: dict[str, object] = {
    RunState.RUNNING: _("running"),
    RunState.SWITCHED: _("done"),
    RunState.COMPENSATING: _("being taken back"),
    RunState.COMPENSATED: _("taken back"),
}
"""How a run that changes no version stands, where that is not what other runs are called in that state."""
GOES = {
    RunState.RUNNING: _("running"),
    RunState.HALTED: _("halted, and waits for a person: %(why)s"),
    RunState.STOPPED: _("stopped by a person: %(why)s"),
    RunState.COMPENSATING: _("going back"),
    RunState.FAILED: _("failed: %(why)s"),
    RunState.COMPENSATED: _("gone back: %(why)s"),
    RunState.SWITCHED: _("all hosts switched"),
}
WATCHED = {
    WatchState.WATCHING: _("it is being watched under live traffic"),
    WatchState.PASSED: _("it is verified"),
    WatchState.FAILED: _("it failed its verification: %(why)s"),
    WatchState.INCONCLUSIVE: _("it waits for a person: %(why)s"),
}
LANES = Prefetch("steps", HostStep.objects.select_related("host", "wave").order_by("wave__index", "host__name"))
GIVEN_BACK = (
    StepState.DRAINED, StepState.EMPTIED, StepState.SHADOWED, StepState.COMPARED, StepState.SHARED,
    StepState.IN_SERVICE, StepState.SWITCHED,
    StepState.POSTCHECK_OK, StepState.DONE,
)  # fmt: skip
"""What going back takes back."""
ENDED_BADLY = (StepState.FAILED, StepState.UNREACHABLE)


def plans() -> QuerySet[Plan]:
    return Plan.objects.select_related(
        "endpoint__model", "from_version", "to_version", "proposer", "request__policy"
    ).order_by("-created_at")


def runs() -> QuerySet[Run]:
    return Run.objects.select_related(
        "plan__from_version", "plan__to_version", "plan__request__policy", "endpoint__model", "started_by", "watch"
    ).order_by("-started_at")


def run_of(plan: Plan) -> Run | None:
    return runs().filter(plan=plan).first()


def run_etag(run: Run, permission_epoch: int) -> str:
    """Changes with the run, each of its hosts' steps, its watch, an observation of its endpoint, and the reader's
    permissions."""
    watch = getattr(run, "watch", None)
    steps = run.steps.aggregate(moves=Sum("version"))["moves"]
    return f'"{run.version}.{steps}.{watch.version if watch else 0}.{run.endpoint.version}.{permission_epoch}"'


def run_is_live(run: Run) -> bool:
    """Whether a page should look every second."""
    watch = getattr(run, "watch", None)
    watching = watch is not None and watch.state == WatchState.WATCHING
    return run.state in (RunState.RUNNING, RunState.COMPENSATING) or watching


def run_sentence(run: Run) -> str:
    """Where the run stands, for the head of its page."""
    plan = run.plan
    prefetch_related_objects([run], LANES)
    steps = run.steps.all()
    done, total = sum(step.state == StepState.DONE for step in steps), len(steps)
    watch = getattr(run, "watch", None)
    if plan.kind in STEERING_KINDS:
        document = PlanDocument.read(bytes(plan.document))
        ended = str(STEERED.get(run.state, run.get_state_display().lower()))
        said = f"{ended}: {run.state_reason}" if run.state_reason else ended
        return f"{steering_title(run.endpoint, document)}: {said}"
    what = gettext("%(kind)s of %(endpoint)s to version %(version)s: %(done)s of %(total)s hosts switched") % {
        "kind": gettext("Convergence") if plan.kind == PlanKind.CONVERGE else plan.get_kind_display(),
        "endpoint": run.endpoint.slug,
        "version": plan.to_version.number,
        "done": done,
        "total": total,
    }
    if run.state == RunState.SWITCHED and watch is not None:
        return f"{what}; {WATCHED[WatchState(watch.state)] % {'why': watch.state_reason}}"
    return f"{what}; {GOES[RunState(run.state)] % {'why': run.state_reason}}"


def steering_title_of(plan: Plan) -> str:
    """A steering plan in a line, also where its document was damaged."""
    try:
        return steering_title(plan.endpoint, PlanDocument.read(bytes(plan.document)))
    except DocumentError:
        return gettext("%(kind)s of %(endpoint)s, whose document was damaged") % {
            "kind": plan.get_kind_display(),
            "endpoint": plan.endpoint.slug,
        }


def left_as(run: Run) -> list[dict[str, str]]:
    """Of a run that was stopped: what each host shall serve now and why, how it was last seen, and what becomes of it.
    Empty for any other run, and once another run has changed these hosts."""
    if run.state != RunState.STOPPED:
        return []
    later = Run.objects.filter(endpoint=run.endpoint_id, started_at__gt=run.started_at)
    if later.exclude(plan__kind__in=ASIDE_KINDS).exists():
        return []
    rows = []
    steps = {step.host_id: step for step in run.steps.all()}
    placements = Placement.objects.filter(endpoint=run.endpoint_id, host__in=steps).select_related("host", "desired")
    for placement in placements.order_by("host__name"):
        step = steps[placement.host_id]
        kept = left_with(run, placement.host) == placement.desired
        rows.append(
            {
                "host": placement.host.name,
                "desired": gettext("version %(desired)s") % {"desired": placement.desired.number}
                if placement.desired
                else gettext("nothing"),
                "why": _why_left(step),
                "seen": placement.health_reason
                if "left" in placement.observation
                else placement.get_health_display().lower(),
                "then": _becomes(placement, kept=kept),
            }
        )
    return rows


def _why_left(step: HostStep) -> str:
    if has_switched(step):
        return gettext("the run had switched it")
    if step.switch_calls:
        return gettext("the run was switching it and had not read it back; what it serves is observed")
    restored = StepState.RESTORED in step.marks
    if StepState.SHADOWED in step.marks and not restored and StepState.SHARED not in step.marks:
        return gettext("the run had not switched it; the other version was asked beside it, which ends within a minute")
    if StepState.SHARED in step.marks and not restored:
        return gettext("the run had not switched it; it had given the other version %(share)s") % {
            "share": step.notes.get(StepState.SHARED, "")
        }
    if StepState.DRAINED in step.marks and not restored:
        return gettext("the run had not switched it; it had taken it out of service")
    return gettext("the run had not come to it")


def _becomes(placement: Placement, *, kept: bool) -> str:
    """What the reconciler does with a host of a stopped run."""
    if "left" in placement.observation:
        return (
            gettext("is switched to it anew, which ends that")
            if kept
            else gettext(
                "is left alone, and an alert says so: putting it right needs a plan of its own, to either version"
            )
        )
    if kept:
        return gettext("is brought to it if it comes back with something else")
    return gettext("is left alone: bringing the version back that was to be left needs a plan of its own")


def waves_of(run: Run) -> list[dict[str, Any]]:
    """The run as `parts/run_lanes.html` takes it. Two queries for any number of hosts."""
    prefetch_related_objects([run], LANES)
    steps = list(run.steps.all())
    document = document_of(run)
    seen = {
        placement.host_id: placement
        for placement in Placement.objects.filter(endpoint=run.endpoint, host__in=[step.host_id for step in steps])
    }
    waves: dict[int, dict[str, Any]] = {}
    for step in steps:
        group = waves.setdefault(step.wave_id, _wave(step.wave))
        path = document.path_of(step.host.name) if document is not None else STEP_PATH
        group["lanes"].append(_lane(run, step, seen.get(step.host_id), path))
    for group in waves.values():
        _fold(group, large=len(steps) > LARGE)
    return list(waves.values())


def document_of(run: Run) -> PlanDocument | None:
    """The plan's document; None where it was damaged, which halts the run and must not hide it."""
    try:
        return PlanDocument.read(bytes(run.plan.document))
    except DocumentError:
        return None


def _fold(group: dict[str, Any], *, large: bool) -> None:
    """Lanes that ended badly first; of many hosts, waves in which nobody has to look at anything are folded."""
    lanes = group["lanes"]
    quiet = (StepState.DONE, StepState.PENDING)
    lanes.sort(key=lambda lane: (lane["state"] not in ENDED_BADLY, lane["state"] in quiet))
    counts = Counter(str(StepState(lane["state"]).label).lower() for lane in lanes)
    of_all = ngettext("%(n)s host: %(counts)s", "%(n)s hosts: %(counts)s", len(lanes))
    listed = ", ".join(f"{count} {word}" for word, count in counts.most_common())
    group["counts"] = of_all % {"n": len(lanes), "counts": listed}
    bad = any(lane["state"] in ENDED_BADLY for lane in lanes)
    group["folds"] = large
    group["open"] = bad or group["state"] not in (WaveState.DONE, WaveState.PENDING)


def _wave(wave: Wave) -> dict[str, Any]:
    notes = {"soaking": gettext("waits until its checks have answered"), "failed": gettext("stopped here")}
    return {
        "number": wave.index,
        "label": wave.name,
        "state": wave.state,
        "note": notes.get(wave.state, ""),
        "lanes": [],
    }


def _lane(run: Run, step: HostStep, placement: Placement | None, path: list[str]) -> dict[str, Any]:
    times = {name: datetime.datetime.fromisoformat(at) for name, at in step.marks.items()}
    began = run.started_at
    last = max(times.values(), default=None)
    ended = step.state in (StepState.DONE, StepState.RESTORED, *ENDED_BADLY)
    first = min(times.values(), default=began)
    return {
        "id": f"lane-{step.pk}",
        "host": step.host.name,
        "href": "",
        "state": step.state,
        "from_version": run.plan.from_version.number if run.plan.from_version else "–",
        "to_version": run.plan.to_version.number,
        "serving": _serving(run, step, placement),
        "current": _current(step, path),
        "since": None if ended else (last or began),
        "took": (last - first).total_seconds() if ended and last else None,
        "reason": step.state_reason if step.state in ENDED_BADLY else "",
        "steps": _stops(step, times, path),
        "counted": in_words(run, step, placement),
        "way_back": kept_in_words(run, step),
    }


def _serving(run: Run, step: HostStep, placement: Placement | None) -> str:
    """The number of the version that the host was last read back to serve."""
    if step.state in (StepState.SWITCHED, StepState.POSTCHECK_OK, StepState.DONE):
        return str(run.plan.to_version.number)
    if step.state == StepState.RESTORED and run.plan.from_version:
        return str(run.plan.from_version.number)
    return placement.observed_version if placement else ""


def _current(step: HostStep, path: list[str]) -> str:
    if step.state in path[:-1]:
        coming = path[path.index(step.state) + 1]
        return "waiting" if step.state == StepState.PENDING and not step.marks else str(STEP_WORDS[coming])
    return str(step.get_state_display())


def _stops(step: HostStep, times: dict[str, datetime.datetime], path: list[str]) -> list[dict[str, Any]]:
    stops: list[dict[str, Any]] = []
    before: datetime.datetime | None = None
    missed = False
    for state in path[1:]:
        at = times.get(state)
        if at is not None:
            word = "undone" if StepState.COMPENSATING in times and state in GIVEN_BACK else "done"
        elif missed:
            word = "waiting" if step.state in path else "skipped"
        else:
            word = "failed" if step.state in ENDED_BADLY else "current"
            word = "waiting" if step.state == StepState.PENDING and not step.marks else word
            missed = True
        stops.append(
            {
                "name": str(STEP_WORDS[state]),
                "state": word,
                "at": at,
                "seconds": (at - before).total_seconds() if at and before else None,
                "note": step.notes.get(state, ""),
            }
        )
        before = at or before
    return stops


def check_rows(checks: Iterable[Any]) -> list[dict[str, Any]]:
    """Checks and preflights as `parts/check_row.html` takes them, failures first."""
    order = {CheckAnswer.FAIL: 0, CheckAnswer.INCONCLUSIVE: 1, CheckAnswer.PASS: 2}
    rows = sorted(checks, key=lambda check: (order[CheckAnswer(check.answer)], check.pk))
    return [
        {
            "question": check.question,
            "answer": check.answer,
            "observed": check.observed,
            "expected": check.expected,
            "interval": getattr(check, "interval", ""),
            "stage": getattr(check, "stage", "preflight"),
            "note": getattr(check, "stage", ""),
        }
        for check in rows
    ]


def newest_checks(run: Run) -> list[Check]:
    """The latest answer to each question of a run: a gate that waited for traffic has answered before."""
    asked = {(c.stage, c.wave_id, c.host_id, c.name): c for c in run.checks.select_related("host").order_by("id")}
    return list(asked.values())


def candidate_of(plan: Plan) -> Candidate | None:
    """The candidate that the plan goes to, as it was ranked for the incident."""
    if not plan.incident_ref:
        return None
    return candidates(plan.incident_ref).filter(to_version=plan.to_version).first()


def candidates(incident_ref: str) -> QuerySet[Candidate]:
    """The incident's candidates, best first."""
    return Candidate.objects.filter(incident_ref=incident_ref).select_related("to_version", "endpoint").order_by("rank")


def candidate_evidence(incident_ref: str) -> dict[str, Any]:
    """What is shown beside a plan of the incident, as the document's evidence digest covers it."""
    return {
        "candidates": [
            {
                "version": row.to_version.number,
                "digest": row.to_version.digest,
                "eligible": row.eligible,
                "reasons": row.reasons,
                "replay": row.replay,
            }
            for row in candidates(incident_ref)
        ]
    }
