"""Runbooks as files, readable without Lastgood: what each endpoint serves, and how to change it by hand.

A runbook's SHA-256 is put into the log, and the file is written with the proof that the signed tree holds it.
"""

import datetime
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import CharField, Exists, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Cast, Concat, Now

from audit.actions import Target, record, service_actor
from audit.clock import database_now
from audit.english import english
from audit.export import tlog_proof
from audit.models import AuditEvent
from incidents.practice.checking import PROOF, claimed
from incidents.practice.commands import lines_for
from incidents.practice.models import Runbook
from incidents.practice.targets import target_of
from incidents.rollback.models import Run
from registry import store
from registry.models import Deployment, Endpoint, Placement, Version
from registry.serving.base import Goal

WORKER = service_actor("practice")
CHECK_AGAIN = datetime.timedelta(seconds=15)
CHANGES = [
    "alias.move",
    "deployment.switch",
    "endpoint.fallback",
    "host.bring_back",
    "host.drain",
    "placement.add",
    "practice.by_hand",
    "rollback.run.start",
    "version.quarantine",
    "version.quarantine_lift",
    "version.soak",
]
"""What may change a runbook: what is served or gone back to, on which hosts, under which fence."""


def folder() -> Path:
    """Where runbooks are written: setting LASTGOOD_RUNBOOKS."""
    return Path(settings.LASTGOOD_RUNBOOKS)


def due_runbooks(now: datetime.datetime) -> list[int]:
    """Endpoints that serve something, whose runbook is not written yet, or of which something was changed since it was
    looked at. What the record does not tell of, and who was between its writing and its commit, is found by looking
    again after a while."""
    looked = Runbook.objects.filter(endpoint=OuterRef("pk"), written_at__isnull=False)
    fresh = looked.filter(checked_at__gt=now - CHECK_AGAIN)
    serving = Deployment.objects.filter(endpoint=OuterRef("pk"), until=None)
    found = Endpoint.objects.filter(~Exists(fresh) | Exists(_changes()), Exists(serving))
    return list(found.order_by("runbook__checked_at").values_list("pk", flat=True)[:50])


def _changes() -> QuerySet[AuditEvent]:
    """On record about the endpoint of the query around it since its runbook was looked at."""
    endpoint = OuterRef(OuterRef("pk"))
    here = Q(target_kind="endpoint", target_id=OuterRef("slug"))
    on_model = Q(
        target_kind__in=["version", "alias"], target_id__startswith=Concat(OuterRef("model__slug"), Value("/"))
    )
    on_host = Q(
        Exists(Placement.objects.filter(endpoint=endpoint, host__name=OuterRef("target_id"))), target_kind="host"
    )
    runs = Run.objects.filter(endpoint=endpoint).alias(name=Cast("pk", CharField()))
    in_run = Q(Exists(runs.filter(name=OuterRef("target_id"))), target_kind="run")
    events = AuditEvent.objects.filter(action__in=CHANGES, occurred_at__gt=OuterRef("runbook__checked_at"))
    return events.filter(here | on_model | on_host | in_run)


def refresh(endpoint_id: Any) -> bool:
    """Make the runbook of an endpoint anew where something of it has changed, and write it once the log has signed it.
    True when this call wrote it."""
    looked_at = database_now()
    endpoint = Endpoint.objects.select_related("model").get(pk=endpoint_id)
    body, versions = compose(endpoint)
    sha256 = hashlib.sha256(body.encode()).hexdigest()
    with transaction.atomic():
        Endpoint.objects.select_for_update(of=("self",)).get(pk=endpoint_id)
        known = Runbook.objects.filter(endpoint=endpoint).first()
        if known is None or known.sha256 != sha256:
            known = _make(endpoint, known, body, sha256)
        Runbook.objects.filter(pk=known.pk).update(checked_at=looked_at)
    if known.written_at is not None and _is_there(known, endpoint, versions):
        return False
    return _write(known, endpoint, versions)


def _is_there(known: Runbook, endpoint: Endpoint, versions: list[Version]) -> bool:
    """Whether the runbook, its proof and the manifests of its versions are there as they were written: of a machine
    that lost its power some may be older than others."""
    try:
        body = (folder() / f"{endpoint.slug}.md").read_bytes()
        proof = (folder() / f"{endpoint.slug}{PROOF}").read_text()
        manifests = {
            version.digest: (folder() / "manifests" / f"{version.digest}.json").read_bytes() for version in versions
        }
        made = claimed(proof)
    except (FileNotFoundError, ValueError, LookupError):
        return False
    whole = all(hashlib.sha256(data).hexdigest() == digest for digest, data in manifests.items())
    return whole and {hashlib.sha256(body).hexdigest(), made.sha256} == {known.sha256}


def _make(endpoint: Endpoint, known: Runbook | None, body: str, sha256: str) -> Runbook:
    number = 1 if known is None else known.number + 1
    event = record(
        action="practice.runbook.make",
        target=Target("endpoint", endpoint.slug),
        actor=WORKER,
        data={"endpoint": endpoint.slug, "number": number, "sha256": sha256},
    )
    values = {"sha256": sha256, "body": body, "number": number, "event": event.pk, "made_at": Now()}
    made, _ = Runbook.objects.update_or_create(endpoint=endpoint, defaults={**values, "written_at": None})
    made.refresh_from_db()
    return made


@transaction.atomic
def _write(runbook: Runbook, endpoint: Endpoint, versions: list[Version]) -> bool:
    """Write the files, the proof last, once the record is in the signed tree; False while it is not, or where a newer
    one was made meanwhile. The row is locked, so that of two writers the older does not write over the newer."""
    if not Runbook.objects.select_for_update(of=("self",)).filter(pk=runbook.pk, number=runbook.number).exists():
        return False
    event = AuditEvent.objects.get(pk=runbook.event)
    proof = tlog_proof(event)
    if not proof:
        return False
    for version in versions:
        _put(folder() / "manifests" / f"{version.digest}.json", bytes(version.manifest))
    # A reader who comes in between finds a runbook that its proof does not fit, and looks again.
    _put(folder() / f"{endpoint.slug}.md", runbook.body.encode())
    _put(folder() / f"{endpoint.slug}{PROOF}", proof.encode())
    return bool(Runbook.objects.filter(pk=runbook.pk, sha256=runbook.sha256).update(written_at=Now()))


def _put(path: Path, data: bytes) -> None:
    """Whole or not at all, and on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as draft:
        try:
            draft.write(data)
            draft.flush()
            os.fsync(draft.fileno())
            os.chmod(draft.name, 0o644)
            os.replace(draft.name, path)
        except BaseException:
            Path(draft.name).unlink(missing_ok=True)
            raise


@english()
def compose(endpoint: Endpoint) -> tuple[str, list[Version]]:
    """The text, which changes only when what it tells has changed, and the versions that it names."""
    aim = target_of(endpoint)
    rows = Placement.objects.filter(endpoint=endpoint).select_related("host", "desired").order_by("host__name")
    placements = list(rows)
    wanted = [version for version in (aim.version, aim.live) if version is not None]
    versions = list(Version.objects.filter(pk__in=[one.pk for one in wanted]).order_by("number"))
    parts = [_head(endpoint, placements), _reason(aim.version, aim.why)]
    for version in sorted(versions, key=lambda one: one != aim.version):
        title = "Roll back to" if version == aim.version else "Go back to what is served now:"
        parts.append(_way(title, endpoint, placements, version))
    return "\n\n".join([*parts, AFTERWARDS]) + "\n", versions


def _head(endpoint: Endpoint, placements: list[Placement]) -> str:
    hosts = [
        f"| {row.host.name} | {row.host.engine} | {row.host.address} | "
        f"{f'version {row.desired.number}' if row.desired else 'nothing'} | "
        f"{row.desired.digest if row.desired else ''} |{' out of service' if row.host.drained_at else ''}"
        for row in placements
    ]
    return "\n".join(
        [
            f"# Runbook of {endpoint.slug}",
            "",
            f"Model {endpoint.model.slug}, for the time when Lastgood itself is down. While it is up, use it instead.",
            "",
            "| host | engine | address | shall serve | digest |",
            "|---|---|---|---|---|",
            *hosts,
        ]
    )


def _reason(target: Version | None, why: str) -> str:
    return f"To go back to: version {target.number} ({target.digest}). {why}" if target else why


def _way(title: str, endpoint: Endpoint, placements: list[Placement], version: Version) -> str:
    files = [
        (entry.artifact_id, f"{entry.component}/{entry.path}") for entry in version.files.order_by("component", "path")
    ]
    goal = Goal(
        endpoint.model.slug,
        version.number,
        version.digest,
        [(sha256, str(store.path(sha256))) for sha256, _ in files],
        f"manifests/{version.digest}.json",
    )
    listed = [f"- {name}: SHA-256 {sha256}" for sha256, name in files]
    place = f"Its files, in the artifact store {store.address()}:"
    blocks = [f"## {title} version {version.number}", "", place, "", *listed]
    for row in placements:
        if row.host.drained_at is None:
            told = lines_for(row.host.engine, row.host.address, row.host.options, goal, endpoint.fence + 1)
            blocks += ["", f"On {row.host.name} ({row.host.engine}), from this folder:", "", "```sh", *told, "```"]
    return "\n".join(blocks)


AFTERWARDS = """## Afterwards

Begin with one host, and see that it answers rightly before the next. When Lastgood is up again it finds what was
changed, and raises an alert for each host; on the incident's page a person then records what was done by hand."""
