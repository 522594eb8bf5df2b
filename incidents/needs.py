"""What incidents need: while one is not closed, or is held, nothing of its model is removed."""

from audit import holds
from incidents.models import Incident, IncidentState
from registry.snapshots.needs import Needs


def add_needs(found: Needs) -> None:
    """Adds the models of incidents that are not closed, and of those that a legal hold keeps."""
    known = Incident.objects.filter(endpoint__isnull=False).select_related("endpoint")
    for incident in known.exclude(state=IncidentState.CLOSED):
        assert incident.endpoint is not None
        found.model(incident.endpoint.model_id, f"the incident {incident.ref} is not closed")
    for incident in known.filter(ref__in=list(holds.held_incidents())):
        assert incident.endpoint is not None
        found.model(incident.endpoint.model_id, f"a legal hold on the incident {incident.ref}")
