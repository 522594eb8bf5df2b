"""The limits that a plan sets to its run: who may be absent, who may fail, how many of a wave must succeed, and how
many hosts must serve all the while."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from incidents.rollback import fleet
from incidents.rollback.checks import Answered
from incidents.rollback.models import CheckAnswer, HostStep, PlanKind, StepState, Wave
from incidents.rollback.work import Work, has_acted
from registry.models import Host
from registry.serving.base import ModelObservation, ServingError

PARALLEL_LOOKS = 16
MOMENT_SECONDS = 2.0
STILL_SERVING = (StepState.PENDING, StepState.LOCKED, StepState.PREFLIGHT, StepState.STAGED)


def broken(work: Work, wave: Wave) -> tuple[str, str] | None:
    """The code and the sentence of the first limit that the run has broken with this wave's hosts; None for none. What
    loads ahead for the next wave is judged with that."""
    steps = list(
        work.run.steps.filter(wave__index__lte=wave.index).select_related("host").order_by("wave__index", "id")
    )
    failed = [step for step in steps if step.state == StepState.FAILED]
    absent = [step for step in steps if step.state == StepState.UNREACHABLE]
    budget, tolerated = work.document.failure_budget, work.document.tolerated_absences
    if len(failed) > budget:
        newest = next((step for step in failed if step.wave_id == wave.pk), failed[-1])
        more = f" {len(failed)} hosts have failed; the plan lets {budget} fail." if budget else ""
        return "step_failed", f"{newest.state_reason}{more}"
    if len(absent) > tolerated:
        names = ", ".join(step.host.name for step in absent)
        return "unreachable", f"{names} can't be reached; the plan tolerates {tolerated} absent host(s)."
    done = sum(step.state == StepState.DONE for step in steps if step.wave_id == wave.pk)
    quorum = work.document.waves[wave.index - 1].quorum
    if done < quorum:
        return "quorum", f"{done} host(s) of this wave succeeded; the plan asks for {quorum} before it goes on."
    return None


def looked(work: Work, enough: int | None = None, *, anew: bool = True) -> dict[str, ModelObservation | None]:
    """What the hosts hold and serve, by name, None for one that gives no answer; from `enough` on that serve, no more
    are asked. Unless they are to be asked `anew`, what was seen a moment ago will do. Of a plan that drains hosts all
    of the endpoint's are asked, else those of the plan."""
    if work.document.body["kind"] == PlanKind.DRAIN:
        hosts = [row.host for row in work.run.endpoint.placements.filter(host__drained_at=None).select_related("host")]
    else:
        hosts = [step.host for step in work.run.steps.select_related("host").order_by("wave__index", "id")]
    found: dict[str, ModelObservation | None] = {}
    for start in range(0, len(hosts), PARALLEL_LOOKS):
        batch = hosts[start : start + PARALLEL_LOOKS]
        with ThreadPoolExecutor(max_workers=len(batch)) as pool:
            answers = list(pool.map(lambda host: _look(work, host, anew=anew), batch))
        found |= {host.name: seen for host, seen in zip(batch, answers, strict=True)}
        if enough is not None and len(_serving(work, found)) >= enough:
            break
    return found


def _look(work: Work, host: Host, *, anew: bool) -> ModelObservation | None:
    try:
        return work.look_at(host, anew=anew, within=MOMENT_SECONDS)
    except ServingError:
        return None


def _serving(work: Work, found: Mapping[str, ModelObservation | None]) -> list[str]:
    """Those that answer requests with a version that the plan knows."""
    return [name for name, seen in found.items() if seen is not None and _serves(work, seen)]


def _serves(work: Work, seen: ModelObservation) -> bool:
    held = seen.versions.get(seen.default_version or "")
    ready = seen.in_service and held is not None and held.state == "ready"
    return ready and fleet.serving_digest(seen) in work.document.tolerated


def may_go(work: Work, left: list[HostStep]) -> list[HostStep]:
    """Those of a wave's hosts that may go on now: hosts that have to leave service, going forward or back, do so one
    after the other, or as many at once as can be spared of those that serve. Who is seen not to serve has nothing to
    leave, and goes on."""
    leaving = [step for step in left if _leaves_service(work, step)]
    if not leaving:
        return left
    found = looked(work)
    serving = _serving(work, found)
    waiting = [step for step in leaving if _needs_room(work, step, found.get(step.host.name))]
    room = max(0, len(serving) - work.document.min_hosts_serving)
    return [step for step in left if step not in waiting] + waiting[:room]


def _leaves_service(work: Work, step: HostStep) -> bool:
    if step.state == StepState.COMPENSATING:
        return step.host.name in work.document.recreated
    return step.state in STILL_SERVING and StepState.DRAINED in work.document.path_of(step.host.name)


def _needs_room(work: Work, step: HostStep, seen: ModelObservation | None) -> bool:
    """It serves, or may: what gives no answer is not known to be out."""
    if seen is None:
        return True
    if step.state == StepState.COMPENSATING and work.origin is not None and fleet.is_loaded(seen, work.origin):
        return False
    return _serves(work, seen)


def enough_serve(work: Work, *, anew: bool = False) -> Answered | None:
    """Whether as many hosts serve as the plan asks for all the while; None where it asks for none, or nothing was
    served before. A host that answers, does not serve, and that the run has not acted on was not lost by the run: it
    counts as if it served, since waiting would keep the run from the hosts that need it. Whom the run takes out of
    service is asked of may_go."""
    least = work.document.min_hosts_serving
    if least <= 0 or work.document.body["from"] is None:
        return None
    found = looked(work, enough=least, anew=anew)
    serving = _serving(work, found)
    acted = {step.host.name for step in work.run.steps.select_related("host") if has_acted(step)}
    idle = [name for name, seen in found.items() if seen is not None and name not in {*serving, *acted}]
    enough = len(serving) + len(idle) >= least
    if len(serving) >= least:
        observed = f"at least {least} do"
    else:
        observed = f"{len(serving)} do: {', '.join(serving)}" if serving else "0 do"
        observed += f"; not by this run's doing: {', '.join(idle)}" if idle else ""
    return Answered(
        "capacity",
        "Do enough hosts serve?",
        CheckAnswer.PASS if enough else CheckAnswer.FAIL,
        observed,
        f"at least {least}",
        wait=not enough,
    )
