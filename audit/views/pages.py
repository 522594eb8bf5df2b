"""The auditors' pages: who did what, when, on whose authority, and whether the record is whole."""

import json
import tempfile
import uuid
from pathlib import Path
from typing import Any

from django.contrib import messages
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext
from django.views.decorators.http import require_POST, require_safe

from audit import queries, search
from audit.actions import Actor
from audit.export import NothingToExport, ScopeError, export_bundle
from audit.forms import ExportForm, FilterForm, PartForm
from audit.merkle import leaf_hash
from audit.models import AuditCheckpoint, AuditEvent
from audit.names import display
from audit.queries import LogStatus
from audit.readings.behind import Authority, Neighbours, around, authority_of, last_before
from audit.readings.shape import REPLACING, facts_of, shown
from audit.search import Place, Slice
from audit.templatetags.amounts import in_words
from audit.templatetags.parts import action_words
from audit.views.access import EXPORT, READ, actor_of, auditors

PER_PAGE = 50


def state_in_words(status: LogStatus) -> tuple[str, str]:
    """The state of the log in one sentence, and its tone."""
    apart = gettext("keys separated") if status.separated else gettext("keys not separated")
    if not status.events:
        return gettext("No event has been recorded yet; %(apart)s.") % {"apart": apart}, "quiet"
    if not status.tree_size:
        return gettext("%(events)s events, none in the tree yet: the sequencer has not signed anything.") % {
            "events": f"{status.events:,}"
        }, "bad"
    inside = (
        gettext("all in the tree")
        if not status.lag_events
        else gettext("%(lag_events)s of them not in the tree yet") % {"lag_events": f"{status.lag_events:,}"}
    )
    signature = (
        gettext("signature by key %(split)s valid") % {"split": status.vkey.split("+")[1]}
        if status.signed
        else gettext("its signature is NOT valid")
    )
    age = in_words(status.checkpoint_age_seconds)
    sentence = gettext("%(events)s events, %(inside)s; last checkpoint %(age)s ago, %(signature)s; %(apart)s.") % {
        "events": f"{status.events:,}",
        "inside": inside,
        "age": age,
        "signature": signature,
        "apart": apart,
    }
    if not status.healthy:
        late = (
            gettext(" The oldest has waited %(in_words)s: look at the sequencer.")
            % {"in_words": in_words(status.lag_seconds)}
            if status.lag_events
            else ""
        )
        return sentence + late, "bad"
    return sentence, "ok"


@require_safe
@auditors(READ)
def log(request: HttpRequest) -> HttpResponse:
    """The log, newest first, with its state at the top."""
    form = FilterForm(request.GET if _asks(request) else None)
    valid = form.is_valid() if form.is_bound else True
    page = _found(request, form) if valid else Slice([], None, None)
    names = display({*(one.actor for one in page.events), *(one.target_id for one in page.events if _is_person(one))})
    status = queries.status()
    sentence, tone = state_in_words(status)
    export = ExportForm(
        initial={name: form.cleaned_data.get(name) for name in ExportForm.base_fields}
        if valid and form.is_bound
        else {}
    )
    context = {
        "form": form,
        "page": page,
        "rows": [
            {
                "event": event,
                "name": names[event.actor],
                "target": names.get(event.target_id, "") if _is_person(event) else "",
                "leaf": _leaf_index(event),
            }
            for event in page.events
        ],
        "sentence": sentence,
        "tone": tone,
        "status": status,
        "first": page.newer is None,
        "export": export,
        "part": PartForm(),
        "export_scope": _scope_words(form) if valid and form.is_bound else gettext("the whole log"),
        "may_export": request.user.has_perm(EXPORT),
    }
    return render(request, "audit/log.html", context)


def _asks(request: HttpRequest) -> bool:
    return any(request.GET.get(name, "").strip() for name in FilterForm.base_fields)


def _found(request: HttpRequest, form: FilterForm) -> Slice:
    """The page that the address asks for: `?before=` and `?after=` are places, as the links beside a page have them."""
    found = search.events(form.filters() if form.is_bound else None)
    before, after = (Place.read(request.GET.get(name, "")) for name in ("before", "after"))
    return search.page_of(found, PER_PAGE, before=before, after=after)


def _is_person(event: AuditEvent) -> bool:
    return event.target_kind in ("user", "subject")


def _leaf_index(event: AuditEvent) -> int | None:
    leaf = getattr(event, "leaf", None)
    return leaf.leaf_index if leaf else None


def _scope_words(form: FilterForm) -> str:
    if form.cleaned_data["incident"]:
        return gettext("incident %(incident)s") % {"incident": form.cleaned_data["incident"]}
    if form.cleaned_data["since"] or form.cleaned_data["until"]:
        return gettext("this span of time")
    return gettext("the whole log")


@require_safe
@auditors(READ)
def event(request: HttpRequest, event_uuid: uuid.UUID) -> HttpResponse:
    """One event: what was done by whom on whose authority, before and after, its proof, and what happened around it."""
    found = _event_for(event_uuid)
    record = queries.record_of(found)
    authority, neighbours = authority_of(found), around(found)
    replaced = last_before(found) if found.action in REPLACING else None
    names = display(_people(found, authority, neighbours))
    what = action_words(found.action)
    proof = queries.inclusion(found.pk)
    context = {
        "event": found,
        "record": record,
        "record_text": json.dumps(record, indent=2, ensure_ascii=False),
        "name": names[found.actor],
        "names": names,
        "what": what,
        "sentence": f"{names[found.actor]}: {what}, {found.target_kind.replace('_', ' ')} {found.target_id}",
        "facts": facts_of(found.action, record["data"], replaced.data if replaced else None),
        "proved": shown(record["actor"]["auth"], names),
        "replaced": replaced,
        "authority": authority,
        "neighbours": neighbours,
        "proof": proof,
        "forged": proof is not None and leaf_hash(bytes(found.canon)).hex() != proof.leaf_hash,
    }
    return render(request, "audit/event.html", context)


def _event_for(event_uuid: uuid.UUID) -> AuditEvent:
    found = search.events().filter(event_uuid=event_uuid).first()
    if found is None:
        raise Http404(gettext("There is no such event in the log."))
    return found


def _people(found: AuditEvent, authority: Authority, neighbours: list[Neighbours]) -> set[str]:
    """Everybody whom the page names."""
    change = authority.change
    return {
        found.actor,
        *(one.actor for one in authority.decisions),
        *(person for held in authority.roles for person in (held.by, held.proposer) if person),
        *((change.proposer, *(one.by for one in change.approvers)) if change else ()),
        *(one.actor for group in neighbours for one in group.events),
    }


@require_safe
@auditors(READ)
def event_record(request: HttpRequest, event_uuid: uuid.UUID) -> HttpResponse:
    """The record byte for byte as it was hashed, for who checks it by hand."""
    found = _event_for(event_uuid)
    headers = {"Content-Disposition": f'attachment; filename="{event_uuid}.json"'}
    return HttpResponse(bytes(found.canon), content_type="application/json", headers=headers)


@require_safe
@auditors(READ)
def checkpoint(request: HttpRequest, size: int | None = None) -> HttpResponse:
    """A signed checkpoint, and how to check an export against it."""
    found = queries.checkpoint_at(size)
    if found is None and size is not None:
        raise Http404(gettext("No checkpoint was signed at %(size)s leaves.") % {"size": size})
    status = queries.status()
    sentence, tone = state_in_words(status)
    context = {
        "checkpoint": found,
        "root": bytes(found.root).hex() if found else "",
        "vkey": status.vkey,
        "sentence": sentence,
        "tone": tone,
        "others": AuditCheckpoint.objects.order_by("-size").exclude(size=found.size if found else 0)[:20],
    }
    return render(request, "audit/checkpoint.html", context)


@require_POST
@auditors(EXPORT)
def export(request: HttpRequest) -> HttpResponseBase:
    """A bundle to take away: the whole log or a part of it. The export is itself on record."""
    form = PartForm(request.POST) if "kind" in request.POST else ExportForm(request.POST)
    if not form.is_valid():
        messages.error(request, " ".join(str(error) for errors in form.errors.values() for error in errors))
        return redirect("audit-log")
    try:
        return bundle_response(actor_of(request), form.scope() if isinstance(form, PartForm) else form.cleaned_data)
    except (NothingToExport, ScopeError) as error:
        messages.error(request, str(error))
        return redirect("audit-log")


def bundle_response(actor: Actor, scope: dict[str, Any]) -> FileResponse:
    """The zip as a download, recorded; ``scope`` as ``export_bundle`` takes it. Raises NothingToExport, ScopeError."""
    file = tempfile.NamedTemporaryFile(prefix="lastgood-audit-", suffix=".zip")  # noqa: SIM115  the answer closes it
    try:
        info = export_bundle(Path(file.name), actor=actor, **scope)
    except BaseException:
        file.close()
        raise
    part = "".join(letter if letter.isalnum() else "-" for letter in info.name)
    return FileResponse(file, as_attachment=True, filename=f"lastgood-audit-{part}-{info.size}.zip")
