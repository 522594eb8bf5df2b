"""The version that a switch leaves, warm for the way back on engines that drop it at the switch: it is staged and
loaded once more beside what serves, while the wave soaks.

A plan that goes back by itself has that done after each of its waves; any other once its last hosts have switched,
since what was to be left must not hold up the hosts that still serve it. It holds nothing else up: a host on which it
can't be done keeps a note that says why, and goes back by loading it.
"""

import logging
from collections.abc import Sequence

from django.db import transaction
from django.db.models import F
from django.utils.translation import gettext

from audit.clock import database_now
from incidents.rollback.document import PlanDocument
from incidents.rollback.effects import MAX_ATTEMPTS, bring, record_step
from incidents.rollback.models import HostStep, Run, StepState, Wave, WaveState
from incidents.rollback.state import change
from incidents.rollback.work import StepFailed, StepWaits, Work
from registry.serving.base import HostUnreachable, OutcomeUnknown, ServingError

logger = logging.getLogger(__name__)

KEPT = "kept"
"""Among a step's notes once it was tried: "" where the old version is warm again, else why it is not."""
LOOK_AGAIN_SECONDS = 1.0


def is_warm_again(step: HostStep) -> bool:
    """Whether the old version was brought into the host's memory again after its switch."""
    return bool(step.notes.get(KEPT) == "")


def kept_in_words(run: Run, step: HostStep) -> str:
    """What became of the old version on a host whose engine dropped it at the switch; "" where nothing was tried."""
    note = step.notes.get(KEPT)
    if note is None or run.plan.from_version is None or step.state != StepState.DONE:
        return ""
    return note or gettext("Version %(number)s was loaded again, to be warm for the way back.") % {
        "number": run.plan.from_version.number
    }


def to_be_loaded(document: PlanDocument, steps: Sequence[HostStep]) -> list[str]:
    """Hosts that can go back only by loading the old version, as far as the run has come."""
    again = {step.host.name for step in steps if is_warm_again(step)}
    return [*document.cold, *(name for name in document.kept if name not in again)]


def owed(work: Work, wave: Wave) -> list[HostStep]:
    """Hosts on which the old version is to be made warm again now that this wave soaks, and was not tried yet."""
    if not work.document.kept:
        return []
    if not work.document.compensates and work.run.waves.filter(state=WaveState.PENDING).exists():
        return []
    done = work.run.steps.filter(wave__index__lte=wave.index, state=StepState.DONE, host__name__in=work.document.kept)
    return list(done.exclude(notes__has_key=KEPT).select_related("host", "wave").order_by("id"))


def keep_warm(work: Work, step_id: int) -> float | None:
    """Bring the old version into one host's memory again. None when that is done or can't be, else the seconds to wait
    before the next look.

    Runs in one of the run's own threads (hands.py). Raises LeaseLost, LostRace.
    """
    step = HostStep.objects.select_related("host", "wave").get(pk=step_id)
    assert work.origin is not None
    try:
        bring(work, step, work.origin)
    except StepWaits as waits:
        return waits.seconds
    except (HostUnreachable, OutcomeUnknown) as error:
        if _may_still_arrive(step):
            return LOOK_AGAIN_SECONDS
        if step.attempts + 1 < MAX_ATTEMPTS:
            change(step, attempts=F("attempts") + 1)
            return LOOK_AGAIN_SECONDS
        _give_up(work, step, str(error))
    except (StepFailed, ServingError) as error:
        _give_up(work, step, str(error))
    else:
        change(step, notes={**step.notes, KEPT: ""})
    return None


def _may_still_arrive(step: HostStep) -> bool:
    """A call was sent whose end is not known: whoever switched now could be overtaken by it."""
    return step.intent_deadline is not None and step.intent_deadline > database_now()


def _give_up(work: Work, step: HostStep, reason: str) -> None:
    logger.warning("rollback.kept.cold run=%s host=%s reason=%s", work.run.id, step.host.name, reason)
    assert work.origin is not None
    said = f"Version {work.origin.number} is not warm there: {reason}"[:300]
    with transaction.atomic():
        data = {"step": step.intent or "load", "state": step.state, "version": work.origin.digest}
        change(step, intent="", intent_deadline=None, attempts=0, notes={**step.notes, KEPT: said})
        record_step(work, step, "rollback.step.outcome", outcome="failed", data=data, reason=said)
