"""Who is on call."""

from collections.abc import Callable, Iterable
from datetime import datetime

from django.db.models import Prefetch, QuerySet
from django.db.models.functions import Now

from accounts.models import Roster, Shift, User
from audit.clock import database_now

Source = Callable[[str, datetime], Iterable[int]]
"""Takes a team and a moment, and returns the keys of the people who have a turn then."""

_sources: list[Source] = []


def register(source: Source) -> None:
    """Add a source of turns that are kept here rather than in a calendar; called from ``AppConfig.ready``."""
    if source not in _sources:
        _sources.append(source)


def at(team: str, moment: datetime) -> list[User]:
    """The active people who are on call for the team at the moment, by name: as its calendar says, and as the turns do
    that are kept here."""
    shifts = Shift.objects.filter(roster__team=team, starts__lte=moment, ends__gt=moment, user__isnull=False)
    keys = {*shifts.values_list("user", flat=True), *(key for source in _sources for key in source(team, moment))}
    if not keys:
        return []
    return list(User.objects.filter(pk__in=keys, is_active=True).order_by("first_name", "username"))


def now(team: str) -> list[User]:
    """The same at this moment, by the database's clock."""
    return at(team, database_now())


def rosters() -> QuerySet[Roster]:
    """All of them with `current` and `coming`, the shifts under way and the next ones."""
    shifts = Shift.objects.select_related("user").order_by("starts", "pk")
    current = Prefetch("shifts", queryset=shifts.filter(starts__lte=Now(), ends__gt=Now()), to_attr="current")
    coming = Prefetch("shifts", queryset=shifts.filter(starts__gt=Now()), to_attr="coming")
    return Roster.objects.prefetch_related(current, coming).order_by("team")
