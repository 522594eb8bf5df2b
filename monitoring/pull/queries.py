"""The reads of pulled metrics that are more than one line."""

from django.utils.translation import gettext

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
        gettext("No figures from %(host)s (%(exporter)s) since %(down_since)s UTC: %(problem)s")
        % {
            "host": one.host.name,
            "exporter": in_english(one.get_exporter_display),
            "down_since": f"{one.down_since:%Y-%m-%d %H:%M:%S}",
            "problem": one.problem,
        }
        for one in down
    ] + [gettext("%(one)s can't be pulled: %(problem)s") % {"one": one.name, "problem": one.problem} for one in failing]
