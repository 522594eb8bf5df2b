"""Pages made for an auditor's jobs: changes to production, break-glass, who could approve, what was live, duties."""

import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext, ngettext
from django.views.decorators.http import require_safe

from audit import duties as known_duties
from audit import search
from audit.clock import database_now
from audit.forms import LiveForm, MomentForm, SpanForm
from audit.names import display
from audit.readings import changes as read_changes
from audit.readings import glass, holders, live
from audit.readings.records import of_event
from audit.search import Place
from audit.views.access import EXPORT, READ, auditors

PER_PAGE = 25
DEFAULT_SPAN = datetime.timedelta(days=30)


def page(request: HttpRequest, name: str, context: dict[str, Any]) -> HttpResponse:
    """A page of this kind, with what all of them show."""
    shared = {"here": name, "may_export": request.user.has_perm(EXPORT)}
    return render(request, f"audit/{name.replace('-', '_')}.html", shared | context)


def span_of(form: SpanForm) -> tuple[datetime.datetime | None, datetime.datetime | None]:
    """From and before of a form; the last 30 days where neither was asked for."""
    asked = form.cleaned_data if form.is_bound and form.is_valid() else {}
    since, until = asked.get("since"), asked.get("until")
    return (database_now() - DEFAULT_SPAN if since is None and until is None else since), until


@require_safe
@auditors(READ)
def changes(request: HttpRequest) -> HttpResponse:
    """All changes to production in a span, each with who proposed and approved it and what had been tested."""
    form = SpanForm(request.GET or None)
    since, until = span_of(form)
    before, after = (Place.read(request.GET.get(name, "")) for name in ("before", "after"))
    found = search.page_of(read_changes.changes_in(since, until), PER_PAGE, before=before, after=after)
    rows = read_changes.told([of_event(event) for event in found.events])
    people = {person for row in rows for person in (row.proposer, row.event.actor, *(one.by for one in row.approvers))}
    open_questions = sum(bool(row.findings) for row in rows)
    context = {
        "form": form,
        "rows": rows,
        "page": found,
        "names": display(people),
        "since": since,
        "until": until,
        "sentence": _changes_sentence(len(rows), open_questions, whole=found.whole),
        "tone": "warn" if open_questions else "ok" if rows else "quiet",
    }
    return page(request, "changes", context)


def _changes_sentence(rows: int, questions: int, *, whole: bool) -> str:
    if not rows:
        return gettext("Nothing was changed in this span.")
    counted = (
        ngettext("%(n)s change in this span", "%(n)s changes in this span", rows)
        if whole
        else ngettext("%(n)s change on this page", "%(n)s changes on this page", rows)
    ) % {"n": rows}
    asked = ngettext("%(n)s raises a question", "%(n)s raise a question", questions) % {"n": questions}
    return f"{counted}; {asked if questions else gettext('none raises a question')}."


@require_safe
@auditors(READ)
def break_glass(request: HttpRequest) -> HttpResponse:
    """Uses of break-glass in a span, and whether each was reviewed in time."""
    form = SpanForm(request.GET or None)
    asked = form.cleaned_data if form.is_bound and form.is_valid() else {}
    now = database_now()
    found = glass.uses(asked.get("since"), asked.get("until"))
    people = {use.event.actor for use in found} | {use.review.actor for use in found if use.review}
    states = [use.state_at(now) for use in found]
    late = sum(state in ("overdue", "reviewed late") for state in states)
    context = {
        "form": form,
        "rows": list(zip(found, states, strict=True)),
        "names": display(people),
        "sentence": _glass_sentence(len(found), states.count("owed"), late),
        "tone": "bad" if late else "warn" if "owed" in states else "ok",
    }
    return page(request, "break-glass", context)


def _glass_sentence(found: int, owed: int, late: int) -> str:
    if not found:
        return gettext("Nobody has used break-glass.")
    if not late and not owed:
        used = ngettext(
            "Break-glass was used %(n)s time, each reviewed.", "Break-glass was used %(n)s times, each reviewed.", found
        )
        return used % {"n": found}
    used = ngettext("Break-glass was used %(n)s time", "Break-glass was used %(n)s times", found) % {"n": found}
    if late:
        said = ngettext("%(n)s was not reviewed within 24 hours", "%(n)s were not reviewed within 24 hours", late) % {
            "n": late
        }
    else:
        said = ngettext("%(n)s review is owed", "%(n)s reviews are owed", owed) % {"n": owed}
    return f"{used}; {said}."


@require_safe
@auditors(READ)
def approvers(request: HttpRequest) -> HttpResponse:
    """Who could approve at a moment, and all that is on record of roles that approve."""
    form = MomentForm(request.GET or None)
    at = (form.cleaned_data["at"] if form.is_bound and form.is_valid() else None) or database_now()
    known = [held for held in holders.holdings() if held.role in holders.APPROVING]
    rows = [(held, held.state_at(at)) for held in known]
    people = {person for held in known for person in (held.user, held.by, held.proposer) if person}
    could = {held.user for held, state in rows if state == "counts"}
    resting = sum(state == "resting" for _, state in rows)
    context = {
        "form": form,
        "at": at,
        "rows": sorted(rows, key=lambda row: (ORDER.index(row[1]), row[0].role)),
        "names": display(people),
        "sentence": _approvers_sentence(len(could), resting),
        "tone": "ok" if could else "warn",
    }
    return page(request, "approvers", context)


def _approvers_sentence(could: int, resting: int) -> str:
    said = ngettext("%(n)s person could approve at that moment", "%(n)s people could approve at that moment", could)
    told = [said % {"n": could}]
    if resting:
        said = ngettext(
            "%(n)s more role rests and did not count yet", "%(n)s more roles rest and did not count yet", resting
        )
        told.append(said % {"n": resting})
    return f"{'; '.join(told)}."


ORDER = ("counts", "resting", "proposed", "ended", "refused", "")


def _versions_sentence(endpoint: str, serving: list[str], spans: int, hosts: int) -> str:
    now = gettext("On %(endpoint)s nothing answers now")
    if serving:
        now = gettext("On %(endpoint)s version %(versions)s answers now")
    said = ngettext("%(spans)s spans on %(n)s host here", "%(spans)s spans on %(n)s hosts here", hosts)
    told = [now % {"endpoint": endpoint, "versions": ", ".join(serving)}, said % {"spans": spans, "n": hosts}]
    return f"{'; '.join(told)}."


@require_safe
@auditors(READ)
def versions(request: HttpRequest) -> HttpResponse:
    """Which version answered on which host of an endpoint over time."""
    known = live.endpoints()
    form = LiveForm(request.GET or None, endpoints=list(known))
    asked = form.cleaned_data if form.is_bound and form.is_valid() else {}
    endpoint = asked.get("endpoint") or next(iter(known), "")
    since, until = span_of(form)
    spans = live.spans_of(endpoint, since, until) if endpoint else []
    now = database_now()
    first = min((span.since for span in spans), default=now)
    start = max(since, first) if since else first
    serving = sorted({span.number for span in spans if span.until is None})
    sentence = (
        gettext("No switch of %(endpoint)s is on record.") % {"endpoint": endpoint}
        if endpoint
        else gettext("No endpoint was ever registered.")
    )
    if spans:
        sentence = _versions_sentence(endpoint, serving, len(spans), len({span.host for span in spans}))
    context = {
        "form": form,
        "endpoint": endpoint,
        "facts": known.get(endpoint, ("", "")),
        "spans": spans,
        "drawing": live.drawing(spans, start, until or now) if spans else None,
        "sentence": sentence,
        "tone": "quiet",
    }
    return page(request, "versions", context)


@require_safe
@auditors(READ)
def duties(request: HttpRequest) -> HttpResponse:
    """What laws and standards ask to be on record, what Lastgood records for it, and what it does not."""
    newest = known_duties.load()
    gaps = sum(bool(duty.gaps) for duty in newest.duties)
    context = {
        "known": newest,
        "sentence": gettext(
            "%(count)s duties as known in %(edition)s; %(gaps)s of them have gaps that Lastgood does not fill."
        )
        % {"count": len(newest.duties), "edition": newest.edition, "gaps": gaps},
        "tone": "quiet",
    }
    return page(request, "duties", context)
