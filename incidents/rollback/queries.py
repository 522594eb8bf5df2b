"""Reads for pages and the API: plans as what changes, runs as lanes of hosts."""

import datetime
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from django.db.models import Prefetch, QuerySet, Sum, prefetch_related_objects

from audit.english import in_english
from incidents.rollback.counted import in_words
from incidents.rollback.document import DocumentError, PlanDocument
from incidents.rollback.gating.planned import asked_at
from incidents.rollback.gating.planned import terms as gate_terms
from incidents.rollback.left import has_switched, left_with
from incidents.rollback.models import (
    ASIDE_KINDS,
    STEERING_KINDS,
    Candidate,
    Check,
    CheckAnswer,
    HostStep,
    Plan,
    Run,
    RunState,
    StepState,
    WatchState,
    Wave,
    WaveState,
)
from incidents.rollback.shadow.terms import in_words as shadow_in_words
from incidents.rollback.state import STEP_PATH
from registry.composing import part_sentence
from registry.models import Endpoint, Placement, Version

STEP_WORDS: dict[str, str] = {
    StepState.LOCKED: "lock",
    StepState.PREFLIGHT: "check",
    StepState.STAGED: "stage",
    StepState.DRAINED: "leave service",
    StepState.EMPTIED: "unload old",
    StepState.LOADED: "load warm",
    StepState.GOLDEN_OK: "golden test",
    StepState.SHADOWED: "ask beside",
    StepState.COMPARED: "compare",
    StepState.SHARED: "share traffic",
    StepState.IN_SERVICE: "back in service",
    StepState.SWITCHED: "switch",
    StepState.POSTCHECK_OK: "post-check",
    StepState.DONE: "done",
}
LANES = Prefetch("steps", HostStep.objects.select_related("host", "wave").order_by("wave__index", "host__name"))
GIVEN_BACK = (
    StepState.DRAINED, StepState.EMPTIED, StepState.SHADOWED, StepState.COMPARED, StepState.SHARED,
    StepState.IN_SERVICE, StepState.SWITCHED,
    StepState.POSTCHECK_OK, StepState.DONE,
)  # fmt: skip
"""What going back takes back."""
LARGE = 8
"""More hosts than this are shown in waves that fold."""
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
    verb = {"rollback": "Rollback", "release": "Release", "drill": "Drill", "converge": "Convergence"}.get(plan.kind)
    if verb is None:
        document = PlanDocument.read(bytes(plan.document))
        words = {
            "running": "running",
            "switched": "done",
            "compensating": "being taken back",
            "compensated": "taken back",
        }
        said = words.get(run.state, run.state) + (f": {run.state_reason}" if run.state_reason else "")
        return f"{steering_title(run.endpoint, document)}: {said}"
    what = f"{verb} of {run.endpoint.slug} to version {plan.to_version.number}"
    if run.state == RunState.SWITCHED and watch is not None:
        words = {
            WatchState.WATCHING: "is being watched under live traffic",
            WatchState.PASSED: "is verified",
            WatchState.FAILED: f"failed its verification: {watch.state_reason}",
            WatchState.INCONCLUSIVE: f"waits for a person: {watch.state_reason}",
        }
        return f"{what}: {done} of {total} hosts switched; it {words[WatchState(watch.state)]}"
    words_of_run = {
        RunState.RUNNING: "running",
        RunState.HALTED: f"halted, and waits for a person: {run.state_reason}",
        RunState.STOPPED: f"stopped by a person: {run.state_reason}",
        RunState.COMPENSATING: "going back",
        RunState.FAILED: f"failed: {run.state_reason}",
        RunState.COMPENSATED: f"gone back: {run.state_reason}",
        RunState.SWITCHED: "all hosts switched",
    }
    return f"{what}: {done} of {total} hosts switched; {words_of_run[RunState(run.state)]}"


def steering_title(endpoint: Endpoint, document: PlanDocument) -> str:
    """A plan that changes no version, in a line."""
    if document.outcome == "freeze":
        return f"Freeze {endpoint.slug} until {document.body['freeze']['until'][:16].replace('T', ' ')} UTC"
    verb = "Take {} of {} out of service" if document.outcome == "drain" else "Bring {} of {} back into service"
    return verb.format(names_of(document.hosts), endpoint.slug)


def steering_title_of(plan: Plan) -> str:
    """A steering plan in a line, also where its document was damaged."""
    try:
        return steering_title(plan.endpoint, PlanDocument.read(bytes(plan.document)))
    except DocumentError:
        return f"{in_english(plan.get_kind_display)} of {plan.endpoint.slug}, whose document was damaged"


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
                "desired": f"version {placement.desired.number}" if placement.desired else "nothing",
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
        return "the run had switched it"
    if step.switch_calls:
        return "the run was switching it and had not read it back; what it serves is observed"
    restored = StepState.RESTORED in step.marks
    if StepState.SHADOWED in step.marks and not restored and StepState.SHARED not in step.marks:
        return "the run had not switched it; the other version was asked beside it, which ends within a minute"
    if StepState.SHARED in step.marks and not restored:
        return f"the run had not switched it; it had given the other version {step.notes.get(StepState.SHARED, '')}"
    if StepState.DRAINED in step.marks and not restored:
        return "the run had not switched it; it had taken it out of service"
    return "the run had not come to it"


def _becomes(placement: Placement, *, kept: bool) -> str:
    """What the reconciler does with a host of a stopped run."""
    if "left" in placement.observation:
        return (
            "is switched to it anew, which ends that"
            if kept
            else "is left alone, and an alert says so: putting it right needs a plan of its own, to either version"
        )
    if kept:
        return "is brought to it if it comes back with something else"
    return "is left alone: bringing the version back that was to be left needs a plan of its own"


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
    group["counts"] = f"{len(lanes)} host{'s' if len(lanes) > 1 else ''}: " + ", ".join(
        f"{count} {word}" for word, count in counts.most_common()
    )
    bad = any(lane["state"] in ENDED_BADLY for lane in lanes)
    group["folds"] = large
    group["open"] = bad or group["state"] not in (WaveState.DONE, WaveState.PENDING)


def _wave(wave: Wave) -> dict[str, Any]:
    notes = {"soaking": "waits until its checks have answered", "failed": "stopped here"}
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
        return "waiting" if step.state == StepState.PENDING and not step.marks else STEP_WORDS[coming]
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
                "name": STEP_WORDS[state],
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


def plan_rows(plan: Plan) -> list[dict[str, str]]:
    """What the plan changes, as `parts/plan_diff.html` takes it: first the version and its parts, then host by host."""
    document = PlanDocument.read(bytes(plan.document))
    if plan.kind in STEERING_KINDS:
        return _steering_rows(plan, document)
    rows = [_row("endpoint", "version", _number(plan.from_version), _number(plan.to_version))]
    before, after = _components(plan.from_version), _components(plan.to_version)
    rows += [
        _row("endpoint", name, before.get(name, ""), after.get(name, ""))
        for name in sorted(before.keys() | after.keys())
    ]
    change = _number(plan.from_version), _number(plan.to_version)
    for number, wave in enumerate(document.waves, start=1):
        if len(document.hosts) > LARGE:
            rows.append(_row(f"wave {number} · {wave.name}", f"{names_of(wave.hosts)} serve", *change))
        else:
            rows += [_row(f"{host} · wave {number}", "serves", *change) for host in wave.hosts]
    return rows


def _steering_rows(plan: Plan, document: PlanDocument) -> list[dict[str, str]]:
    if document.outcome == "freeze":
        until = document.body["freeze"]["until"][:16].replace("T", " ")
        return [_row("endpoint", "deployments", "may happen", f"none until {until} UTC, unless it is lifted")]
    before, after = (
        ("in service", "out of service") if document.outcome == "drain" else ("out of service", "in service")
    )
    return [_row(host, "requests", before, after) for host in document.hosts]


def _row(group: str, label: str, before: str, after: str) -> dict[str, str]:
    return {"group": group, "label": label, "before": before, "after": after}


def _number(version: Version | None) -> str:
    return "nothing" if version is None else f"version {version.number} ({version.digest[:12]})"


def _components(version: Version | None) -> dict[str, str]:
    """Each component's files by the first digits of their digests."""
    if version is None:
        return {}
    found: dict[str, list[str]] = {}
    for entry in version.files.all():
        found.setdefault(entry.component, []).append(entry.artifact_id[:12])
    return {component: ", ".join(sorted(digests)) for component, digests in found.items()}


def plan_terms(plan: Plan) -> list[dict[str, str]]:
    """The plan's terms in words: waves, gates, checks, what happens on failure."""
    document = PlanDocument.read(bytes(plan.document))
    if plan.kind in STEERING_KINDS:
        return _steering_terms(document)
    failure = "goes back by itself" if document.compensates else "halts and waits for a person"
    asked = [gate["name"] for gate in document.body["gates"] if gate.get("when") != "watch"]
    later = [gate.name for gate in asked_at(document.body["gates"], "watch")]
    watched = ", ".join([*(check["name"] for check in document.body["checks"]), *later])
    gates = ", ".join(asked) or "switched off, on record"
    if "latency" in asked and document.uncompared:
        gates += (
            f" (latency not on {names_of(document.uncompared)}, where the old version is gone and nothing can be "
            "compared)"
        )
    return [
        *_part_terms(plan, document),
        *_shadow_terms(plan, document),
        {"label": "On each host", "value": _strategy_in_words(document)},
        {"label": "Waves", "value": _waves_in_words(document)},
        {"label": "Between waves", "value": f"at least {document.wave_soak_seconds} s, then the gates: {gates}"},
        *gate_terms(document.body["gates"]),
        {"label": "If a gate fails", "value": failure},
        {"label": "Hosts that serve all the while", "value": f"at least {document.min_hosts_serving}"},
        {"label": "Hosts that may be absent", "value": str(document.tolerated_absences)},
        {
            "label": "Hosts that may fail",
            "value": f"{document.failure_budget} of {len(document.hosts)}" if document.failure_budget else "none",
        },
        {
            "label": "Afterwards watched",
            "value": f"{document.watch_seconds} s: {watched}",
        },
        {"label": "The old version stays warm", "value": _warm_in_words(document)},
    ]


def _part_terms(plan: Plan, document: PlanDocument) -> list[dict[str, str]]:
    """What a composed target is made of, and what its expected outputs are worth."""
    if "part" not in document.body:
        return []
    return [
        {"label": f"Version {plan.to_version.number} is", "value": part_sentence(plan.to_version)},
        {"label": "What is expected of it", "value": str(plan.evidence.get("rehearsal", ""))},
    ]


def _shadow_terms(plan: Plan, document: PlanDocument) -> list[dict[str, str]]:
    if document.shadow is None:
        return []
    return [{"label": "First, as a shadow", "value": shadow_in_words(document.shadow, plan.to_version.number)}]


def _steering_terms(document: PlanDocument) -> list[dict[str, str]]:
    if document.outcome == "freeze":
        return [{"label": "Taken back by", "value": "lifting the freeze on the endpoint's page"}]
    least = {"label": "Hosts that serve all the while", "value": f"at least {document.min_hosts_serving}"}
    other = "bring_back" if document.outcome == "drain" else "drain"
    words = {"bring_back": "a plan that brings them back", "drain": "a plan that drains them"}[other]
    golden = {"label": "Before a host comes back", "value": "its version gives the golden outputs"}
    return [least if document.outcome == "drain" else golden, {"label": "Taken back by", "value": words}]


def _warm_in_words(document: PlanDocument) -> str:
    if document.recreated:
        return f"no: {names_of(document.recreated)} can hold one only, so that going back takes as long as this"
    warm = f"{document.undo_seconds} s"
    if document.kept:
        when = "after each wave" if document.compensates else "once all hosts have switched"
        warm += f"; {names_of(document.kept)}, whose engine drops it at the switch, loads it again {when}"
    if not document.cold:
        return warm
    why = f"not on {names_of(document.cold)}, whose engine drops it at the switch: going back loads it again there"
    return why if len(document.cold) == len(document.hosts) else f"{warm}; {why}"


def _strategy_in_words(document: PlanDocument) -> str:
    if document.recreated:
        return (
            f"{names_of(document.recreated)}: taken out of service, the old version unloaded once no request came for "
            f"2 s (or after {document.body['drain_seconds']} s), the new one loaded and tested, then back; one after "
            "the other, or as many as can be spared"
        )
    if document.strategy == "weighted":
        shares = " %, then ".join(str(share) for share in document.shares)
        shared = names_of(document.body["shared"])
        if not shared:
            return "no canary's engine can share requests, so each is switched at once after its golden test"
        return f"{shared} lets the new version take {shares} % of its requests, with the gate at each, then all"
    said = "both versions in memory, one switch, no request dropped"
    if loads := document.loads_at_switch:
        return f"{said}; at it the engine of {names_of(loads)} loads again, and answers with the old version meanwhile"
    return said


def names_of(hosts: Sequence[str], most: int = 4) -> str:
    """Host names for a sentence: all of a few, of many the first and how many more."""
    if len(hosts) <= most + 1:
        return ", ".join(hosts)
    return f"{', '.join(hosts[:most])} and {len(hosts) - most} more"


def _waves_in_words(document: PlanDocument) -> str:
    """Wave after wave with its hosts, what made them, and how many of each have to succeed."""
    waves = document.waves
    few = len(document.hosts) <= LARGE
    parts = [
        f"{wave.name} {len(wave.hosts)}"
        + (f" ({', '.join(wave.hosts)})" if few else "")
        + (f", of which {wave.quorum} must succeed" if wave.quorum else "")
        for wave in waves
    ]
    by = document.body.get("wave_by", {})
    made = f"one for each {by['label']} after a first host: " if "label" in by and len(waves) > 1 else ""
    return f"{made}{'; then '.join(parts)}"


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
