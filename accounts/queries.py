"""Reads about people."""

from collections.abc import Iterable

from accounts.models import User


def names_of(pseudonyms: Iterable[str]) -> dict[str, str]:
    """The full name behind each pseudonym that is known, in one query."""
    users = User.objects.filter(pseudonym__in=list(pseudonyms))
    return {user.pseudonym: str(user) for user in users}
