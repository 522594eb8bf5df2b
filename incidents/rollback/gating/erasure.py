"""What an erased person wrote about gates: why one was retired, or a version refused."""

from collections.abc import Sequence

from audit.erasure import ERASED, Written
from incidents.rollback.gating.models import Acceptance, Asking, GateDefinition


def erase(subject: str, written: Sequence[Written]) -> dict[str, int]:
    """Put ERASED for the person's words; counts by table."""
    counts = {"gating_acceptance": 0, "gating_asking": 0, "gating_gatedefinition": 0}
    for one in written:
        if one.event.action == "gate.retire":
            retired = GateDefinition.objects.filter(retired_reason=one.text[:300])
            counts["gating_gatedefinition"] += retired.update(retired_reason=ERASED)
        elif one.event.action in ("gate.accept", "gate.refuse") and one.row is not None:
            said = Acceptance.objects.filter(asking__run=one.row, reason=one.text[:500]).exclude(reason="")
            counts["gating_acceptance"] += said.update(reason=ERASED)
            shown = Asking.objects.filter(run=one.row, observed=f"refused: {one.text[:500]}"[:300])
            counts["gating_asking"] += shown.update(observed=ERASED)
    return counts
