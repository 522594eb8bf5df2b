"""Who is at the other end of an API call: a token, or the browser's session."""

import json
import re
from datetime import timedelta
from typing import Any

from django.db import connection
from django.db.models import Model, Q
from django.utils import timezone
from rest_framework import authentication, exceptions, permissions
from rest_framework.request import Request

from accounts.actions import actor_for, record_denial, token_digest
from accounts.models import ApiToken, User
from accounts.permissions import MACHINE_SCOPES, may, may_on, permissions_of, refusal, roles_for
from accounts.throttles import count_failure

TOKEN_SHAPE = re.compile(r"lg_[0-9a-f]{8}_[A-Za-z0-9_-]{20,100}")
LAST_USED_STEP = timedelta(minutes=1)


class TokenAuthentication(authentication.BaseAuthentication):
    """`Authorization: Bearer lg_<prefix>_<secret>`; the user is the token's owner, `request.auth` the token."""

    keyword = "Bearer"

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        parts = authentication.get_authorization_header(request).decode("latin-1").split()
        if not parts or parts[0].lower() != self.keyword.lower():
            return None
        if len(parts) != 2 or not TOKEN_SHAPE.fullmatch(parts[1]):
            count_failure(request)
            raise exceptions.AuthenticationFailed("This is not one of our tokens. It starts with lg_.")
        try:
            return _owner_of(parts[1])
        except exceptions.AuthenticationFailed:
            count_failure(request)
            raise

    def authenticate_header(self, request: Request) -> str:
        return self.keyword


def _owner_of(full: str) -> tuple[User, ApiToken]:
    now = timezone.now()
    token = _live_token(token_digest(full))
    if token is None or not token.owner.is_active:
        raise exceptions.AuthenticationFailed("This token is unknown, expired or revoked. Ask its owner for another.")
    if token.last_used_at is None or token.last_used_at < now - LAST_USED_STEP:
        stale = Q(last_used_at=None) | Q(last_used_at__lt=now - LAST_USED_STEP)
        ApiToken.objects.filter(stale, pk=token.pk).update(last_used_at=now)
    return token.owner, token


def _columns(model: type[Model], alias: str) -> str:
    return ", ".join(f"{alias}.{field.column}" for field in model._meta.concrete_fields)


TOKEN_FIELDS = [field.attname for field in ApiToken._meta.concrete_fields]
OWNER_FIELDS = [field.attname for field in User._meta.concrete_fields]
IS_LIVE = "t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > statement_timestamp())"
"""Of a token `t`, in SQL."""
LIVE_TOKEN = (
    f"SELECT {_columns(ApiToken, 't')}, {_columns(User, 'o')} FROM {ApiToken._meta.db_table} t "  # noqa: S608  ours
    f"JOIN {User._meta.db_table} o ON o.id = t.owner_id WHERE t.sha256 = %s AND {IS_LIVE}"
)
"""Said once: every call of the API asks it, and to have it composed for each took longer than the answer."""


def _live_token(digest: str) -> ApiToken | None:
    """The token of that SHA-256 (hex) with its owner, unless it is expired or revoked."""
    with connection.cursor() as cursor:
        cursor.execute(LIVE_TOKEN, [digest])
        row = cursor.fetchone()
    if row is None:
        return None
    token = ApiToken.from_db("default", TOKEN_FIELDS, row[: len(TOKEN_FIELDS)])
    token.scopes = json.loads(token.scopes)
    token.owner = User.from_db("default", OWNER_FIELDS, row[len(TOKEN_FIELDS) :])
    return token


class HasScope(permissions.BasePermission):
    """The view's `required_scope`, a permission or a dict of them by action, is held by the roles and by the token.

    A token with the scope of programs that `machine_scopes` names for the action needs no role beside it.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        if not request.user or not request.user.is_authenticated:
            return False
        scope = scope_of(view)
        token = request.auth if isinstance(request.auth, ApiToken) else None
        machine = getattr(view, "machine_scopes", {}).get(getattr(view, "action", None), scope)
        if token is not None and machine in MACHINE_SCOPES and machine in token.scopes:
            return True
        if token is not None and scope not in token.scopes:
            self.message = f"This token lacks the scope {scope}. Issue one that has it."
        elif may(request.user, scope):
            self._ask_of_the_object(request, view, scope)
            return True
        else:
            self.message = refusal(scope)
        record_denial(actor=actor_for(user=request.user, token=token), permission=scope, path=request.path)
        return False

    @staticmethod
    def _ask_of_the_object(request: Request, view: Any, scope: str) -> None:
        """Whose role is limited is asked about the object before anything of the body is read."""
        named = getattr(view, "lookup_url_kwarg", None) or getattr(view, "lookup_field", "")
        if named in view.kwargs and scope != "view" and scope not in permissions_of(roles_for(request.user)):
            view.get_object()

    def has_object_permission(self, request: Request, view: Any, obj: object) -> bool:
        """Roles that are limited to other models than the object's do not count; a program's own scope needs none."""
        scope = scope_of(view)
        if scope in MACHINE_SCOPES or may_on(request.user, scope, obj) or not may(request.user, scope):
            return True
        self.message = refusal(scope, limited=True)
        token = request.auth if isinstance(request.auth, ApiToken) else None
        record_denial(actor=actor_for(user=request.user, token=token), permission=scope, path=request.path)
        return False


def scope_of(view: Any) -> str:
    required = getattr(view, "required_scope", "view")
    if isinstance(required, dict):
        return required.get(getattr(view, "action", None), required.get("*", "view"))
    return str(required)
