"""The reads behind the pages of incidents."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import OuterRef, Prefetch, Q, QuerySet, Subquery, Sum
from django.utils.translation import gettext

from accounts.approvals.models import ApprovalRequest
from accounts.approvals.queries import Standing, eligible_roles, standing, waiting, who_may_fill
from accounts.models import User
from accounts.permissions import user_roles
from audit.queries import newest_seq
from incidents.around import Around, around
from incidents.diagnosis import Diagnosis, diagnose, share
from incidents.learning.actions import asked_of, items_of
from incidents.models import OPEN_STATES, Evidence, Incident, IncidentRole, IncidentState, RoleHolding, StatusPost
from incidents.rollback.models import ACTIVE_RUN_STATES, ASIDE_KINDS, STEERING_KINDS, Candidate, Plan, Run, WatchState
from incidents.rollback.queries import candidates, plans, steering_title_of
from incidents.working.todo import tasks_of

CARDS = {
    "rule": "bad", "accuracy": "bad", "impact": "bad", "groups": "warn", "drift": "warn", "output-drift": "warn",
    "joint-drift": "warn", "concept-drift": "bad", "accuracy-finding": "bad", "latency-finding": "bad",
}  # fmt: skip
UNITS: dict[str, Callable[[float], str]] = {
    "input_drift": lambda psi: gettext("PSI %(psi)s") % {"psi": f"{psi:.3g}"},
    "output_drift": lambda psi: gettext("PSI %(psi)s") % {"psi": f"{psi:.3g}"},
    "joint_drift": lambda auc: gettext("AUC %(auc)s") % {"auc": f"{auc:.2f}"},
    "concept_drift": lambda wrong: gettext("%(share)s wrong") % {"share": f"{wrong:.1%}"},
    "accuracy": lambda right: gettext("%(share)s right") % {"share": f"{right:.1%}"},
    "latency": lambda ratio: gettext("%(ratio)s times") % {"ratio": f"{ratio:.2f}"},
}
"""How the value of a detector of each kind reads."""


@dataclass(frozen=True)
class Situation:
    """Everything that one look at an incident needs, read once."""

    incident: Incident
    around: Around
    holdings: dict[str, RoleHolding]
    evidence: list[Evidence]
    candidates: list[Candidate]
    plan: Plan | None
    run: Run | None
    standing: Standing | None
    beside: list[Plan]

    @property
    def commander(self) -> User | None:
        held = self.holdings.get(IncidentRole.COMMANDER)
        return held.user if held else None

    @property
    def watch(self) -> Any:
        return getattr(self.run, "watch", None) if self.run else None

    @property
    def moves(self) -> bool:
        """Whether the page should look every second."""
        watching = self.watch is not None and self.watch.state == WatchState.WATCHING
        return self.run is not None and (self.run.state in ACTIVE_RUN_STATES or watching)

    @property
    def data(self) -> Mapping[str, Mapping[str, Any]]:
        """The newest evidence of each kind."""
        return {piece.kind: piece.data for piece in self.evidence}

    def diagnosis(self) -> Diagnosis:
        endpoint = self.incident.endpoint
        return diagnose(
            self.data,
            self.candidates,
            from_version=self.incident.from_version,
            soak_seconds=endpoint.wave_soak_seconds if endpoint else 0,
        )


def incidents() -> QuerySet[Incident]:
    """Incidents with their endpoint, model and the present holders of their roles, newest first; `next_update_at` is
    when the newest status post promised the next."""
    held = RoleHolding.objects.filter(until=None).select_related("user")
    newest = StatusPost.objects.filter(incident=OuterRef("pk"))[:1]
    return (
        Incident.objects.select_related("endpoint__model")
        .annotate(next_update_at=Subquery(newest.values("next_update_at")))
        .prefetch_related(Prefetch("holdings", held, to_attr="held_now"))
    )


def found(*, q: str = "", state: str = "", severity: str = "", endpoint: str = "") -> QuerySet[Incident]:
    """Incidents by what people ask for; `state` may be open, over or one of the states."""
    rows = incidents()
    if q:
        rows = rows.filter(
            Q(ref__iexact=q) | Q(title__icontains=q) | Q(endpoint__slug__icontains=q) | Q(assessment__icontains=q)
        )
    if state == "open":
        rows = rows.filter(state__in=OPEN_STATES)
    elif state == "over":
        rows = rows.exclude(state__in=OPEN_STATES)
    elif state:
        rows = rows.filter(state=state)
    if severity in ("1", "2", "3", "4"):
        rows = rows.filter(severity=int(severity))
    return rows.filter(endpoint__slug=endpoint) if endpoint else rows


def plans_of(ref: str) -> list[Plan]:
    """The plans of the incident that were not given up, newest first, with their runs and watches, in one query."""
    rows = plans().select_related("run__watch", "run__endpoint__model", "run__plan__from_version")
    return list(rows.select_related("run__plan__to_version").filter(incident_ref=ref).exclude(state="void"))


def current_plan(plans: list[Plan]) -> Plan | None:
    """The newest plan that is about the version. What brings back a single host under an earlier approval, takes hosts
    out of service or freezes the endpoint is beside it, and hides nothing of it."""
    return next((plan for plan in plans if plan.kind not in ASIDE_KINDS), None)


def situation(incident: Incident) -> Situation:
    """At most six queries, however much has happened."""
    near = around(incident)
    all_plans = plans_of(incident.ref)
    plan = current_plan(all_plans)
    run: Run | None = getattr(plan, "run", None)
    asked = plan.request if plan and run is None else None
    return Situation(
        incident=incident,
        around=near,
        holdings={held.role: held for held in near.holdings},
        evidence=near.evidence,
        candidates=list(candidates(incident.ref)),
        plan=plan,
        run=run,
        standing=standing(asked) if asked else None,
        beside=[aside for aside in all_plans if aside.kind in STEERING_KINDS],
    )


def beside_rows(plans: list[Plan]) -> list[dict[str, Any]]:
    """Drains and freezes proposed for the incident, a line each: where each stands, and its title."""
    rows = []
    for plan in plans:
        run: Run | None = getattr(plan, "run", None)
        at = plan if run is None else run
        rows.append(
            {"plan": plan, "title": steering_title_of(plan), "state": at.state, "label": at.get_state_display()}
        )
    return rows


def etag(incident: Incident, user: User) -> str:
    """Changes with each edit of the incident, each event on its record, each observation of its endpoint and run, and
    the reader's permissions."""
    seen = Run.objects.filter(plan__incident_ref=incident.ref).aggregate(
        of_runs=Sum("version"), of_watches=Sum("watch__version")
    )
    parts = [
        incident.version,
        newest_seq(incident.ref),
        seen["of_runs"],
        seen["of_watches"],
        user.permission_epoch,
        user.pk,
    ]
    parts.append(incident.endpoint.version if incident.endpoint else 0)
    return '"' + ".".join(str(part) for part in parts) + '"'


def cards(evidence: list[Evidence]) -> list[dict[str, Any]]:
    """The evidence as `parts/evidence_card.html` takes it."""
    return [{"claim": piece.claim, "tone": CARDS.get(piece.kind, "quiet"), **_figure(piece)} for piece in evidence]


def _figure(piece: Evidence) -> dict[str, str]:
    data, frozen = piece.data, gettext("frozen %(frozen_at)s UTC") % {"frozen_at": f"{piece.frozen_at:%H:%M:%S}"}
    if piece.kind == "accuracy":
        limit = gettext("was %(share)s") % {"share": share(data["before"]["share"])} if data["before"]["share"] else ""
        return {
            "number": share(data["now"]["share"]),
            "limit": limit,
            "window": gettext("%(n)s labels, %(frozen)s") % {"n": f"{data['now']['n']:,}", "frozen": frozen},
        }
    if piece.kind == "latency":
        limit = (
            gettext("was %(before_p50_ms)s ms") % {"before_p50_ms": data["before_p50_ms"]}
            if "before_p50_ms" in data
            else ""
        )
        return {
            "number": f"{data['p50_ms']} ms",
            "limit": limit,
            "window": gettext("%(n)s answers, %(frozen)s") % {"n": f"{data['n']:,}", "frozen": frozen},
        }
    if piece.kind == "impact":
        number = f"{data['wrong_beyond_usual']:,}" if "wrong_beyond_usual" in data else f"{data['answered']:,}"
        limit = gettext("wrong beyond what is usual") if "wrong_beyond_usual" in data else gettext("answered since")
        return {
            "number": number,
            "limit": limit,
            "window": gettext("of %(answered)s %(noun)s, %(frozen)s")
            % {"answered": f"{data['answered']:,}", "noun": data["noun"], "frozen": frozen},
        }
    if piece.kind == "groups":
        worst = data["groups"][0]
        return {
            "number": f"{worst['feature']} {worst['group']}",
            "limit": gettext("%(accuracy)s right") % {"accuracy": share(worst["accuracy"])},
            "window": gettext("%(n)s labels, %(frozen)s") % {"n": f"{worst['n']:,}", "frozen": frozen},
        }
    if piece.kind == "rule":
        sides = [f"{side} {float(data[name]):.4g}" for name, side in (("low", "under"), ("high", "over")) if data[name]]
        number = f"{float(data['value']):.4g}" if data["value"] else gettext("no data")
        limit = gettext("alerts %(sides)s") % {"sides": " or ".join(sides)} if sides else ""
        return {"number": number, "limit": limit, "window": frozen, "href": f"/monitoring/alerts/{data['alert']}/"}
    if data.get("finding") and data.get("value"):
        return _finding_figure(data, frozen)
    if piece.kind == "hosts":
        return {"number": gettext("%(count)s hosts") % {"count": len(data["hosts"])}, "limit": "", "window": frozen}
    return {"number": "", "limit": "", "window": frozen}


def _finding_figure(data: dict[str, Any], frozen: str) -> dict[str, str]:
    """A detector's value against its limit, in the unit of its kind."""
    number, limit = (UNITS[data["rule"]](float(data[name])) if data[name] else "" for name in ("value", "limit"))
    return {
        "number": number,
        "limit": gettext("limit %(limit)s") % {"limit": limit} if limit else "",
        "window": gettext("%(rows)s rows, %(frozen)s") % {"rows": f"{data['rows']:,}", "frozen": frozen},
        "href": f"/monitoring/windows/{data['window_id']}/",
    }


@dataclass(frozen=True)
class Waiting:
    """Something that waits for the reader."""

    text: str
    href: str
    until: datetime | None = None


def waits_for(user: User, open_incidents: list[Incident]) -> list[Waiting]:
    """Approvals that the reader may give, incidents in which the reader has the next word, and the reader's tasks."""
    roles = user_roles(user)
    asked = [entry for entry in waiting().select_related("policy") if _may_approve(entry, user, roles)]
    mine = [incident for incident in open_incidents if any(held.user_id == user.pk for held in incident.held_now)]
    return [
        *(
            Waiting(
                gettext("Your approval: %(title)s") % {"title": entry.title},
                f"/approvals/{entry.pk}/",
                entry.expires_at,
            )
            for entry in asked
        ),
        *(
            Waiting(gettext("Your triage: %(ref)s") % {"ref": incident.ref}, f"/incidents/{incident.ref}/")
            for incident in mine
            if incident.state == IncidentState.DETECTED
        ),
        *(
            Waiting(
                gettext("Your task: %(text)s") % {"text": task.text},
                f"/incidents/{task.incident.ref}/work/",
                task.due_at,
            )
            for task in tasks_of(user)[:20]
        ),
        *(
            Waiting(
                gettext("Your answer: %(kind)s") % {"kind": one.get_kind_display().lower()},
                f"/reviews/{one.review.incident.ref}/",
            )
            for one in asked_of(user)[:20]
        ),
        *(
            Waiting(
                gettext("Your action item: %(text)s") % {"text": item.text}, f"/reviews/{item.review.incident.ref}/"
            )
            for item in items_of(user)[:20]
        ),
    ]


def _may_approve(entry: ApprovalRequest, user: User, roles: frozenset[str]) -> bool:
    if entry.proposer_id == user.pk or not eligible_roles(entry, roles):
        return False
    return not any(seat.by and seat.by.pk == user.pk for seat in standing(entry).seats)


def seats(request: ApprovalRequest, now: Standing) -> list[dict[str, Any]]:
    """The seats as `parts/approval_card.html` takes them."""
    able = who_may_fill(request, {seat.role for seat in now.seats if not seat.by}, now.decisions)
    return [
        {
            "role": seat.role or "approver",
            "person": str(seat.by) if seat.by else "",
            "at": seat.decision.decided_at if seat.decision else None,
            "decision": seat.decision.decision if seat.decision else "",
            "who_may": [] if seat.by else [str(one) for one in able[seat.role]],
        }
        for seat in now.seats
    ]
