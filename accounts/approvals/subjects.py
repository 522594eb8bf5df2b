"""What an approval is about, told by the floor that owns it.

A floor above registers a provider for its kind of subject, so that the approval page can show the plan without this
floor importing it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from accounts.approvals.models import ApprovalRequest


@dataclass(frozen=True)
class Subject:
    """`sentence` names object and consequence; `template_name` is included in the page with `context`. `going` while
    what was approved is being carried out, so that an objection still stops something."""

    title: str
    sentence: str
    template_name: str
    context: dict[str, Any] = field(default_factory=dict)
    url: str = ""
    going: bool = False


Provider = Callable[[ApprovalRequest], Subject]
_providers: dict[str, Provider] = {}


def register(kind: str, provider: Provider) -> None:
    _providers[kind] = provider


def subject_of(request: ApprovalRequest) -> Subject:
    """The subject as its owner tells it; where no floor has registered the kind, title and hash alone."""
    provider = _providers.get(request.subject_kind)
    if provider is None:
        return Subject(request.title, request.title, "accounts/subject_plain.html")
    return provider(request)
