"""The limits that a plan sets to its run: who may be absent, who may fail, how many of a wave must succeed, and how
many hosts must serve all the while."""

from concurrent.futures import ThreadPoolExecutor

from incidents.rollback import fleet
from incidents.rollback.checks import Answered
from incidents.rollback.models import CheckAnswer, HostStep, PlanKind, StepState, Wave
from incidents.rollback.steps import Work
from registry.models import Host
from registry.serving.base import ServingError

PARALLEL_LOOKS = 16
STILL_SERVING = (StepState.PENDING, StepState.LOCKED, StepState.PREFLIGHT, StepState.STAGED)


def broken(work: Work, wave: Wave) -> tuple[str, str] | None:
    """The code and the sentence of the first limit that the run has broken with this wave's hosts; None for none."""
    steps = list(work.run.steps.select_related("host").order_by("wave__index", "id"))
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


def serving(work: Work, enough: int | None = None) -> list[str]:
    """The hosts that answer with a version that the plan knows, by asking them now; from `enough` on, no more are
    asked. Of a plan that drains hosts all of the endpoint's are asked, else those of the plan."""
    if work.document.body["kind"] == PlanKind.DRAIN:
        hosts = [row.host for row in work.run.endpoint.placements.filter(host__drained_at=None).select_related("host")]
    else:
        hosts = [step.host for step in work.run.steps.select_related("host").order_by("wave__index", "id")]
    found: list[str] = []
    for start in range(0, len(hosts), PARALLEL_LOOKS):
        batch = hosts[start : start + PARALLEL_LOOKS]
        with ThreadPoolExecutor(max_workers=len(batch)) as pool:
            answers = list(pool.map(lambda host: _serves(work, host), batch))
        found += [host.name for host, serves in zip(batch, answers, strict=True) if serves]
        if enough is not None and len(found) >= enough:
            break
    return found


def _serves(work: Work, host: Host) -> bool:
    try:
        seen = fleet.reach(host, work.run.endpoint).look()
    except ServingError:
        return False
    held = seen.versions.get(seen.default_version or "")
    ready = seen.in_service and held is not None and held.state == "ready"
    return ready and fleet.serving_digest(seen) in work.document.tolerated


def may_go(work: Work, left: list[HostStep]) -> list[HostStep]:
    """Those of a wave's hosts that may go on now: hosts that have to leave service do so one after the other, or as
    many at once as can be spared of those that serve."""
    waiting = [step for step in left if step.state in STILL_SERVING and _leaves_service(work, step)]
    if not waiting:
        return left
    room = max(0, len(serving(work)) - work.document.min_hosts_serving)
    return [step for step in left if step not in waiting] + waiting[:room]


def _leaves_service(work: Work, step: HostStep) -> bool:
    return StepState.DRAINED in work.document.path_of(step.host.name)


def enough_serve(work: Work) -> Answered | None:
    """Whether as many hosts serve as the plan asks for all the while; None where it asks for none, or nothing was
    served before."""
    least = work.document.min_hosts_serving
    if least <= 0 or work.document.body["from"] is None:
        return None
    found = serving(work, enough=least)
    return Answered(
        "capacity",
        "Do enough hosts serve?",
        CheckAnswer.PASS if len(found) >= least else CheckAnswer.FAIL,
        f"{len(found)} do: {', '.join(found)}" if len(found) < least else f"at least {least} do",
        f"at least {least}",
        wait=len(found) < least,
    )
