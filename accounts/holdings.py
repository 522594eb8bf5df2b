"""Who holds which role now: by a grant that counts, or by a loan of one; everywhere, or for some teams and models."""

import datetime
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.db.models import BigIntegerField, F, QuerySet, Value
from django.db.models.functions import Now
from django.utils.translation import gettext

from accounts.authority.models import Delegation, RoleGrant
from accounts.models import User

MOST_NAMES = 50


@dataclass(frozen=True)
class Holding:
    """That `user_id` holds `role` now. `ref` is the grant's uuid, or the loan's where `lender_id` is set; `since` is
    the instant from which it counts without a break."""

    user_id: int
    role: str
    ref: uuid.UUID
    since: datetime.datetime
    scope: dict[str, list[str]] = field(default_factory=dict)
    lender_id: int | None = None

    def covers(self, *, model: str = "", team: str = "") -> bool:
        """Whether it holds for that model (a slug) or its team. Where neither is named, only what holds everywhere."""
        if not self.scope:
            return True
        return bool(model and model in self.scope.get("models", [])) or bool(
            team and team in self.scope.get("teams", [])
        )


def holdings(users: Iterable[User | int] | None = None, *, roles: Iterable[str] | None = None) -> list[Holding]:
    """What the users (everybody, where None) hold now, in one query; nothing for one who was deactivated.

    A loan counts only between its start and its end, and only while the lender's own grant counts.
    """
    grants, loans = grants_that_count(), loans_that_count()
    if users is not None:
        ids = [user if isinstance(user, int) else user.pk for user in users]
        grants, loans = grants.filter(user__in=ids), loans.filter(borrower__in=ids)
    if roles is not None:
        wanted = list(roles)
        grants, loans = grants.filter(role__in=wanted), loans.filter(role__in=wanted)
    own = grants.values_list("user_id", "role", "uuid", "counts_from", "scope", Value(None, BigIntegerField()))
    lent = loans.values_list("borrower_id", "role", "id", "starts", "scope", F("lender_id"))
    return [Holding(*row) for row in own.union(lent, all=True)]


def grants_that_count() -> QuerySet[RoleGrant]:
    """Grants of active people that have not ended and have rested long enough."""
    return RoleGrant.objects.filter(until=None, counts_from__lte=Now(), user__is_active=True)


def loans_that_count() -> QuerySet[Delegation]:
    """Loans between their start and end, of a grant that itself counts, to active people."""
    return Delegation.objects.filter(
        ended_at=None,
        starts__lte=Now(),
        ends__gt=Now(),
        borrower__is_active=True,
        grant__until=None,
        grant__counts_from__lte=Now(),
        grant__user__is_active=True,
    )


def people_for(role: str, *, model: str = "", team: str = "") -> list[User]:
    """The active people whose `role` ("" for any that may approve) holds for the model or its team, by name."""
    from accounts.approvals.policy import FILL_ANY

    held = holdings(roles=[role] if role else sorted(FILL_ANY))
    ids = {holding.user_id for holding in held if holding.covers(model=model, team=team)}
    return list(User.objects.filter(pk__in=ids).order_by("first_name", "username"))


def normal_scope(scope: dict[str, Any] | None) -> dict[str, list[str]]:
    """The scope with sorted lists, each name once, and no empty list. Raises ValueError with a sentence."""
    if scope is None:
        return {}
    if not isinstance(scope, dict) or set(scope) - {"teams", "models"}:
        raise ValueError(gettext("A scope names teams and models, and nothing else."))
    normal = {}
    for kind, names in scope.items():
        if not isinstance(names, list) or not all(isinstance(name, str) and 0 < len(name) <= 100 for name in names):
            raise ValueError(
                gettext("The %(kind)s of a scope are a list of names of at most 100 characters.") % {"kind": kind}
            )
        if names:
            normal[kind] = sorted(set(names))
    if sum(len(names) for names in normal.values()) > MOST_NAMES:
        raise ValueError(gettext("A scope names at most %(most)s teams and models.") % {"most": MOST_NAMES})
    return normal


def within(inner: dict[str, list[str]], outer: dict[str, list[str]]) -> bool:
    """Whether everything in `inner` is in `outer`; {} is everywhere."""
    if not outer:
        return True
    return bool(inner) and all(set(names) <= set(outer.get(kind, [])) for kind, names in inner.items())
