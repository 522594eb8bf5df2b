"""What an approver sees of a plan: registered with the approvals, which stand on a lower floor and know no plans."""

from typing import Any
from uuid import UUID

from django.db.models import prefetch_related_objects
from django.urls import reverse

from accounts.approvals.models import ApprovalRequest
from accounts.approvals.subjects import Section, Subject, register
from audit.canonical import instant
from audit.english import in_english
from audit.models import AuditEvent
from incidents.rollback.checks import percent
from incidents.rollback.document import PlanDocument
from incidents.rollback.models import ACTIVE_RUN_STATES, STEERING_KINDS, Candidate, Plan, PlanKind, Run
from incidents.rollback.moved import moved
from incidents.rollback.queries import candidates, check_rows, names_of, plan_rows, plan_terms, plans, steering_title
from registry.models import Placement

KINDS = (PlanKind.ROLLBACK, PlanKind.RELEASE, PlanKind.DRILL, *STEERING_KINDS)


def plan_subject(request: ApprovalRequest) -> Subject:
    """The plan of the request: what changes, host by host, on what evidence, what its preflight found, and the hosts as
    they were last observed."""
    plan = plans().select_related("run").get(pk=request.subject_ref)
    run = getattr(plan, "run", None)
    prefetch_related_objects([version for version in (plan.from_version, plan.to_version) if version], "files")
    rows = list(Placement.objects.filter(endpoint=plan.endpoint).select_related("host").order_by("host__name"))
    return Subject(
        title=request.title,
        sentence=consequence(plan),
        sections=_sections(plan, rows),
        why=plan.reason,
        url=reverse("plan-detail", args=[plan.pk]),
        going=run is not None and run.state in ACTIVE_RUN_STATES,
        moved=moved(plan, rows),
    )


def plan_moved(request: ApprovalRequest) -> list[str]:
    return moved(Plan.objects.select_related("endpoint", "to_version").get(pk=request.subject_ref))


def consequence(plan: Plan) -> str:
    """What approving does, in a sentence, with the order of the hosts as the document has it."""
    before = f" instead of version {plan.from_version.number}" if plan.from_version else ""
    document = PlanDocument.read(bytes(plan.document))
    if plan.kind in STEERING_KINDS:
        return f"If it is approved, this is done at once: {steering_title(plan.endpoint, document)}."
    waves = document.waves
    first, total = waves[0].hosts, sum(len(wave.hosts) for wave in waves)
    how = f"first on {names_of(first)}, then on the rest" if len(waves) > 1 else "on all of its hosts at once"
    if total == 1:
        how = f"on its only host, {first[0]}"
    return f"If it is approved, {plan.endpoint.slug} will answer with version {plan.to_version.number}{before}, {how}."


def _sections(plan: Plan, placements: list[Placement]) -> list[Section]:
    sections: list[Section] = [
        {"title": "What changes", "kind": "diff", "rows": plan_rows(plan)},
        {"title": "On which terms", "kind": "terms", "rows": plan_terms(plan)},
    ]
    ranked = list(candidates(plan.incident_ref)) if plan.incident_ref else []
    chosen = next((row for row in ranked if row.to_version_id == plan.to_version_id), None)
    if chosen is not None:
        sections.append({"title": f"Why version {chosen.to_version.number}", "kind": "list", "rows": chosen.reasons})
    if ranked:
        sections.append(_replays(ranked))
    checks = check_rows(plan.preflights.select_related("host"))
    sections.append({"title": "Preflight", "kind": "checks", "rows": checks, "id": "preflight-checks"})
    sections.append(_hosts(placements))
    return sections


def _replays(ranked: list[Candidate]) -> Section:
    """Each version that it could go to, and how it did on the incident's own traffic and on its holdout set."""
    return {
        "title": "What each version answers on the same traffic",
        "kind": "table",
        "head": [
            "Version",
            "May be gone to",
            "Labelled rows",
            "Right, with 95 % interval",
            "Served then",
            "On its holdout",
        ],
        "rows": [
            [
                f"version {row.to_version.number}",
                "yes" if row.eligible else "no",
                str(row.replay.get("labelled", "none")),
                *(_share(row.replay.get(part)) for part in ("candidate", "live", "holdout")),
            ]
            for row in ranked
        ],
    }


def _share(found: dict[str, Any] | None) -> str:
    if not found:
        return "not known"
    return f"{percent(found['accuracy'])} ({percent(found['low'])} to {percent(found['high'])})"


def _hosts(rows: list[Placement]) -> Section:
    """The hosts as they were last observed, which is not what the hash binds: that is what they may serve."""
    return {
        "title": "Hosts as observed",
        "kind": "table",
        "head": ["Host", "Serves", "Digest", "Health", "Observed at"],
        "rows": [
            [
                row.host.name,
                f"version {row.observed_version}" if row.observed_version else "nothing known",
                row.observed_digest[:12],
                f"{in_english(row.get_health_display)}{', drained' if row.host.drained_at else ''}",
                f"{instant(row.observed_at)[:19].replace('T', ' ')} UTC" if row.observed_at else "never",
            ]
            for row in rows
        ],
    }


def plan_participants(request: ApprovalRequest) -> frozenset[str]:
    """The people who had a hand in the plan or its run, as the log knows them."""
    runs = Run.objects.filter(plan=UUID(request.subject_ref)).values_list("pk", flat=True)
    targets = [request.subject_ref, *map(str, runs)]
    acted = AuditEvent.objects.filter(
        target_kind__in=["plan", "run"], target_id__in=targets, actor_kind__in=["user", "token"]
    )
    return frozenset(acted.values_list("actor", flat=True))


def register_all() -> None:
    for kind in KINDS:
        register(str(kind), plan_subject, moved=plan_moved, participants=plan_participants)
