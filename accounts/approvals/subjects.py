"""What an approval is about, told by the floor that owns it.

A floor above registers a provider for its kind of subject, so that the approval page can show the plan without this
floor importing it. What a provider tells becomes the evidence that an approver is shown, so it is JSON throughout,
and in English whoever looks: all who approve are shown the same bytes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from accounts.approvals.models import ApprovalRequest
from audit.english import english

Section = dict[str, Any]
"""One block of the page: {"title", "kind", ...} where kind is

diff    rows: what changes, as `parts/plan_diff.html` takes it
terms   rows: [{"label", "value"}]
checks  rows: questions with their answers, as `parts/check_row.html` takes them
list    rows: sentences
table   head: names of columns, rows: lists of as many texts
claims  rows: [{"claim", "number", "limit", "window", "source", "values"}], as `parts/evidence_card.html` takes them

and `note`, optionally: a sentence below.
"""


@dataclass(frozen=True)
class Subject:
    """`sentence` names object and consequence; `sections` are what an approver reads, and become the evidence; `why` is
    the proposer's own words, which can be erased and therefore stay out of it. `going` while what was approved is being
    carried out, so that an objection still stops something. `moved` says in a sentence each what no longer is as it was
    put to the approvers: then it can't be approved any more."""

    title: str
    sentence: str
    sections: list[Section] = field(default_factory=list)
    why: str = ""
    url: str = ""
    going: bool = False
    moved: list[str] = field(default_factory=list)


def diff_row(group: str, label: str, before: str, after: str) -> dict[str, str]:
    """A row of a section of kind diff: what of which thing changes, from what to what."""
    return {"group": group, "label": label, "before": before, "after": after}


Provider = Callable[[ApprovalRequest], Subject]
_providers: dict[str, Provider] = {}
_moved: dict[str, Callable[[ApprovalRequest], list[str]]] = {}
_participants: dict[str, Callable[[ApprovalRequest], frozenset[str]]] = {}
_more: list[Callable[[ApprovalRequest], list[Section]]] = []


def register(
    kind: str,
    provider: Provider,
    *,
    moved: Callable[[ApprovalRequest], list[str]] | None = None,
    participants: Callable[[ApprovalRequest], frozenset[str]] | None = None,
) -> None:
    """`moved` tells cheaply what `Subject.moved` holds; it is asked within the transaction of each decision.
    `participants` tells the pseudonyms of the people who had a hand in it."""
    _providers[kind] = provider
    if participants is not None:
        _participants[kind] = participants
    if moved is not None:
        _moved[kind] = moved


def register_sections(more: Callable[[ApprovalRequest], list[Section]]) -> None:
    """Let a higher floor show more beside every subject, such as what is known of the incident."""
    _more.append(more)


@english()
def subject_of(request: ApprovalRequest) -> Subject:
    """The subject as its owner tells it; where no floor has registered the kind, title and hash alone."""
    provider = _providers.get(request.subject_kind)
    return Subject(request.title, request.title) if provider is None else provider(request)


@english()
def sections_of(request: ApprovalRequest, subject: Subject) -> list[Section]:
    """Everything that an approver reads, in the order of the page."""
    return [*subject.sections, *(section for more in _more for section in more(request))]


def participants(request: ApprovalRequest) -> frozenset[str]:
    """The pseudonyms of the people who had a hand in what the request is about."""
    tell = _participants.get(request.subject_kind)
    return frozenset() if tell is None else tell(request)


def moved(request: ApprovalRequest) -> list[str]:
    """What of the subject is no longer as it was put to the approvers, a sentence each."""
    tell = _moved.get(request.subject_kind)
    return [] if tell is None else tell(request)
