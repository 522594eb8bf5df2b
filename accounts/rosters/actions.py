"""The verbs of rosters: set one, read it again, remove it."""

import datetime
import hashlib

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext

from accounts.errors import AccountError
from accounts.models import User
from accounts.outgoing import AddressRefused, FetchFailed, fetch, split_address
from accounts.rosters.calendars import MOST_BYTES, CalendarUnreadable, Duty, duties_in
from accounts.rosters.models import Roster, Shift
from audit.actions import Actor, Target, record
from audit.clock import database_now
from audit.dispatch import send_on_commit

AHEAD = datetime.timedelta(days=60)
BEHIND = datetime.timedelta(days=1)
EVERY = datetime.timedelta(minutes=15)
DAILY = datetime.timedelta(days=1)
CLAIM = datetime.timedelta(minutes=1)


def set_roster(*, team: str, actor: Actor, address: str = "", calendar: str = "") -> Roster:
    """Take a team's calendar from a file now, or from an address from now on; the one before is replaced.

    Raises AccountError where neither or both are given, for an address that is none, and for a calendar that can't be
    read.
    """
    if not team.strip() or bool(address) == bool(calendar):
        raise AccountError(
            gettext("Name the team, and give either the address of its calendar or the calendar itself.")
        )
    try:
        if address:
            split_address(address)
        now = database_now()
        duties = duties_in(calendar, now - BEHIND, now + AHEAD) if calendar else None
    except (AddressRefused, CalendarUnreadable) as error:
        raise AccountError(str(error)) from error
    with transaction.atomic():
        roster, _ = Roster.objects.update_or_create(
            team=team.strip()[:100],
            defaults={"address": address, "calendar": calendar, "problem": "", "read_at": None, "next_read_at": now},
        )
        Shift.objects.filter(roster=roster).delete()
        record(
            action="roster.set",
            target=Target("roster", str(roster.pk)),
            actor=actor,
            data={"team": roster.team, "source": "address" if address else "file"},
        )
        if duties is not None:
            _take(roster, calendar, duties, now, actor)
        else:
            send_on_commit("accounts.read_roster", [str(roster.pk)], queue="intake")
    return roster


def read_roster(*, roster_id: int, actor: Actor) -> None:
    """Read the calendar again, from its address where it has one, and spread its shifts two months ahead. Where that
    fails, the shifts of the last good one stay, and the roster says why."""
    roster = Roster.objects.filter(pk=roster_id).first()
    if roster is None:
        return
    now = database_now()
    # One worker waits for a slow server, and not each that the clock wakes meanwhile.
    claimed = Roster.objects.filter(pk=roster_id, next_read_at__lte=now).update(next_read_at=now + CLAIM)
    if not claimed and Roster.objects.filter(pk=roster_id, next_read_at__lte=now + CLAIM).exists():
        return
    try:
        text = roster.calendar
        if roster.address:
            text = fetch(
                roster.address, networks=settings.LASTGOOD_CALENDAR_NETWORKS, limit=MOST_BYTES,
                setting="LASTGOOD_CALENDAR_NETWORKS",
            ).decode()  # fmt: skip
        duties = duties_in(text, now - BEHIND, now + AHEAD)
    except (AddressRefused, FetchFailed, CalendarUnreadable, UnicodeDecodeError) as error:
        _keep(roster, str(error)[:500], now, actor)
        return
    with transaction.atomic():
        _take(roster, text, duties, now, actor)


@transaction.atomic
def remove_roster(*, roster: Roster, actor: Actor) -> None:
    """Nobody is on call for the team any more, as far as is known here."""
    target = Target("roster", str(roster.pk))
    if Roster.objects.filter(pk=roster.pk).delete()[0]:
        record(action="roster.remove", target=target, actor=actor, data={"team": roster.team})


def _take(roster: Roster, text: str, duties: list[Duty], now: datetime.datetime, actor: Actor) -> None:
    """Replace the shifts. On record only where the calendar's text is another than before, or can be read again."""
    before = Roster.objects.select_for_update().get(pk=roster.pk)
    known = _People()
    Shift.objects.filter(roster=roster).delete()
    Shift.objects.bulk_create(
        Shift(roster=roster, user=person, name=name[:200], starts=duty.starts, ends=duty.ends)
        for duty in duties
        for name, person in known.on(duty)
    )
    Roster.objects.filter(pk=roster.pk).update(
        calendar=text, read_at=now, problem="", next_read_at=now + (EVERY if roster.address else DAILY)
    )
    if before.read_at is None or before.calendar != text or before.problem:
        digest = hashlib.sha256(text.encode()).hexdigest()
        data = {"team": roster.team, "sha256": digest, "shifts": len(duties)}
        record(action="roster.read", target=Target("roster", str(roster.pk)), actor=actor, data=data)


@transaction.atomic
def _keep(roster: Roster, problem: str, now: datetime.datetime, actor: Actor) -> None:
    """Leave the shifts as they are, and say why; on record when it was good until then."""
    Roster.objects.filter(pk=roster.pk).update(problem=problem, next_read_at=now + EVERY)
    if not roster.problem:
        target = Target("roster", str(roster.pk))
        data = {"team": roster.team}
        record(action="roster.read", target=target, actor=actor, data=data, reason=problem, outcome="failed")


class _People:
    """Who is meant by a calendar's words: an address, else the title as a full name or a user name."""

    def __init__(self) -> None:
        active = list(User.objects.filter(is_active=True))
        self.by_address = {user.email.casefold(): user for user in active if user.email}
        self.by_name = {str(user).casefold(): user for user in active} | {u.username.casefold(): u for u in active}

    def on(self, duty: Duty) -> list[tuple[str, User | None]]:
        if duty.addresses:
            return [(address, self.by_address.get(address.casefold())) for address in duty.addresses]
        return [(duty.title or "nobody named", self.by_name.get(duty.title.casefold()))]
