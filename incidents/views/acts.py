"""What a verb of an incident is made of: who does it to what, and what it asks for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django import forms

from accounts.models import User
from audit.actions import Actor
from incidents.models import Incident


@dataclass(frozen=True)
class Act:
    """Who does it to what, with what was typed."""

    incident: Incident
    typed: dict[str, Any]
    user: User
    actor: Actor

    @property
    def seen(self) -> int | None:
        return self.typed.get("version")


@dataclass(frozen=True)
class Verb:
    """`do` returns the sentence that says what was done. `leads` is where one goes on: the incident, or a part of it
    after a slash."""

    permission: str
    form: type[forms.Form]
    title: str
    button: str
    do: Callable[[Act], str]
    leads: str = ""
