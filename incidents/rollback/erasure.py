"""What an erased person wrote, in the rows of plans and runs: why one was proposed, given up, stopped, signed off."""

from collections.abc import Sequence

from audit.erasure import ERASED, Written
from incidents.rollback.models import Plan, Run, Watch


def erase(subject: str, written: Sequence[Written]) -> dict[str, int]:
    """Put ERASED for the person's words; counts by table."""
    counts = {"rollback_plan": 0, "rollback_run": 0, "rollback_watch": 0}
    for one in written:
        words = one.text[:500]
        if one.row is None:
            continue
        if one.event.target_kind == "plan":
            plans = Plan.objects.filter(pk=one.row)
            if one.event.action == "rollback.plan.propose":
                counts["rollback_plan"] += plans.filter(reason=one.text).update(reason=ERASED)
            else:
                counts["rollback_plan"] += plans.filter(void_reason=words).update(void_reason=ERASED)
        elif one.event.target_kind == "run":
            counts["rollback_run"] += Run.objects.filter(pk=one.row, state_reason=words).update(state_reason=ERASED)
            watches = Watch.objects.filter(run=one.row, state_reason=words)
            counts["rollback_watch"] += watches.update(state_reason=ERASED)
    return counts
