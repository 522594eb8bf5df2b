"""The verbs of rotations: set one, retire it, take somebody's turn, give it back."""

import datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils.translation import gettext

from accounts.models import User
from accounts.permissions import may
from audit.actions import Actor, Target, record
from audit.canonical import instant
from audit.clock import database_now
from incidents.errors import Conflict, IncidentError
from incidents.oncall import turns
from incidents.oncall.duty import layers_of
from incidents.oncall.models import Override, Rotation

MOST_LAYERS = 10
MOST_PEOPLE = 100
LONGEST_OVERRIDE = datetime.timedelta(days=92)


def zone_named(name: str) -> str:
    """The name, where the tz database has it. Raises IncidentError."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise IncidentError(
            gettext("There is no time zone %(name)s. Write one such as Europe/Berlin or UTC.") % {"name": f"{name!r}"}
        ) from None
    return name


@transaction.atomic
def set_rotation(
    *, team: str, name: str, zone: str, layers: list[dict[str, Any]], actor: Actor, rotation: Rotation | None = None,
    seen_version: int | None = None,
) -> Rotation:  # fmt: skip
    """Make a rotation, or change one that was read as `seen_version`. Raises IncidentError for layers that are none,
    and for people who may not work on incidents; Conflict where somebody changed it meanwhile."""
    if not team.strip() or not name.strip():
        raise IncidentError(gettext("Name the team and the rotation."))
    fields = {"team": team.strip()[:100], "name": name.strip()[:100], "zone": zone_named(zone), "layers": _good(layers)}
    try:
        with transaction.atomic():
            if rotation is None:
                made = Rotation.objects.create(**fields)
            else:
                expected = rotation.version if seen_version is None else seen_version
                same = Rotation.objects.filter(pk=rotation.pk, version=expected, retired_at=None)
                if not same.update(version=F("version") + 1, **fields):
                    raise Conflict(Rotation.objects.get(pk=rotation.pk).version)
                made = Rotation.objects.get(pk=rotation.pk)
    except IntegrityError:
        raise IncidentError(
            gettext("%(team)s has a rotation %(rotation)s already. Change that one.")
            % {"team": team.strip(), "rotation": name.strip()}
        ) from None
    data = {"team": made.team, "name": made.name, "zone": made.zone, "layers": made.layers}
    _record("rotation.set", made, actor, data)
    return made


def _good(layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The layers as they are kept. Raises IncidentError with the place and the reason."""
    if len(layers) > MOST_LAYERS:
        raise IncidentError(gettext("A rotation has at most %(most_layers)s layers.") % {"most_layers": MOST_LAYERS})
    try:
        read = layers_of(layers)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        raise IncidentError(
            gettext(
                "A layer has people, begins (such as 2026-11-23T09:00), hours, and windows of days, start and until."
            )
        ) from None
    named = {person for layer in read for person in layer.people}
    known = {user.pseudonym: user for user in User.objects.filter(pseudonym__in=named, is_active=True)}
    for number, layer in enumerate(read, start=1):
        if not 1 <= len(layer.people) <= MOST_PEOPLE:
            raise IncidentError(
                gettext("Layer %(number)s has nobody in it. Name who takes turns, in their order.") % {"number": number}
            )
        if layer.begins.tzinfo is not None:
            raise IncidentError(
                gettext("Layer %(number)s begins at a time of the rotation's own zone: write it without one.")
                % {"number": number}
            )
        if not 2000 <= layer.begins.year <= 2100:
            raise IncidentError(
                gettext("Layer %(number)s begins between the years 2000 and 2100.") % {"number": number}
            )
        if not turns.SHORTEST <= layer.length <= turns.LONGEST:
            raise IncidentError(
                gettext("A shift of layer %(number)s lasts between an hour and 92 days.") % {"number": number}
            )
        if any(not window.days <= frozenset(range(7)) or not window.days for window in layer.windows):
            raise IncidentError(
                gettext("The hours of layer %(number)s are on days from 0 (Monday) to 6.") % {"number": number}
            )
        for person in layer.people:
            if person not in known or not may(known[person], "incident.respond"):
                raise IncidentError(
                    gettext("%(get)s may not work on incidents. Give them a responder's role first.")
                    % {"get": known.get(person, person)}
                )
    return [
        {
            "people": list(layer.people),
            "begins": layer.begins.isoformat(timespec="minutes"),
            "hours": int(layer.length.total_seconds() // 3600),
            "windows": [
                {
                    "days": sorted(window.days),
                    "start": window.start.isoformat("minutes"),
                    "until": window.until.isoformat("minutes"),
                }
                for window in layer.windows
            ],
        }
        for layer in read
    ]


@transaction.atomic
def retire_rotation(*, rotation: Rotation, actor: Actor) -> None:
    """Nobody is on call by it any more; policies that name it reach nobody by it."""
    if not Rotation.objects.filter(pk=rotation.pk, retired_at=None).update(retired_at=Now()):
        raise IncidentError(gettext("This rotation was retired before."))
    _record("rotation.retire", rotation, actor, {"team": rotation.team, "name": rotation.name})


@transaction.atomic
def override(
    *, rotation: Rotation, user: User, starts: datetime.datetime, ends: datetime.datetime, reason: str, by: User,
    actor: Actor,
) -> Override:  # fmt: skip
    """Have `user` on call between two moments, whoever's turn it is. Raises IncidentError without a reason, for a time
    that is over or longer than three months, and for one who may not work on incidents."""
    if not reason.strip():
        raise IncidentError(gettext("Say in a sentence why. Your reason is recorded."))
    if ends <= starts or ends <= database_now() or ends - starts > LONGEST_OVERRIDE:
        raise IncidentError(gettext("An override ends after it starts and after now, and lasts at most three months."))
    if not user.is_active or not may(user, "incident.respond"):
        raise IncidentError(
            gettext("%(user)s may not work on incidents. Choose a responder or a commander.") % {"user": user}
        )
    if not Rotation.objects.filter(pk=rotation.pk, retired_at=None).exists():
        raise IncidentError(gettext("This rotation was retired."))
    made = Override.objects.create(
        rotation=rotation, user=user, starts=starts, ends=ends, reason=reason.strip()[:500], by=by
    )
    data = {"override": made.pk, "holder": user.pseudonym, "starts": instant(starts), "ends": instant(ends)}
    _record("rotation.override", rotation, actor, data, reason.strip())
    return made


@transaction.atomic
def remove_override(*, override: Override, actor: Actor) -> None:
    """From now on the rotation goes as it would have."""
    if not Override.objects.filter(pk=override.pk, removed_at=None).update(removed_at=Now()):
        raise IncidentError(gettext("This override was taken back before."))
    _record("rotation.remove_override", override.rotation, actor, {"override": override.pk})


def _record(action: str, rotation: Rotation, actor: Actor, data: dict[str, Any], reason: str = "") -> None:
    target = Target("rotation", str(rotation.pk), str(rotation.version))
    record(action=action, target=target, actor=actor, data=data, reason=reason)
