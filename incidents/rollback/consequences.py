"""What a person's verb would do to a run now, in plain words, before it is pressed."""

from collections.abc import Sequence

from django.db.models import prefetch_related_objects
from django.utils.translation import gettext, ngettext

from incidents.rollback.document import PlanDocument
from incidents.rollback.kept import to_be_loaded
from incidents.rollback.left import has_switched
from incidents.rollback.models import ACTIVE_RUN_STATES, HostStep, PlanKind, Run, RunState, StepState, WaveState
from incidents.rollback.queries import LANES, document_of
from incidents.rollback.run import GOING_BACK
from incidents.rollback.shadow.terms import is_only_shadowed
from incidents.rollback.terms import LARGE, names_of
from incidents.rollback.work import has_acted
from registry.models import Version

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
        said["pause"] = gettext(
            "What is under way on a host is finished; then nothing more is done until somebody resumes it. %(now)s"
        ) % {"now": _until_then(_now(run, document, steps))}
    if run.state != RunState.COMPENSATING and (back := _compensate(run, document, steps)):
        said["compensate"] = back
    return said


def _names(steps: Sequence[HostStep]) -> str:
    return names_of([step.host.name for step in steps], LARGE)


def _told(said: str, steps: Sequence[HostStep], version: Version | None = None) -> str:
    return said % {"hosts": _names(steps), "version": version.number if version is not None else ""}


def _until_then(now: str) -> str:
    return gettext("Until then: %(now)s.") % {"now": now} if now else gettext("No host was changed so far.")


def _now(run: Run, document: PlanDocument, steps: Sequence[HostStep]) -> str:
    """How the hosts are, and would stay."""
    plan = run.plan
    unknown = [s for s in steps if s.switch_calls and not {StepState.SWITCHED, StepState.RESTORED} & s.marks.keys()]
    out = [s for s in steps if s not in unknown and _is_out(s, document)]
    shared = [s for s in steps if s.state == StepState.SHARED]
    parts: list[str] = []
    target = plan.to_version
    if plan.kind not in (PlanKind.DRAIN, PlanKind.FREEZE):
        done = [s for s in steps if has_switched(s)]
        rest = [s for s in steps if s not in done and s not in out and s not in unknown]
        if done:
            said = ngettext("%(hosts)s serves version %(version)s", "%(hosts)s serve version %(version)s", len(done))
            parts.append(_told(said, done, target))
        if rest and plan.from_version is not None:
            said = ngettext(
                "%(hosts)s goes on with version %(version)s", "%(hosts)s go on with version %(version)s", len(rest)
            )
            parts.append(_told(said, rest, plan.from_version))
        if unknown:
            said = gettext("whether %(hosts)s switched to version %(version)s is not known until it is observed again")
            parts.append(_told(said, unknown, target))
    if out:
        parts.append(_told(ngettext("%(hosts)s stays out of service", "%(hosts)s stay out of service", len(out)), out))
    parts += [
        gettext("%(host)s gives %(share)s %% of its requests to version %(version)s")
        % {"host": s.host.name, "share": s.baseline.get("share"), "version": target.number}
        for s in shared
    ]
    if mirrored := [s for s in steps if s.state == StepState.SHADOWED]:
        said = ngettext(
            "%(hosts)s asks version %(version)s beside, for a minute at most",
            "%(hosts)s ask version %(version)s beside, for a minute at most",
            len(mirrored),
        )
        parts.append(_told(said, mirrored, target))
    return "; ".join(parts)


def _is_out(step: HostStep, document: PlanDocument) -> bool:
    drained = StepState.DRAINED in step.marks and StepState.IN_SERVICE not in step.marks
    back = {StepState.SWITCHED, StepState.RESTORED} & step.marks.keys()
    return drained and not back and (step.host.name in document.recreated or document.outcome == "drain")


def _stop(run: Run, document: PlanDocument, steps: Sequence[HostStep]) -> str:
    now = _now(run, document, steps)
    left = gettext("It leaves them so: %(now)s.") % {"now": now} if now else _until_then(now)
    return gettext(
        "The run ends for good, and nobody goes on with it or back. %(left)s Only another plan changes that."
    ) % {"left": left}


def _resume(run: Run, steps: Sequence[HostStep]) -> str:
    if run.halt_code in GOING_BACK:
        stuck = [s for s in steps if StepState.COMPENSATING in s.marks and s.state != StepState.RESTORED]
        if stuck:
            return _told(gettext("It goes on bringing hosts back: %(hosts)s again."), stuck)
        return gettext("It goes on bringing hosts back.")
    open_waves = {s.wave.index: s.wave for s in steps if s.wave.state != WaveState.DONE}
    wave = open_waves[min(open_waves)] if open_waves else None
    if wave is None:
        return gettext("All of its waves are done: it ends as switched, and the watching begins.")
    mine = [s for s in steps if s.wave_id == wave.pk and s.state != StepState.DONE]
    later = sum(s.wave.index > wave.index for s in steps)
    first = (
        _told(gettext("the steps of %(hosts)s begin anew; what is true already is not done again"), mine)
        if mine
        else gettext("its gate is asked again")
    )
    return gettext("Wave %(number)s (%(name)s) goes on: %(first)s. %(later)s hosts of later waves follow.") % {
        "number": wave.index,
        "name": wave.name,
        "first": first,
        "later": later,
    }


def _compensate(run: Run, document: PlanDocument, steps: Sequence[HostStep]) -> str:
    origin = run.plan.from_version
    if run.plan.kind == PlanKind.DRAIN:
        changed = [s for s in steps if StepState.DRAINED in s.marks or StepState.IN_SERVICE in s.marks]
        if not changed:
            return gettext("No host was changed, so that it only ends.")
        if document.outcome == "drain":
            back = ngettext("%(hosts)s goes back into service.", "%(hosts)s go back into service.", len(changed))
        else:
            back = ngettext("%(hosts)s goes out of service again.", "%(hosts)s go out of service again.", len(changed))
        return _told(back, changed)
    if origin is None:
        return ""
    changed = [s for s in steps if (s.state in CHANGED or has_acted(s)) and StepState.RESTORED not in s.marks]
    if not changed:
        return gettext("No host was changed, so that it only ends.")
    mirrored = [s for s in changed if is_only_shadowed(s, document.shadow, document.shares)]
    emptied = [s for s in changed if s.host.name in document.recreated]
    dropped = to_be_loaded(document, steps)
    cold = [s for s in changed if s.host.name in dropped and s not in emptied and s not in mirrored]
    warm = [s for s in changed if s not in (*emptied, *cold, *mirrored)]
    parts = []
    if warm:
        said = ngettext(
            "%(hosts)s switches back to version %(version)s, which is still warm there",
            "%(hosts)s switch back to version %(version)s, which is still warm there",
            len(warm),
        )
        parts.append(_told(said, warm, origin))
    if cold:
        said = ngettext(
            "%(hosts)s loads version %(version)s again, since the engine may have dropped it at the switch, and "
            "switches back once its golden test has passed",
            "%(hosts)s load version %(version)s again, since the engine may have dropped it at the switch, and "
            "switch back once its golden test has passed",
            len(cold),
        )
        parts.append(_told(said, cold, origin))
    if emptied:
        said = gettext("of %(hosts)s each leaves service, loads version %(version)s again, and comes back")
        parts.append(_told(said, emptied, origin))
    if mirrored:
        said = ngettext(
            "%(hosts)s ceases to ask version %(version)s beside, and was not switched",
            "%(hosts)s cease to ask version %(version)s beside, and were not switched",
            len(mirrored),
        )
        parts.append(_told(said, mirrored, run.plan.to_version))
    return gettext("%(parts)s. The latest wave goes first.") % {"parts": "; ".join(parts)}
