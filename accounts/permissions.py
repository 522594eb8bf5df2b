"""What each role may do, and the one function that asks."""

from collections.abc import Collection, Iterable

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

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
    "view": "read what is going on",
    "incident.respond": "work on incidents",
    "incident.command": "command incidents",
    "plan.propose": "propose a plan",
    "plan.start": "start a plan",
    "plan.stop": "stop a run",
    "approve": "approve",
    "role.lend": "lend a role of your own",
    "break_glass": "break the glass",
    "status.publish": "publish on a status page",
    "predictions.read": "read rows of predictions",
    "audit.view": "read the log",
    "audit.export": "export the log",
    "registry.write": "change the registry",
    "admin": "administer Lastgood",
    "ingest": "send data in",
    "witness": "cosign the log's checkpoints",
}


def user_roles(user: User) -> frozenset[str]:
    """The roles that count now, for whatever models, read once per user object."""
    if not user.is_authenticated or not user.is_active:
        return frozenset()
    return frozenset(holding.role for holding in _held(user))


def roles_for(user: User, *, model: str = "", team: str = "", not_lent_by: Collection[int] = ()) -> frozenset[str]:
    """The user's roles that hold now for one model (its slug) of one team; what is limited to others is left out, and
    what people of those keys lent."""
    if not user.is_authenticated or not user.is_active:
        return frozenset()
    held = (row for row in _held(user) if row.covers(model=model, team=team))
    return frozenset(row.role for row in held if row.lender_id is None or row.lender_id not in not_lent_by)


def _held(user: User) -> list[Holding]:
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


def roles_that(permission: str) -> list[str]:
    """The roles that carry the permission."""
    return [str(role) for role, held in PERMISSIONS.items() if permission in held]


def roles_with(permission: str) -> list[str]:
    """The labels of the roles that carry the permission, for sentences."""
    return [str(Role(role).label) for role in roles_that(permission)]


def refusal(permission: str) -> str:
    who = " or ".join(role.lower() for role in roles_with(permission)) or "program with that scope"
    return f"You may not {WORDS.get(permission, permission)}. Ask a person with the role {who}."


def require(subject: HttpRequest | User, permission: str, *, model: str = "", team: str = "") -> None:
    """Pass, or record the denial and raise PermissionDenied with a sentence that says whom to ask. What is done to a
    model names it, so that a role which is limited to others does not count.

    For a request that came with an API token, the token's scopes must hold the permission as well.
    """
    from accounts.actions import actor_for, record_denial

    user = subject.user if isinstance(subject, HttpRequest) else getattr(subject, "user", subject)
    token = getattr(subject, "auth", None)
    if may(user, permission, model=model, team=team) and (token is None or permission in token.scopes):
        return
    path = getattr(subject, "path", "")
    actor = actor_for(user=user, token=token)
    record_denial(actor=actor, permission=permission, path=path)
    raise PermissionDenied(refusal(permission))
