"""Whom a step of an escalation reaches: its targets, read as people and as ways to reach them, now."""

import datetime
import logging
from dataclasses import dataclass, field

from django.db import transaction

from accounts import oncall
from accounts.holdings import people_for
from accounts.models import User
from accounts.permissions import roles_that
from incidents.models import Incident
from incidents.oncall.contacts import contacts, is_used, ways_to
from incidents.oncall.duty import on_call, rotations
from incidents.oncall.models import Contact
from incidents.oncall.policies import EVERYBODY

log = logging.getLogger(__name__)


@dataclass
class Reached:
    """Ways in order, each once; `missed`: targets that reach nobody now, and people without a way that is used now."""

    ways: list[Contact] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)


def reached(targets: list[str], incident: Incident, severity: int, moment: datetime.datetime) -> Reached:
    """Read the targets of a step. What was removed since reaches nobody, and is named."""
    people: dict[int, User] = {}
    found = Reached()
    channels: list[Contact] = []
    for target in targets:
        kind, _, key = target.partition(":")
        try:
            with transaction.atomic():
                if kind == "channel":
                    used = [one for one in contacts().filter(pk=key, user=None) if is_used(one, severity, moment)]
                    channels, named = [*channels, *used], []
                else:
                    used, named = [], _people(kind, key, incident, moment)
        except Exception:
            # One that can't be read, such as turns in a time zone that is known no more, keeps no other asleep.
            log.exception("oncall.target.unreadable target=%s", target)
            used, named = [], []
        if not used and not named:
            found.missed.append(target)
        people |= {person.pk: person for person in named}
    if EVERYBODY in targets:
        team = incident.endpoint.model.team if incident.endpoint else ""
        theirs = contacts().filter(user=None, team=team) if team else contacts().none()
        channels += [one for one in theirs if is_used(one, severity, moment) and one not in channels]
    for key, ways in ways_to(people.values(), severity, moment).items():
        found.ways += ways
        if not ways:
            found.missed.append(f"person:{people[key].pseudonym}")
    found.ways += channels
    return found


def _people(kind: str, key: str, incident: Incident, moment: datetime.datetime) -> list[User]:
    if kind == "person":
        return list(User.objects.filter(pseudonym=key, is_active=True))
    if kind == "rotation":
        rotation = rotations().filter(pk=key).first()
        person = on_call(rotation, moment) if rotation else ""
        return list(User.objects.filter(pseudonym=person, is_active=True)) if person else []
    if kind == "calendar":
        return oncall.at(key, moment)
    return everybody(incident)


def everybody(incident: Incident) -> list[User]:
    """All who may work on the incident."""
    model = incident.endpoint.model if incident.endpoint else None
    about = {"model": model.slug, "team": model.team} if model else {}
    found = {person.pk: person for role in roles_that("incident.respond") for person in people_for(role, **about)}
    return sorted(found.values(), key=lambda person: (str(person), person.pk))
