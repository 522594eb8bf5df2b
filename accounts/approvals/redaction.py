"""Taking erased words out of the evidence that approvers were shown, and nothing else out of it."""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from uuid import UUID

from django.db.models import Func, Q, QuerySet, Value
from django.db.models.fields import BinaryField, IntegerField

from accounts.approvals.evidence import intact
from accounts.approvals.keeping import held
from accounts.approvals.models import ApprovalEvidence, ApprovalRequest
from audit.actions import Target, record, service_actor
from audit.canonical import canonical_bytes
from audit.erasure import ERASED, Written
from audit.queries import record_of
from audit.readings.changes import environments_of

LEAST_QUOTED = 12
"""Characters: a shorter text is no sentence, and would be found where nobody quoted it."""
MOST_QUOTED = 200
"""Characters of a text that pages quote at least."""
AT_ONCE = 200
"""Snapshots in one event of the log: two digests each fit into its 65,535 bytes."""
SPOKEN = ("sentence", "sections")
"""What of a snapshot holds words; the rest is names, terms and hashes."""
STRUCTURE = ("kind", "source", "values")
"""What of a section is no sentence."""

Words = Mapping[str, Sequence[str]]
"""Texts by their first LEAST_QUOTED characters."""


class _Position(Func):
    function = "position"
    template = "%(function)s(%(expressions)s)"
    arg_joiner = " IN "
    output_field = IntegerField()


@dataclass(frozen=True)
class _Quotable:
    """An erased text, and which requests its event concerns."""

    text: str
    incident: str
    models: frozenset[str]
    requests: frozenset[UUID]
    host: str

    def concerns(self, request: ApprovalRequest) -> bool:
        return (
            bool(self.incident and self.incident == request.incident_ref)
            or request.model in self.models
            or request.pk in self.requests
        )


def forget(written: Iterable[Written]) -> int:
    """Put ERASED for the texts where evidence of the incident, model, request or host that their events concern quotes
    them; on record, with the digests before and after (none where it had been altered before). The number of snapshots.

    What a legal hold keeps stays as it is. Call it while holds are settled (`audit.holds.settle`).
    """
    quotable = _quotable([one for one in written if len(one.text.strip()) >= LEAST_QUOTED])
    changed: dict[UUID, dict[str, str]] = defaultdict(dict)
    rows = _concerned(quotable).iterator(chunk_size=AT_ONCE) if quotable else iter(())
    for request, snapshots in groupby(rows, key=lambda row: row.request):
        known = [one for one in quotable if one.concerns(request)]
        of_hosts = [one for one in quotable if one.host and one not in known]
        for row in snapshots:
            body = bytes(row.body)
            redacted = _redacted(body, [*known, *(one for one in of_hosts if _named(one.host, body))])
            if redacted != body:
                ApprovalEvidence.objects.filter(pk=row.pk).update(body=redacted)
                now = hashlib.sha256(redacted).hexdigest() if intact(request, row.digest, body) else ""
                changed[request.pk][row.digest] = now
    for request_id, digests in changed.items():
        _record(request_id, digests)
    return sum(map(len, changed.values()))


def _record(request_id: UUID, digests: dict[str, str]) -> None:
    pairs = sorted(digests.items())
    for start in range(0, len(pairs), AT_ONCE):
        record(
            action="approval.evidence.erase",
            target=Target("approval_request", str(request_id)),
            actor=service_actor("erasure"),
            data={"digests": dict(pairs[start : start + AT_ONCE])},
        )


def _concerned(quotable: Sequence[_Quotable]) -> QuerySet[ApprovalEvidence]:
    """Snapshots that may quote one of them, but what a hold keeps."""
    about = Q(request__incident_ref__in={one.incident for one in quotable if one.incident})
    about |= Q(request__model__in={model for one in quotable for model in one.models})
    about |= Q(request__in={pk for one in quotable for pk in one.requests})
    found = ApprovalEvidence.objects.all()
    for number, host in enumerate(sorted({one.host for one in quotable if one.host})):
        place = _Position(Value(host.encode(), output_field=BinaryField()), "body")
        found = found.alias(**{f"host_{number}": place})
        about |= Q(**{f"host_{number}__gt": 0})
    return found.filter(about).exclude(held()).select_related("request").order_by("request", "pk")


def _quotable(written: Sequence[Written]) -> list[_Quotable]:
    records = [record_of(one.event) for one in written]
    requests = _requests_named(records)
    known = environments_of() if written else {}
    found: dict[_Quotable, None] = {}
    for one, told in zip(written, records, strict=True):
        named = [row for name in _names(told) for row in requests.get(name, ())]
        models = {row.model for row in named if row.model} | _models(told, known)
        host = one.event.target_id if one.event.target_kind == "host" else ""
        quotable = _Quotable(
            text=one.text.strip(),
            incident=one.event.incident,
            models=frozenset(models),
            requests=frozenset(row.pk for row in named),
            host=host,
        )
        if quotable.incident or models or named or host:
            found[quotable] = None
    return list(found)


def _names(told: Mapping[str, Any]) -> list[str]:
    """What a record names that may be a request, its subject, or the hash of that."""
    data = told["data"]
    named = [told["target"]["id"], *(data.get(name) for name in ("request", "plan", "act", "plan_hash", "act_hash"))]
    return [name for name in named if isinstance(name, str)]


def _requests_named(records: Iterable[Mapping[str, Any]]) -> dict[str, list[ApprovalRequest]]:
    names = {name for told in records for name in _names(told)}
    ids = [name for name in names if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", name)]
    found: dict[str, list[ApprovalRequest]] = defaultdict(list)
    about = Q(pk__in=ids) | Q(subject_ref__in=names) | Q(subject_hash__in=names)
    for request in ApprovalRequest.objects.filter(about):
        for name in {str(request.pk), request.subject_ref, request.subject_hash} & names:
            found[name].append(request)
    return found


def _models(told: Mapping[str, Any], known: Mapping[str, tuple[str, str]]) -> set[str]:
    """Slugs of the models that a record is of: by its target, or by what its data name."""
    kind, identity, data = told["target"]["kind"], told["target"]["id"], told["data"]
    found = {data.get("model"), known.get(data.get("endpoint") or "", ("", ""))[0]}
    if kind in ("model", "version", "alias"):
        found.add(identity.partition("/")[0])
    elif kind == "endpoint":
        found.add(known.get(identity, ("", ""))[0])
    return {model for model in found if model and isinstance(model, str)}


def _named(host: str, body: bytes) -> bool:
    return re.search(rb"(?<![\w.-])" + re.escape(host.encode()) + rb"(?![\w-])", body) is not None


def _redacted(body: bytes, quotable: Sequence[_Quotable]) -> bytes:
    content = json.loads(body)
    words: dict[str, list[str]] = defaultdict(list)
    for one in quotable:
        words[one.text[:LEAST_QUOTED]].append(one.text)
    for name in SPOKEN:
        content[name] = _without(content[name], words)
    return canonical_bytes(content)


def _without(value: Any, words: Words) -> Any:
    if isinstance(value, str):
        return _said(value, words)
    if isinstance(value, list):
        return [_without(item, words) for item in value]
    if isinstance(value, dict):
        return {key: item if key in STRUCTURE else _without(item, words) for key, item in value.items()}
    return value


def _said(told: str, words: Words) -> str:
    """The sentence with ERASED for each quotation. One look per character, however many texts there are."""
    parts, start, at = [], 0, 0
    while at <= len(told) - LEAST_QUOTED:
        length = max((_quoted(told, at, text) for text in words.get(told[at : at + LEAST_QUOTED], ())), default=0)
        if length:
            parts += [told[start:at], ERASED]
            start = at = at + length
        else:
            at += 1
    return "".join([*parts, told[start:]])


def _quoted(told: str, at: int, text: str) -> int:
    """How many characters are quoted of the text there: at least its first MOST_QUOTED, else none."""
    if not told.startswith(text[:MOST_QUOTED], at):
        return 0
    rest = zip(told[at:], text, strict=False)
    return next((length for length, (one, other) in enumerate(rest) if one != other), min(len(told) - at, len(text)))
