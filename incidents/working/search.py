"""One search over incidents, what was written about them, reviews, runbooks, models, endpoints and hosts.

PostgreSQL's full text in English finds words in any of their forms; `"a phrase"`, `or` and `-without` work as in web
searches. Names of models, endpoints and hosts, and references such as INC-12, are also found by a part of them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django.contrib.postgres.search import SearchHeadline, SearchQuery, SearchRank
from django.db.models import F, Q, QuerySet
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext

from incidents.models import Incident, Review, Update, words_of
from incidents.working.models import Note, Runbook, Task
from registry.models import Endpoint, Host, Model

MOST, SHORTEST = 10, 2
OPENS, CLOSES = "\x02", "\x03"
"""Around a found word while it is text still; neither can come from a person's writing."""


@dataclass(frozen=True)
class Hit:
    """Something found: what it is called, where it is, and a piece of its text with the found words marked."""

    title: str
    href: str
    piece: SafeString


@dataclass(frozen=True)
class Group:
    """Hits of one kind, the best first; `more` where not all are shown."""

    name: str
    hits: list[Hit]
    more: bool


@dataclass(frozen=True)
class _Source:
    name: str
    rows: Callable[[], QuerySet[Any]]
    columns: tuple[str, ...]
    title: Callable[[Any], str]
    href: Callable[[Any], str]


def _of_incident(row: Any, what: str = "") -> str:
    return f"{row.incident.ref}{what}: {row.incident.title}"


SOURCES = (
    _Source(
        "Incidents",
        lambda: Incident.objects.all(),
        ("title", "assessment"),
        lambda row: f"{row.ref}: {row.title}",
        lambda row: f"/incidents/{row.ref}/",
    ),
    _Source(
        "Notes",
        lambda: Note.objects.select_related("incident"),
        ("text",),
        _of_incident,
        lambda row: f"/incidents/{row.incident.ref}/timeline/?at={row.seq}#event-{row.seq}",
    ),
    _Source(
        "Updates",
        lambda: Update.objects.select_related("incident"),
        ("conditions", "actions", "needs"),
        _of_incident,
        lambda row: f"/incidents/{row.incident.ref}/timeline/?kind=notes",
    ),
    _Source(
        "Tasks",
        lambda: Task.objects.select_related("incident"),
        ("text",),
        _of_incident,
        lambda row: f"/incidents/{row.incident.ref}/work/",
    ),
    _Source(
        "Reviews",
        lambda: Review.objects.select_related("incident"),
        ("summary", "impact", "causes", "went_well", "went_badly"),
        lambda row: _of_incident(row, ", review"),
        lambda row: f"/reviews/{row.incident.ref}/",
    ),
    _Source(
        "Runbooks",
        lambda: Runbook.objects.filter(retired_at=None),
        ("title", "body"),
        lambda row: row.title,
        lambda row: f"/runbooks/{row.slug}/",
    ),
)


def search(text: str) -> list[Group]:
    """What the text finds, in groups; empty groups are left out. Nothing is counted: a search costs ten queries."""
    text = text.replace("\x00", "").strip()
    if len(text) < SHORTEST:
        return []
    found = [*_names(text), *(_words(source, text) for source in SOURCES)]
    return [group for group in found if group.hits]


def _words(source: _Source, text: str) -> Group:
    query = SearchQuery(text, search_type="websearch", config="english")
    vector = words_of(*source.columns)
    found = source.rows().annotate(words=vector).filter(words=query)
    best = found.annotate(rank=SearchRank(vector, query)).order_by("-rank", "-pk")[: MOST + 1]
    keys = [row.pk for row in best.only("pk").select_related(None)]
    pieces = {name: _headline(name, query) for name in source.columns}
    rows = {row.pk: row for row in source.rows().filter(pk__in=keys[:MOST]).annotate(**_aliased(pieces))}
    hits = [
        Hit(source.title(rows[key]), source.href(rows[key]), _marked(rows[key], source.columns)) for key in keys[:MOST]
    ]
    return Group(source.name, hits, len(keys) > MOST)


def _headline(column: str, query: SearchQuery) -> SearchHeadline:
    return SearchHeadline(
        F(column), query, config="english", start_sel=OPENS, stop_sel=CLOSES, max_words=28, min_words=12
    )


def _aliased(pieces: dict[str, SearchHeadline]) -> dict[str, SearchHeadline]:
    return {f"piece_{name}": piece for name, piece in pieces.items()}


def _marked(row: Any, columns: Iterable[str]) -> SafeString:
    """The first piece in which a word was found, escaped, then marked."""
    pieces = [getattr(row, f"piece_{name}") or "" for name in columns]
    best = next((piece for piece in pieces if OPENS in piece), pieces[0])
    return mark_safe(escape(best).replace(OPENS, "<mark>").replace(CLOSES, "</mark>"))  # noqa: S308  escaped just before


def _names(text: str) -> list[Group]:
    """What is called so, or nearly."""
    part = Q(slug__icontains=text) | Q(name__icontains=text)
    refs = Incident.objects.filter(ref__iexact=text)
    named = [
        (
            gettext("By reference"),
            refs,
            lambda row: f"{row.ref}: {row.title}",
            lambda row: f"/incidents/{row.ref}/",
            "",
        ),
        (
            "Models",
            Model.objects.filter(part | Q(description__icontains=text)),
            lambda row: row.name,
            lambda row: f"/models/{row.slug}/",
            "description",
        ),
        (
            "Endpoints",
            Endpoint.objects.filter(part),
            lambda row: row.slug,
            lambda row: f"/endpoints/{row.slug}/",
            "name",
        ),
        (
            "Hosts",
            Host.objects.filter(name__icontains=text).prefetch_related("placements__endpoint"),
            lambda row: row.name,
            _page_of_host,
            "address",
        ),
    ]
    return [_called(*one) for one in named]


def _page_of_host(host: Host) -> str:
    placement = next(iter(host.placements.all()), None)
    return f"/endpoints/{placement.endpoint.slug}/" if placement else "/endpoints/"


def _called(
    name: str, rows: QuerySet[Any], title: Callable[[Any], str], href: Callable[[Any], str], piece: str
) -> Group:
    found = list(rows.order_by("pk")[: MOST + 1])
    hits = [Hit(title(row), href(row), escape(getattr(row, piece)[:200] if piece else "")) for row in found[:MOST]]
    return Group(name, hits, len(found) > MOST)
