"""What an approver sees of a plan: registered with the approvals, which stand on a lower floor and know no plans."""

from typing import Any
from uuid import UUID

from django.db.models import prefetch_related_objects
from django.urls import reverse
from django.utils.translation import gettext

from accounts.approvals.models import ApprovalRequest
from accounts.approvals.subjects import Section, Subject, register
from audit.canonical import instant
from audit.english import in_english
from audit.models import AuditEvent
from incidents.rollback.checks import percent
from incidents.rollback.document import PlanDocument
from incidents.rollback.models import ACTIVE_RUN_STATES, STEERING_KINDS, Candidate, Plan, PlanKind, Run
from incidents.rollback.moved import moved
from incidents.rollback.queries import candidates, check_rows, plans
from incidents.rollback.terms import names_of, plan_rows, plan_terms, steering_title
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
    document = PlanDocument.read(bytes(plan.document))
    if plan.kind in STEERING_KINDS:
        done = steering_title(plan.endpoint, document)
        return gettext("If it is approved, this is done at once: %(done)s.") % {"done": done}
    waves = document.waves
    first, total = waves[0].hosts, sum(len(wave.hosts) for wave in waves)
    how = (
        gettext("first on %(first)s, then on the rest") % {"first": names_of(first)}
        if len(waves) > 1
        else gettext("on all of its hosts at once")
    )
    if total == 1:
        how = gettext("on its only host, %(first)s") % {"first": first[0]}
    named: dict[str, Any] = {"endpoint": plan.endpoint.slug, "target": plan.to_version.number, "how": how}
    if plan.from_version is None:
        return gettext("If it is approved, %(endpoint)s will answer with version %(target)s, %(how)s.") % named
    named["origin"] = plan.from_version.number
    return (
        gettext(
            "If it is approved, %(endpoint)s will answer with version %(target)s instead of version %(origin)s, "
            "%(how)s."
        )
        % named
    )


def _sections(plan: Plan, placements: list[Placement]) -> list[Section]:
    sections: list[Section] = [
        {"title": gettext("What changes"), "kind": "diff", "rows": plan_rows(plan)},
        {"title": gettext("On which terms"), "kind": "terms", "rows": plan_terms(plan)},
    ]
    ranked = list(candidates(plan.incident_ref)) if plan.incident_ref else []
    chosen = next((row for row in ranked if row.to_version_id == plan.to_version_id), None)
    if chosen is not None:
        sections.append(
            {
                "title": gettext("Why version %(to_version)s") % {"to_version": chosen.to_version.number},
                "kind": "list",
                "rows": chosen.reasons,
            }
        )
    if ranked:
        sections.append(_replays(ranked))
    checks = check_rows(plan.preflights.select_related("host"))
    sections.append({"title": gettext("Preflight"), "kind": "checks", "rows": checks, "id": "preflight-checks"})
    sections.append(_hosts(placements))
    return sections


def _replays(ranked: list[Candidate]) -> Section:
    """Each version that it could go to, and how it did on the incident's own traffic and on its holdout set."""
    return {
        "title": gettext("What each version answers on the same traffic"),
        "kind": "table",
        "head": [
            gettext("Version"),
            gettext("May be gone to"),
            gettext("Labelled rows"),
            gettext("Right, with 95 % interval"),
            gettext("Served then"),
            gettext("On its holdout"),
        ],
        "rows": [
            [
                gettext("version %(to_version)s") % {"to_version": row.to_version.number},
                gettext("yes") if row.eligible else gettext("no"),
                str(row.replay.get("labelled", gettext("none"))),
                *(_share(row.replay.get(part)) for part in ("candidate", "live", "holdout")),
            ]
            for row in ranked
        ],
    }


def _share(found: dict[str, Any] | None) -> str:
    if not found:
        return gettext("not known")
    return gettext("%(accuracy)s (%(low)s to %(high)s)") % {
        "accuracy": percent(found["accuracy"]),
        "low": percent(found["low"]),
        "high": percent(found["high"]),
    }


def _hosts(rows: list[Placement]) -> Section:
    """The hosts as they were last observed, which is not what the hash binds: that is what they may serve."""
    return {
        "title": gettext("Hosts as observed"),
        "kind": "table",
        "head": [gettext("Host"), gettext("Serves"), gettext("Digest"), gettext("Health"), gettext("Observed at")],
        "rows": [
            [
                row.host.name,
                gettext("version %(observed_version)s") % {"observed_version": row.observed_version}
                if row.observed_version
                else gettext("nothing known"),
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
