"""Passwords, and Django's own permission questions, answered from the roles."""

from typing import Any

from allauth.account.auth_backends import AuthenticationBackend
from allauth.account.internal.userkit import filter_users_by_email, get_user_by_username
from django.contrib.auth.backends import BaseBackend
from django.http import HttpRequest

from accounts.models import User
from accounts.permissions import may

DJANGO_PERMISSIONS = {
    "audit.view_auditevent": "audit.view",
    "audit.export": "audit.export",
    "audit.place_hold": "admin",
}


class PasswordBackend(AuthenticationBackend):
    """A password by user name or e-mail address. Each try costs the hashing of one password, whether there is somebody
    of that name or not, so that the time it takes tells nobody who is known here."""

    def _authenticate(self, request: HttpRequest | None, **credentials: Any) -> User | None:
        login = credentials.get("email") or credentials.get("username") or ""
        found = get_user_by_username(login) or next(
            iter(filter_users_by_email(login, prefer_verified=True, for_login=True)), None
        )
        user: User | None = self._check_password(found, credentials.get("password") or "")
        return user


class RoleBackend(BaseBackend):
    def has_perm(self, user_obj: User, perm: str, obj: object = None) -> bool:
        permission = DJANGO_PERMISSIONS.get(perm)
        return permission is not None and obj is None and may(user_obj, permission)
