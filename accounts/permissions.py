"""What each role may do, and the one function that asks."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NoReturn, Protocol, runtime_checkable

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.holdings import Holding, holdings
from accounts.models import Role, User

RESPOND = frozenset({"view", "incident.respond", "plan.propose", "role.lend"})
COMMAND = RESPOND | {"incident.command", "plan.start", "plan.stop", "status.publish", "approve", "break_glass"}

PERMISSIONS: dict[str, frozenset[str]] = {
    Role.VIEWER: frozenset({"view"}),
    Role.RESPONDER: RESPOND,
    Role.COMMANDER: COMMAND,
    Role.APPROVER: frozenset({"view", "approve", "plan.stop", "role.lend"}),
    Role.ANALYST: frozenset({"view", "predictions.read"}),
    Role.AUDITOR: frozenset({"view", "audit.view", "audit.export"}),
    Role.ADMINISTRATOR: frozenset(
        {"view", "registry.write", "status.publish", "admin", "plan.propose", "role.lend", "approve"}
    ),
}

# Roles on which approvals rest: those that fill a seat, and administrators, who confirm grants and set policies.
APPROVING_ROLES = frozenset(str(role) for role, held in PERMISSIONS.items() if held & {"approve", "admin"})
# Roles that can be limited to some teams and models, or lent; the others are about all of Lastgood.
SCOPED_ROLES = frozenset({str(Role.RESPONDER), str(Role.COMMANDER), str(Role.APPROVER)})

# Rights of programs alone: no role carries them, an administrator issues a token that has them.
MACHINE_SCOPES = frozenset({"ingest", "witness"})
SCOPES = frozenset().union(*PERMISSIONS.values()) | MACHINE_SCOPES

WORDS: dict[str, str] = {
    "view": _("read what is going on"),
    "incident.respond": _("work on incidents"),
    "incident.command": _("command incidents"),
    "plan.propose": _("propose a plan"),
    "plan.start": _("start a plan"),
    "plan.stop": _("stop a run"),
    "approve": "approve",
    "role.lend": _("lend a role of your own"),
    "break_glass": _("break the glass"),
    "status.publish": _("publish on a status page"),
    "predictions.read": _("read rows of predictions"),
    "audit.view": _("read the log"),
    "audit.export": _("export the log"),
    "registry.write": _("change the registry"),
    "admin": _("administer Lastgood"),
    "ingest": _("send data in"),
    "witness": _("cosign the log's checkpoints"),
}


def user_of(request: Any) -> User:
    """Who asks, in a view that only people who are signed in reach."""
    assert isinstance(request.user, User)
    return request.user


def user_roles(user: User) -> frozenset[str]:
    """The roles that count now, for whatever models, read once per user object."""
    if not user.is_authenticated or not user.is_active:
        return frozenset()
    return frozenset(holding.role for holding in held_by(user))


def roles_for(user: User, *, model: str = "", team: str = "", not_lent_by: Collection[int] = ()) -> frozenset[str]:
    """The user's roles that hold now for one model (its slug) of one team; what is limited to others is left out, and
    what people of those keys lent."""
    if not user.is_authenticated or not user.is_active:
        return frozenset()
    held = (row for row in held_by(user) if row.covers(model=model, team=team))
    return frozenset(row.role for row in held if row.lender_id is None or row.lender_id not in not_lent_by)


def held_by(user: User) -> list[Holding]:
    """What the user holds now, read once per user object."""
    if not hasattr(user, "_holdings"):
        user._holdings = holdings([user])
    return user._holdings


def forget_roles(user: User) -> None:
    """Read the roles of this user object anew when they are next asked for."""
    user.__dict__.pop("_holdings", None)


def permissions_of(roles: Iterable[str]) -> frozenset[str]:
    return frozenset().union(*(PERMISSIONS.get(role, frozenset()) for role in roles))


def may(user: User, permission: str, *, model: str = "", team: str = "") -> bool:
    """Whether a role of the user's carries the permission: any of them, or one that holds for the model where one is
    named."""
    roles = roles_for(user, model=model, team=team) if model else user_roles(user)
    return permission in permissions_of(roles)


@runtime_checkable
class Concerning(Protocol):
    """A row that is about models (each with `slug` and `team`). What is done to it asks for a role that holds for all
    of them; where there are none, any role that carries the permission will do."""

    def concerned_models(self) -> Sequence[Any]: ...


def may_on(user: User, permission: str, thing: object) -> bool:
    """Whether the user may do that to the thing: by a role that holds for each model that it is about. To look at
    things asks for no particular model."""
    if not may(user, permission):
        return False
    models = thing.concerned_models() if permission != "view" and isinstance(thing, Concerning) else ()
    return all(may(user, permission, model=model.slug, team=model.team) for model in models)


def roles_that(permission: str) -> list[str]:
    """The roles that carry the permission."""
    return [str(role) for role, held in PERMISSIONS.items() if permission in held]


def roles_with(permission: str) -> list[str]:
    """The labels of the roles that carry the permission, for sentences."""
    return [str(Role(role).label) for role in roles_that(permission)]


def refusal(permission: str, *, limited: bool = False) -> str:
    """A sentence that says whom to ask; `limited`: the person's role is one, and holds for other models only."""
    roles = gettext(" or ").join(role.lower() for role in roles_with(permission))
    named = {"what": WORDS.get(permission, permission), "who": roles or gettext("program with that scope")}
    if limited:
        return gettext("You may not %(what)s here: your role is for other models. Ask another %(who)s.") % named
    return gettext("You may not %(what)s. Ask a person with the role %(who)s.") % named


def require(subject: HttpRequest | User, permission: str, *, model: str = "", team: str = "") -> None:
    """Pass, or record the denial and raise PermissionDenied with a sentence that says whom to ask. What is done to a
    model names it, so that a role which is limited to others does not count.

    For a request that came with an API token, the token's scopes must hold the permission as well.
    """
    user, token = _asker(subject)
    if may(user, permission, model=model, team=team) and (token is None or permission in token.scopes):
        return
    _deny(subject, permission)


def require_on(subject: HttpRequest | User, permission: str, thing: object) -> None:
    """The same for what is done to a thing, as `may_on` judges it."""
    user, token = _asker(subject)
    if may_on(user, permission, thing) and (token is None or permission in token.scopes):
        return
    _deny(subject, permission)


def _asker(subject: Any) -> tuple[User, Any]:
    user = subject.user if isinstance(subject, HttpRequest) else getattr(subject, "user", subject)
    return user, getattr(subject, "auth", None)


def _deny(subject: Any, permission: str) -> NoReturn:
    from accounts.actions import actor_for, record_denial

    user, token = _asker(subject)
    record_denial(actor=actor_for(user=user, token=token), permission=permission, path=getattr(subject, "path", ""))
    raise PermissionDenied(refusal(permission, limited=may(user, permission) and token is None))
