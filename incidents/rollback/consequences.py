"""What a person's verb would do to a run now, in plain words, before it is pressed."""

from collections.abc import Sequence

from django.db.models import prefetch_related_objects

from incidents.rollback.document import PlanDocument
from incidents.rollback.kept import to_be_loaded
from incidents.rollback.left import has_switched
from incidents.rollback.models import ACTIVE_RUN_STATES, HostStep, PlanKind, Run, RunState, StepState, WaveState
from incidents.rollback.queries import LANES, LARGE, document_of, names_of
from incidents.rollback.run import GOING_BACK
from incidents.rollback.shadow.terms import is_only_shadowed
from incidents.rollback.work import has_acted

CHANGED = (
    StepState.SWITCHED,
    StepState.POSTCHECK_OK,
    StepState.DONE,
    StepState.DRAINED,
    StepState.EMPTIED,
    StepState.SHARED,
)


def consequences(run: Run) -> dict[str, str]:
    """Verb -> what it would do now, of those that the run's state lets anybody use: pause, resume, stop, compensate."""
    document = document_of(run)
    if run.state not in ACTIVE_RUN_STATES or document is None:
        return {}
    prefetch_related_objects([run], LANES)
    steps = list(run.steps.all())
    said = {"stop": _stop(run, document, steps)}
    if run.state == RunState.HALTED:
        said["resume"] = _resume(run, steps)
    else:
        first = "What is under way on a host is finished; then nothing more is done until somebody resumes it."
        said["pause"] = f"{first} {_now(run, document, steps)}"
    if run.state != RunState.COMPENSATING and (back := _compensate(run, document, steps)):
        said["compensate"] = back
    return said


def _names(steps: Sequence[HostStep]) -> str:
    return names_of([step.host.name for step in steps], LARGE)


def _who(steps: Sequence[HostStep], verb: str) -> str:
    ending = ("es" if verb.endswith(("o", "ch")) else "s") if len(steps) == 1 else ""
    return f"{_names(steps)} {verb}{ending}"


def _now(run: Run, document: PlanDocument, steps: Sequence[HostStep]) -> str:
    """How the hosts are, and would stay."""
    plan = run.plan
    unknown = [s for s in steps if s.switch_calls and not {StepState.SWITCHED, StepState.RESTORED} & s.marks.keys()]
    out = [s for s in steps if s not in unknown and _is_out(s, document)]
    shared = [s for s in steps if s.state == StepState.SHARED]
    parts: list[str] = []
    if plan.kind not in (PlanKind.DRAIN, PlanKind.FREEZE):
        done = [s for s in steps if has_switched(s)]
        rest = [s for s in steps if s not in done and s not in out and s not in unknown]
        if done:
            parts.append(f"{_who(done, 'serve')} version {plan.to_version.number}")
        if rest and plan.from_version is not None:
            parts.append(f"{_who(rest, 'go')} on with version {plan.from_version.number}")
        if unknown:
            switched = f"{_names(unknown)} switched to version {plan.to_version.number}"
            parts.append(f"whether {switched} is not known until it is observed again")
    if out:
        parts.append(f"{_who(out, 'stay')} out of service")
    parts += [
        f"{s.host.name} gives {s.baseline.get('share')} % of its requests to version {plan.to_version.number}"
        for s in shared
    ]
    if mirrored := [s for s in steps if s.state == StepState.SHADOWED]:
        parts.append(f"{_who(mirrored, 'ask')} version {plan.to_version.number} beside, for a minute at most")
    return f"Until then: {'; '.join(parts)}." if parts else "No host was changed so far."


def _is_out(step: HostStep, document: PlanDocument) -> bool:
    drained = StepState.DRAINED in step.marks and StepState.IN_SERVICE not in step.marks
    back = {StepState.SWITCHED, StepState.RESTORED} & step.marks.keys()
    return drained and not back and (step.host.name in document.recreated or document.outcome == "drain")


def _stop(run: Run, document: PlanDocument, steps: Sequence[HostStep]) -> str:
    now = _now(run, document, steps).replace("Until then: ", "It leaves them so: ")
    return f"The run ends for good, and nobody goes on with it or back. {now} Only another plan changes that."


def _resume(run: Run, steps: Sequence[HostStep]) -> str:
    if run.halt_code in GOING_BACK:
        stuck = [s for s in steps if StepState.COMPENSATING in s.marks and s.state != StepState.RESTORED]
        return f"It goes on bringing hosts back{f': {_names(stuck)} again' if stuck else ''}."
    open_waves = {s.wave.index: s.wave for s in steps if s.wave.state != WaveState.DONE}
    wave = open_waves[min(open_waves)] if open_waves else None
    if wave is None:
        return "All of its waves are done: it ends as switched, and the watching begins."
    mine = [s for s in steps if s.wave_id == wave.pk and s.state != StepState.DONE]
    later = sum(s.wave.index > wave.index for s in steps)
    first = (
        f"the steps of {_names(mine)} begin anew; what is true already is not done again"
        if mine
        else "its gate is asked again"
    )
    return f"Wave {wave.index} ({wave.name}) goes on: {first}. {later} hosts of later waves follow."


def _compensate(run: Run, document: PlanDocument, steps: Sequence[HostStep]) -> str:
    origin = run.plan.from_version
    if run.plan.kind == PlanKind.DRAIN:
        changed = [s for s in steps if StepState.DRAINED in s.marks or StepState.IN_SERVICE in s.marks]
        back = "back into service" if document.outcome == "drain" else "out of service again"
        return f"{_who(changed, 'go')} {back}." if changed else "No host was changed, so that it only ends."
    if origin is None:
        return ""
    changed = [s for s in steps if (s.state in CHANGED or has_acted(s)) and StepState.RESTORED not in s.marks]
    if not changed:
        return "No host was changed, so that it only ends."
    mirrored = [s for s in changed if is_only_shadowed(s, document.shadow, document.shares)]
    emptied = [s for s in changed if s.host.name in document.recreated]
    dropped = to_be_loaded(document, steps)
    cold = [s for s in changed if s.host.name in dropped and s not in emptied and s not in mirrored]
    warm = [s for s in changed if s not in (*emptied, *cold, *mirrored)]
    parts = [f"{_who(warm, 'switch')} back to version {origin.number}, which is still warm there"] if warm else []
    if cold:
        parts.append(
            f"{_who(cold, 'load')} version {origin.number} again, since the engine may have dropped it at the switch, "
            f"and {'switches' if len(cold) == 1 else 'switch'} back once its golden test has passed"
        )
    if emptied:
        parts.append(f"of {_names(emptied)} each leaves service, loads version {origin.number} again, and comes back")
    if mirrored:
        parts.append(
            f"{_who(mirrored, 'cease')} to ask version {run.plan.to_version.number} beside, and was not switched"
        )
    return f"{'; '.join(parts)}. The latest wave goes first."
