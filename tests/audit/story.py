"""A rollback as the log tells it: opened, approved by two, consumed, started, carried out. Each part can be varied."""

import datetime
from typing import Any

from audit.actions import Actor, Target, record, service_actor
from audit.verify import installed_policies, policy_hash
from tests.audit.log import ALICE, BOB, CAROL

PLAN, REQUEST, RUN = "a" * 64, "request-1", "run-1"
POLICY = installed_policies()["rollback-high-production"]
WORKER = service_actor("worker")


def now(minutes: float = 0) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=minutes)


def put(action: str, data: dict[str, Any], actor: Actor = WORKER, incident: str = "INC-1", **more: Any) -> None:
    about = Target("approval_request", data["request"]) if action.startswith("approval.") else Target("run", RUN)
    record(action=action, target=about, actor=actor, data=data, incident=incident, **more)


def held(user: str, role: str, actor: Actor = WORKER, **change: Any) -> None:
    """A role given by a program at set-up, counting since yesterday."""
    data = {"grant": f"grant-{user}-{role}", "user": user, "role": role, "scope": {}, "counts_from": now(-1440)}
    record(action="role.grant", target=Target("user", user), actor=actor, data=data | change)


def people() -> None:
    """Bob commands and Carol approves."""
    held("u-bob", "commander")
    held("u-carol", "approver")


def opened(**change: Any) -> None:
    data = {
        "request": REQUEST,
        "subject_kind": "rollback",
        "subject_hash": PLAN,
        "policy": POLICY,
        "policy_hash": policy_hash(POLICY),
        "proposer": "u-alice",
        "expires_at": now(30),
    }
    put("approval.open", data | change)


def decided(actor: Actor, role: str, decision: str = "approve", outcome: str = "success", **change: Any) -> None:
    data = {"request": REQUEST, "subject_hash": PLAN, "decision": decision, "role": role, "roles": [role]}
    put("approval.decide", data | {"auth_time": now(-1)} | change, actor, outcome=outcome)


def consumed(**change: Any) -> None:
    seats = [{"by": "u-bob", "role": "commander"}, {"by": "u-carol", "role": "approver"}]
    put("approval.consume", {"request": REQUEST, "subject_hash": PLAN, "seats": seats} | change)


def started(**change: Any) -> None:
    data = {
        "run": RUN,
        "plan": "plan-1",
        "plan_hash": PLAN,
        "request": REQUEST,
        "policy_hash": policy_hash(POLICY),
        "kind": "rollback",
        "endpoint": "employment-production",
        "from": "2" * 64,
        "to": "1" * 64,
        "hosts": ["gpu-1", "gpu-2"],
    }
    put("rollback.run.start", data | change)


def stepped(part: str = "outcome", **change: Any) -> None:
    data = {"run": RUN, "plan_hash": PLAN, "host": "gpu-1", "step": "switch", "fence": 4, "version": "1" * 64}
    put(f"rollback.step.{part}", data | change, outcome="intent" if part == "intent" else "success")


def approved() -> None:
    opened()
    decided(BOB, "commander")
    decided(CAROL, "approver")
    consumed()


def whole() -> None:
    """Everything as it should be."""
    approved()
    started()
    stepped("intent")
    stepped()


def models() -> None:
    """Two models with an endpoint each; an incident of the second; a role of no use."""
    for slug in ("income", "mortgage"):
        record(action="model.register", target=Target("model", slug), actor=ALICE, data={"name": slug})
        endpoint = {"model": slug, "environment": "production"}
        place = Target("endpoint", "employment-production" if slug == "income" else "mortgage-production")
        record(action="endpoint.register", target=place, actor=ALICE, data=endpoint)
        data = {"model": slug, "number": 1}
        record(action="version.register", target=Target("version", f"{slug}/1"), actor=ALICE, data=data, reason="new")
    held("u-mallory", "approver")
    put("incident.open", {"endpoint": "mortgage-production"}, ALICE, incident="INC-2", reason="mortgages are slow")


def hard_to_write() -> None:
    """The end of INC-1, in words that a spreadsheet or a terminal would take for more than words."""
    put("incident.update", {"claims": ["=1+1", "-2", "\u202eabc"]}, BOB, reason="=HYPERLINK(1)")
    put("incident.resolve", {"state": "resolved"}, BOB, reason="it is\nback")
    put("incident.close", {"state": "closed"}, BOB, reason="done")


def two_models() -> None:
    """The models, and the run of INC-1, which is income's, to its end."""
    models()
    people()
    whole()
    hard_to_write()
