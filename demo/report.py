"""`var/demo-report.json`: every value measured in this run."""

from datetime import datetime
from typing import Any

from demo.response import READER
from demo.scenario import Told
from demo.stage import ENDPOINT, HOSTS, Stage


def report(stage: Stage, told: Told, packages: tuple[Any, Any], audit: dict[str, Any]) -> dict[str, Any]:
    """The report of a story that was told to its end."""
    from accounts.models import ApprovalDecision
    from audit.queries import status
    from incidents.rollback.models import HostStep, Run
    from monitoring.queries import accuracy_between
    from registry.models import Endpoint

    endpoint = Endpoint.objects.get(slug=ENDPOINT)
    run = Run.objects.get(plan=told.plan)
    seen, log, m = stage.traffic(), status(), told.moments
    steps = HostStep.objects.filter(run=run, state="done")
    v1, v2 = str(told.v1.number), str(told.v2.number)

    def share(start: datetime, end: datetime, version: str) -> float | None:
        found = accuracy_between(endpoint, start, end, version=version).share
        return None if found is None else round(found, 4)

    checks = [
        {"name": c.name, "stage": c.stage, "result": c.answer, "observed": c.observed, "expected": c.expected}
        for c in run.checks.all()
    ]
    accuracy = {
        "before": share(endpoint.created_at, m["fault"], v1),
        "during": share(m["before_fault"], m["switched"], v2),
        "after": share(m["switched"], m["verified"], v1),
    }
    decisions = ApprovalDecision.objects.filter(request_id=told.plan.request_id).select_related("by")
    hosts_switched = sorted(step.host.name for step in steps.select_related("host") if step.switch_calls >= 1)
    used = used_of(told.incident, stage)
    ok = (
        seen["failed"] == 0
        and hosts_switched == sorted(HOSTS)
        and told.refused_self_approval
        and audit["bundle_verified"]
        and all(check["result"] == "pass" for check in checks)
        and told.status_words[-1] == "resolved"
        and all(used.values())
    )
    return {
        "ok": ok,
        "fault": told.fault,
        "hosts": list(HOSTS),
        "model": {
            "v1_holdout_accuracy": packages[0].metrics["holdout"]["accuracy"],
            "v2_offline_accuracy": packages[1].metrics["holdout"]["accuracy"],
        },
        "accuracy": accuracy,
        "seconds": {
            "fault_to_alert": _seconds(m["fault"], m["alert"]),
            "alert_to_incident": _seconds(m["alert"], m["incident"]),
            "approval_to_all_switched": _seconds(m["approved"], m["switched"]),
            "approval_to_verified": _seconds(m["approved"], m["verified"]),
        },
        "traffic": {"requests": seen["requests"], "failed": seen["failed"], "answered_by": seen["answered_by"]},
        "rollback": {
            "plan_hash": told.plan.plan_hash,
            "target": v1,
            "hosts_switched": hosts_switched,
            "checks": checks,
        },
        "approvals": [{"by": d.by.username, "decision": d.decision} for d in decisions],
        "refused_self_approval": told.refused_self_approval,
        "audit": {
            "events": log.tree_size + log.lag_events,
            "tree_size": log.tree_size,
            "root": log.root,
            "log_key": audit["log_key"],
            "verified": True,
            "bundle_verified": audit["bundle_verified"],
        },
        "status_page": told.status_words,
        "used": used,
        "urls": {
            "server": told.server,
            "incident": f"{told.server}/incidents/{told.incident}/",
            "endpoint": f"{told.server}/endpoints/{ENDPOINT}/",
            "approval": f"{told.server}/approvals/{told.plan.request_id}/",
            "review": f"{told.server}/reviews/{told.incident}/",
            "audit": f"{told.server}/audit/",
        },
    }


def used_of(ref: str, stage: Stage) -> dict[str, int]:
    """How often each part of the work around an incident was used, counted in the product's own tables and in what its
    letters' receiver took; 0 for a part that was not."""
    from incidents.models import Incident
    from incidents.oncall.models import Call, Escalation, State
    from incidents.telling.models import Maintenance
    from incidents.working.models import Sighting, Step

    incident = Incident.objects.get(ref=ref)
    review = incident.review
    about = [letter for letter in stage.mailbox.letters(READER) if not letter.link("/confirm/")]
    return {
        "calls": Call.objects.filter(escalation__incident=incident).count(),
        "calls_answered": Escalation.objects.filter(incident=incident).exclude(taken_by=None).count(),
        "calls_over": Escalation.objects.filter(incident=incident, state=State.ENDED).count(),
        "runbook_steps_done": Step.objects.filter(use__incident=incident).exclude(done_at=None).count(),
        "tasks_done": incident.tasks.filter(state="done").count(),
        "seen_after_roll_call": Sighting.objects.filter(incident=incident).count(),
        "maintenances_announced": Maintenance.objects.count(),
        "letters_to_a_reader": len(about),
        "causes": review.contributing.count(),
        "signed": review.signatures.filter(answer="yes").count(),
        "action_items": review.action_items.count(),
        "analytics_incidents": figures_of_incidents(),
    }


def figures_of_incidents() -> int:
    """Of how many incidents the page of figures tells now."""
    from datetime import timedelta

    from audit.clock import database_now
    from incidents.learning.figures import Chosen, figures

    now = database_now()
    day = timedelta(days=1)
    return figures(Chosen(since=now - day, until=now + day, model="", severity=None, cause=""), now.date()).count


def _seconds(start: datetime, end: datetime) -> float:
    return round((end - start).total_seconds(), 2)
