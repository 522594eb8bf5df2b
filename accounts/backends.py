"""Django's own permission questions, answered from the roles."""

from django.contrib.auth.backends import BaseBackend

from accounts.models import User
from accounts.permissions import may

DJANGO_PERMISSIONS = {"audit.view_auditevent": "audit.view", "audit.export": "audit.export"}


class RoleBackend(BaseBackend):
    def has_perm(self, user_obj: User, perm: str, obj: object = None) -> bool:
        permission = DJANGO_PERMISSIONS.get(perm)
        return permission is not None and obj is None and may(user_obj, permission)
