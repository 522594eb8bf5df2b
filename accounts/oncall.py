"""Who is on call."""

from django.db.models import Prefetch, QuerySet
from django.db.models.functions import Now

from accounts.models import Roster, Shift, User


def now(team: str) -> list[User]:
    """The active people who are on call for the team at this moment, by the database's clock and by name."""
    shifts = Shift.objects.filter(roster__team=team, starts__lte=Now(), ends__gt=Now(), user__is_active=True)
    return list(User.objects.filter(pk__in=shifts.values("user")).order_by("first_name", "username"))


def rosters() -> QuerySet[Roster]:
    """All of them with `current` and `coming`, the shifts under way and the next ones."""
    shifts = Shift.objects.select_related("user").order_by("starts", "pk")
    current = Prefetch("shifts", queryset=shifts.filter(starts__lte=Now(), ends__gt=Now()), to_attr="current")
    coming = Prefetch("shifts", queryset=shifts.filter(starts__gt=Now()), to_attr="coming")
    return Roster.objects.prefetch_related(current, coming).order_by("team")
