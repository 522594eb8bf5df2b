"""The tables of the auditors' pages as CSV to take away. That one was taken is itself on record."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping

from django.contrib import messages
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext
from django.views.decorators.http import require_POST

from audit import duties
from audit.actions import Actor, record_view_export
from audit.clock import database_now
from audit.forms import LiveForm, MomentForm, SpanForm
from audit.names import display
from audit.readings import changes, glass, holders, live
from audit.readings.records import Recorded, read
from audit.verify import csv_line
from audit.views.access import EXPORT, actor_of, auditors
from audit.views.jobs import span_of

BATCH = 500
Row = tuple[object, ...]
Asked = Mapping[str, str]


class BadQuestion(Exception):
    """What was asked for makes no sense; the message says why."""


def _span(asked: Asked) -> SpanForm:
    form = SpanForm(asked)
    if not form.is_valid():
        raise BadQuestion(_wrong(form))
    return form


def _wrong(form: Form) -> str:
    return " ".join(str(error) for errors in form.errors.values() for error in errors)


def _changes(asked: Asked) -> Iterator[Row]:
    yield ("at", "change", "of", "environment", "detail", "proposed by", "proposer", "approved by", "approvers",
           "policy", "requester is not approver", "break-glass", "review", "tests", "outcome", "findings", "incident",
           "event")  # fmt: skip
    events = read(changes.changes_in(*span_of(_span(asked))))
    for at in range(0, len(events), BATCH):
        yield from _change_rows(changes.told(events[at : at + BATCH]))


def _change_rows(rows: list[changes.Change]) -> Iterator[Row]:
    names = display({person for row in rows for person in (row.proposer, *(one.by for one in row.approvers)) if person})
    for row in rows:
        yield (
            row.event.at.isoformat(), row.kind, row.subject, row.environment,
            "; ".join(f"{key} {value}" for key, value in row.detail), row.proposer, names.get(row.proposer, ""),
            "; ".join(f"{one.by} as {one.role or 'approver'}" for one in row.approvers),
            "; ".join(names.get(one.by, "") for one in row.approvers), row.policy,
            ("yes" if row.apart else "no") if row.needed else "not asked for", "yes" if row.break_glass else "no",
            row.review.text("verdict") if row.review else "",
            "; ".join(f"{_words(test)} {test.text('answer') or test.outcome}" for test in row.tests), row.outcome,
            " ".join(row.findings), row.event.incident, row.event.uuid,
        )  # fmt: skip


def _words(event: Recorded) -> str:
    return event.action.removeprefix("rollback.").replace(".", " ").replace("_", " ")


def _break_glass(asked: Asked) -> Iterator[Row]:
    yield ("at", "by", "name", "role", "request", "incident", "review due", "state", "reviewed at", "reviewed by",
           "verdict", "event")  # fmt: skip
    form = _span(asked)
    found = glass.uses(form.cleaned_data["since"], form.cleaned_data["until"])
    names = display({use.event.actor for use in found})
    for use in found:
        event, review = use.event, use.review
        yield (
            event.at.isoformat(), event.actor, names[event.actor], event.text("role"), event.text("request"),
            event.incident, event.text("review_due"), use.state_at(database_now()),
            review.at.isoformat() if review else "", review.actor if review else "",
            review.text("verdict") if review else "", event.uuid,
        )  # fmt: skip


def _approvers(asked: Asked) -> Iterator[Row]:
    yield "state", "person", "name", "role", "where", "how", "counts from", "until", "proposed by", "by", "grant"
    form = MomentForm(asked)
    if not form.is_valid():
        raise BadQuestion(_wrong(form))
    at = form.cleaned_data["at"] or database_now()
    known = [held for held in holders.holdings() if held.role in holders.APPROVING]
    names = display({held.user for held in known})
    for held in known:
        yield (
            held.state_at(at), held.user, names[held.user], held.role, held.where, held.how,
            held.since.isoformat() if held.since else "", held.until.isoformat() if held.until else "", held.proposer,
            held.by, held.ref,
        )  # fmt: skip


def _versions(asked: Asked) -> Iterator[Row]:
    yield "endpoint", "host", "version", "digest", "from", "until", "cause", "run", "event"
    known = live.endpoints()
    form = LiveForm(asked, endpoints=list(known))
    if not form.is_valid():
        raise BadQuestion(gettext("Choose one of the endpoints, and a span that makes sense."))
    since, until = span_of(form)
    for endpoint in [form.cleaned_data["endpoint"]] if form.cleaned_data["endpoint"] else known:
        for span in live.spans_of(endpoint, since, until):
            ends = span.until.isoformat() if span.until else ""
            yield (
                endpoint, span.host, span.number, span.digest, span.since.isoformat(), ends, span.cause, span.run,
                span.event.uuid,
            )  # fmt: skip


def _duties(asked: Asked) -> Iterator[Row]:
    yield "duty", "law or standard", "article", "asks for", "quote", "deadline", "recorded", "gaps", "source"
    for duty in duties.load().duties:
        yield (
            duty.title, duty.source, duty.article, duty.asks, duty.quote, duty.deadline, " ".join(duty.recorded),
            " ".join(duty.gaps), duty.url,
        )  # fmt: skip


TABLES: dict[str, Callable[[Asked], Iterable[Row]]] = {
    "changes": _changes,
    "break-glass": _break_glass,
    "approvers": _approvers,
    "versions": _versions,
    "duties": _duties,
}


@require_POST
@auditors(EXPORT)
def export_table(request: HttpRequest, view: str) -> HttpResponse:
    """The table of a page as CSV, in UTF-8, with what would be a formula made harmless."""
    if view not in TABLES:
        raise Http404(gettext("There is no table %(view)s.") % {"view": view})
    asked = {name: str(value)[:100] for name, value in request.POST.items() if name != "csrfmiddlewaretoken" and value}
    try:
        return csv_file(view, TABLES[view](asked), asked, actor_of(request))
    except BadQuestion as wrong:
        messages.error(request, str(wrong))
        return redirect(f"audit-{view}")


def csv_file(view: str, rows: Iterable[Row], asked: Asked, actor: Actor) -> HttpResponse:
    """The rows, the first of which names the columns, as a download that is on record."""
    lines = [csv_line(row) for row in rows]
    body = b"".join(lines)
    digest = hashlib.sha256(body).hexdigest()
    record_view_export(view=view, sha256=digest, rows=len(lines) - 1, asked=dict(asked), actor=actor)
    headers = {"Content-Disposition": f'attachment; filename="lastgood-{view}.csv"'}
    return HttpResponse(body, content_type="text/csv; charset=utf-8", headers=headers)
