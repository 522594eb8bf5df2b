"""What the clock must wake here."""

from datetime import datetime

from audit.due import Due
from monitoring.due import each_minute
from monitoring.pull.models import Query, Scrape
from monitoring.pull.scraping import unread_hosts

AT_ONCE = 200


def queries(now: datetime) -> list[int]:
    """Stored queries whose time has come, oldest first."""
    due = Query.objects.filter(ended_at=None, next_at__lte=now).order_by("next_at")
    return list(due.values_list("pk", flat=True)[:AT_ONCE])


def scrapes(now: datetime) -> list[int]:
    """Pages of figures whose time has come, oldest first."""
    due = Scrape.objects.filter(ended_at=None, next_at__lte=now).order_by("next_at")
    return list(due.values_list("pk", flat=True)[:AT_ONCE])


SOURCES = [
    Due(task="pull.pull", queue="intake", ids=queries),
    Due(task="pull.scrape", queue="intake", ids=scrapes),
    Due(task="pull.read_host", queue="intake", ids=each_minute(lambda now: unread_hosts())),
]
