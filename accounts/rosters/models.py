"""Who is on call for a team, as its calendar says."""

from django.conf import settings
from django.db import models


class Roster(models.Model):
    """The on-call calendar of one team: kept at an address that is read again and again, or handed in as a file.

    `calendar` is the last text that could be read; `problem` says why a later one could not, or is empty.
    """

    team = models.CharField(max_length=100, unique=True)
    address = models.CharField(max_length=2000, blank=True)
    calendar = models.TextField(blank=True)
    read_at = models.DateTimeField(null=True, blank=True)
    next_read_at = models.DateTimeField(null=True, blank=True)
    problem = models.TextField(blank=True)

    def __str__(self) -> str:
        return self.team


class Shift(models.Model):
    """From when to when somebody is on call. `user` is empty where nobody here has the calendar's name."""

    roster = models.ForeignKey(Roster, on_delete=models.CASCADE, related_name="shifts")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    name = models.CharField(max_length=200)
    starts = models.DateTimeField()
    ends = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["roster", "ends"], name="accounts_shift_roster_ends")]

    def __str__(self) -> str:
        return f"{self.name} {self.starts:%Y-%m-%d %H:%M}"
