"""The reads of pulled metrics that are more than one line."""

from audit.english import in_english
from monitoring.pull.models import Query, Scrape
from registry.models import Endpoint


def unanswered(endpoint: Endpoint) -> list[str]:
    """What does not come in about an endpoint, as sentences: hosts' pages that can't be read, queries that fail."""
    down = Scrape.objects.filter(
        host__placements__endpoint=endpoint, ended_at=None, down_since__isnull=False
    ).select_related("host").distinct()  # fmt: skip
    failing = Query.objects.filter(endpoint=endpoint, ended_at=None).exclude(problem="")
    return [
        f"No figures from {one.host.name} ({in_english(one.get_exporter_display)}) since "
        f"{one.down_since:%Y-%m-%d %H:%M:%S} UTC: {one.problem}"
        for one in down
    ] + [f"{one.name} can't be pulled: {one.problem}" for one in failing]
