"""Reads about people."""

from collections.abc import Iterable

from django.db.models import Q, Value
from django.db.models.functions import Concat

from accounts.models import User

MOST_FOUND = 100


def names_of(pseudonyms: Iterable[str]) -> dict[str, str]:
    """The full name behind each pseudonym that is known, in one query."""
    users = User.objects.filter(pseudonym__in=list(pseudonyms))
    return {user.pseudonym: str(user) for user in users}


def find_people(text: str) -> list[str]:
    """Pseudonyms of those whose full name or user name contains the text, or whose pseudonym it is; at most 100."""
    named = User.objects.alias(full=Concat("first_name", Value(" "), "last_name"))
    found = named.filter(Q(full__icontains=text) | Q(username__icontains=text) | Q(pseudonym=text))
    return list(found.order_by("pk").values_list("pseudonym", flat=True)[:MOST_FOUND])


def pseudonym_of(typed: str) -> str:
    """The pseudonym of the one whose pseudonym or user name was typed; empty where there is none."""
    named = User.objects.filter(Q(pseudonym=typed) | Q(username=typed))
    return named.values_list("pseudonym", flat=True).first() or ""
