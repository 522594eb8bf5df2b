"""What each role may do, and the one function that asks."""

from collections.abc import Iterable

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from accounts.models import Role, RoleGrant, User

RESPOND = frozenset({"view", "incident.respond", "plan.propose"})
COMMAND = RESPOND | {"incident.command", "plan.start", "plan.stop", "status.publish", "approve"}

PERMISSIONS: dict[str, frozenset[str]] = {
    Role.VIEWER: frozenset({"view"}),
    Role.RESPONDER: RESPOND,
    Role.COMMANDER: COMMAND,
    Role.APPROVER: frozenset({"view", "approve", "plan.stop"}),
    Role.AUDITOR: frozenset({"view", "audit.view", "audit.export"}),
    Role.ADMINISTRATOR: frozenset({"view", "registry.write", "status.publish", "admin", "plan.propose"}),
}

SCOPES = frozenset().union(*PERMISSIONS.values()) | {"ingest"}

WORDS: dict[str, str] = {
    "view": "read what is going on",
    "incident.respond": "work on incidents",
    "incident.command": "command incidents",
    "plan.propose": "propose a plan",
    "plan.start": "start a plan",
    "plan.stop": "stop a run",
    "approve": "approve",
    "status.publish": "publish on a status page",
    "audit.view": "read the log",
    "audit.export": "export the log",
    "registry.write": "change the registry",
    "admin": "administer Lastgood",
    "ingest": "send data in",
}


def user_roles(user: User) -> frozenset[str]:
    """The roles that the user holds now, read once per user object."""
    if not user.is_authenticated or not user.is_active:
        return frozenset()
    if not hasattr(user, "_roles"):
        user._roles = frozenset(RoleGrant.objects.filter(user=user, until=None).values_list("role", flat=True))
    return user._roles


def permissions_of(roles: Iterable[str]) -> frozenset[str]:
    return frozenset().union(*(PERMISSIONS.get(role, frozenset()) for role in roles))


def may(user: User, permission: str) -> bool:
    return permission in permissions_of(user_roles(user))


def roles_with(permission: str) -> list[str]:
    """The labels of the roles that carry the permission, for sentences."""
    return [str(Role(role).label) for role, held in PERMISSIONS.items() if permission in held]


def refusal(permission: str) -> str:
    who = " or ".join(role.lower() for role in roles_with(permission)) or "program with that scope"
    return f"You may not {WORDS.get(permission, permission)}. Ask a person with the role {who}."


def require(subject: HttpRequest | User, permission: str) -> None:
    """Pass, or record the denial and raise PermissionDenied with a sentence that says whom to ask.

    For a request that came with an API token, the token's scopes must hold the permission as well.
    """
    from accounts.actions import actor_for, record_denial

    user = subject.user if isinstance(subject, HttpRequest) else getattr(subject, "user", subject)
    token = getattr(subject, "auth", None)
    if may(user, permission) and (token is None or permission in token.scopes):
        return
    path = getattr(subject, "path", "")
    actor = actor_for(user=user, token=token)
    record_denial(actor=actor, permission=permission, path=path)
    raise PermissionDenied(refusal(permission))
