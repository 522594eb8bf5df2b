"""An incident examined, and the versions that it could go back to ranked on its own traffic."""

from audit.actions import Actor
from incidents.diagnosing import examine
from incidents.intake import replay_window
from incidents.models import Incident
from incidents.rollback import candidates
from incidents.rollback.slices import Hit


def examine_and_rank(*, incident: Incident, actor: Actor) -> None:
    """Freeze what the examination finds and replace the ranking. Asks hosts: call it in no transaction."""
    examine.try_to_examine(incident_id=incident.pk, actor=actor)
    candidates.rank(
        endpoint=incident.endpoint,
        incident_ref=incident.ref,
        window=replay_window(incident),
        hit=hit_most(incident),
        actor=actor,
    )


def hit_most(incident: Incident) -> Hit | None:
    """The slice that the evidence names as the one with most wrong answers beyond what was usual."""
    newest = incident.evidence.filter(kind="groups").order_by("-pk").first()
    if newest is None:
        return None
    worst = newest.data["groups"][0]
    bounds = [float(worst[end]) if worst.get(end) else None for end in ("low", "high")]
    return Hit(str(worst["feature"]), str(worst["group"]), *bounds)
