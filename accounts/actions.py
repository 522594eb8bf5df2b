"""The verbs on people, roles, sessions and tokens."""

import datetime
import hashlib
import secrets
from collections.abc import Iterable
from typing import Any

from allauth.usersessions.models import UserSession
from django.contrib.auth.password_validation import validate_password
from django.db import transaction
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils.translation import gettext

from accounts.authority.actions import FRESH_PROOF, end_delegation, end_grant, end_role, give_role, grant_role
from accounts.authority.models import Delegation, RoleGrant
from accounts.errors import AccountError
from accounts.models import ApiToken, User
from accounts.permissions import MACHINE_SCOPES, SCOPES, WORDS, may
from audit.actions import ANONYMOUS, Actor, Target, record
from audit.clock import database_now

TOKEN_MARK = "lg"  # noqa: S105 (the public beginning of every token)

__all__ = [
    "FRESH_PROOF",
    "AccountError",
    "actor_for",
    "create_user",
    "deactivate_user",
    "end_role",
    "end_sessions_of",
    "grant_role",
    "issue_token",
    "reactivate_user",
    "record_denial",
    "revoke_token",
    "token_digest",
]


def actor_for(*, user: User | None = None, token: ApiToken | None = None, request: HttpRequest | None = None) -> Actor:
    """The log's name for who acts: the person's pseudonym, and how that person was recognised."""
    if request is not None:
        user = request.user if user is None else user
        token = getattr(request, "auth", None) if token is None else token
    if user is None or not user.is_authenticated:
        return ANONYMOUS
    if isinstance(token, ApiToken):
        return Actor("token", user.pseudonym, {"method": "token", "token": token.prefix})
    return Actor("user", user.pseudonym, {"method": "session"})


def record_denial(*, actor: Actor, permission: str, path: str) -> None:
    """Put on record that somebody asked for what they may not do. An address may hold a person's name, or whatever was
    typed into it, so it stands beside the log, where it can be erased."""
    record(
        action="access.deny",
        target=Target("permission", permission),
        actor=actor,
        reason=path[:300],
        outcome="denied",
    )


@transaction.atomic
def create_user(
    *,
    username: str,
    email: str,
    full_name: str,
    password: str,
    roles: Iterable[str],
    actor: Actor,
    by: User | None = None,
) -> User:
    """A person who can sign in. Where an administrator asks (`by`), roles that approve are proposed only.

    Raises ValidationError for a weak password, AccountError for a name or an e-mail address that is taken: one person
    is one account, so that nobody fills two seats.
    """
    validate_password(password)
    if User.objects.filter(username__iexact=username).exists():
        raise AccountError(gettext("The user name %(username)s is taken. Choose another.") % {"username": username})
    if email and User.objects.filter(email__iexact=email).exists():
        raise AccountError(
            gettext("There is an account with the address %(email)s. One person has one account.") % {"email": email}
        )
    first, _, last = full_name.partition(" ")
    user = User.objects.create_user(username, email, password, first_name=first, last_name=last)
    record(action="user.create", target=Target("user", user.pseudonym), actor=actor)
    for role in roles:
        if by is None:
            grant_role(user=user, role=role, granted_by=None, actor=actor)
        else:
            give_role(user=user, role=role, scope=None, by=by, actor=actor)
    return user


@transaction.atomic
def deactivate_user(*, user: User, by: User | None, actor: Actor) -> None:
    """Nobody signs in as this person any more; sessions, tokens, roles and loans end at once.

    `by` is None for a program on the machine itself. Raises AccountError for oneself, for the last administrator, and
    for one who was deactivated before.
    """
    if by is not None and user.pk == by.pk:
        raise AccountError(gettext("You can't deactivate yourself. Ask another administrator."))
    if not User.objects.filter(pk=user.pk, is_active=True).update(is_active=False):
        raise AccountError(gettext("%(user)s was deactivated before.") % {"user": user})
    for grant in RoleGrant.objects.filter(user=user, until=None):
        end_grant(grant=grant, actor=actor)
    for loan in Delegation.objects.filter(borrower=user, ended_at=None, ends__gt=Now()):
        end_delegation(delegation=loan, actor=actor)
    for token in ApiToken.objects.filter(owner=user, revoked_at=None):
        revoke_token(token=token, actor=actor)
    end_sessions_of(user=user, actor=actor)
    record(action="user.deactivate", target=Target("user", user.pseudonym), actor=actor)


@transaction.atomic
def reactivate_user(*, user: User, actor: Actor) -> None:
    """Let the person sign in again; the roles of before do not come back. Raises AccountError for an active one, and
    for one who was erased."""
    if user.username == user.pseudonym:
        raise AccountError(gettext("This person was erased. Make a new account instead."))
    if not User.objects.filter(pk=user.pk, is_active=False).update(is_active=True):
        raise AccountError(gettext("%(user)s can sign in already.") % {"user": user})
    record(action="user.reactivate", target=Target("user", user.pseudonym), actor=actor)


@transaction.atomic
def end_sessions_of(*, user: User, actor: Actor) -> int:
    """Sign all of a person's browsers out, and say how many there were."""
    sessions = list(UserSession.objects.filter(user=user))
    for session in sessions:
        session.end()
        record(action="session.end", target=Target("user", user.pseudonym), actor=actor)
    return len(sessions)


@transaction.atomic
def issue_token(
    *,
    owner: User,
    name: str,
    scopes: Iterable[str],
    expires_at: datetime.datetime | None,
    actor: Actor,
    proved_at: datetime.datetime | None = None,
) -> tuple[ApiToken, str]:
    """A token for a program and its secret, which is shown once: only its SHA-256 is kept.

    `proved_at` is when the owner last proved who they are; approving through the API counts from then.
    Raises AccountError for an unknown scope, for one that the owner's roles do not carry, and for `approve` without
    a proof of the last five minutes: else a session left open could approve without a password.
    """
    wanted = sorted(set(scopes))
    for scope in wanted:
        if scope not in SCOPES:
            raise AccountError(
                gettext("There is no scope %(scope)s. The scopes are: %(names)s.")
                % {"scope": scope, "names": ", ".join(sorted(SCOPES))}
            )
        allowed = may(owner, "admin" if scope in MACHINE_SCOPES else scope)
        if not allowed:
            raise AccountError(
                gettext("A token can't do more than its owner: %(owner)s may not %(words)s.")
                % {"owner": owner, "words": WORDS[scope]}
            )
    if "approve" in wanted and (proved_at is None or database_now() - proved_at > FRESH_PROOF):
        raise AccountError(
            gettext("A token that may approve needs a fresh proof of who you are. Confirm your password first.")
        )
    prefix, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
    full = f"{TOKEN_MARK}_{prefix}_{secret}"
    token = ApiToken.objects.create(
        owner=owner,
        name=name,
        prefix=prefix,
        sha256=token_digest(full),
        scopes=wanted,
        expires_at=expires_at,
        proved_at=proved_at,
    )
    data: dict[str, Any] = {"owner": owner.pseudonym, "scopes": wanted}
    if expires_at is not None:
        data["expires_at"] = expires_at.isoformat()
    record(action="token.issue", target=Target("token", prefix), actor=actor, data=data)
    return token, full


@transaction.atomic
def revoke_token(*, token: ApiToken, actor: Actor) -> None:
    """End a token at once. Raises AccountError when it was ended before."""
    if not ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=Now()):
        raise AccountError(gettext("The token %(name)s was revoked before.") % {"name": token.name})
    record(action="token.revoke", target=Target("token", token.prefix), actor=actor)


def token_digest(full: str) -> str:
    return hashlib.sha256(full.encode()).hexdigest()
