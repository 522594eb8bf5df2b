"""What the gallery shows: every part in every state, with values such as the scenario produces."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

HEX = "3f9c1d27a8e45b60c7128f0d94ab36e15d7c0a92fb48e613750c2d9e81f4a6b7"
STEP_NAMES = ["lock", "preflight", "stage", "load", "golden test", "switch", "post-check", "done"]


class Person:
    is_authenticated = True
    role_names = ("Approver", "Incident commander")

    def __str__(self) -> str:
        return "Mara Lindqvist"


def steps(done: int, at: str = "current", note: str = "", then: str = "waiting") -> list[dict[str, Any]]:
    now = timezone.now()
    made = []
    for index, name in enumerate(STEP_NAMES):
        state = "done" if index < done else at if index == done else then
        took = 0.08 + 0.31 * index if state == "done" else None
        seen = (
            {"stage": f"digest {HEX[:12]}", "golden test": "64 of 64 outputs equal"}.get(name, "")
            if state == "done"
            else ""
        )
        made.append(
            {
                "name": name,
                "state": state,
                "at": now - timedelta(seconds=90 - 4 * index) if state in {"done", "failed", "current"} else None,
                "seconds": took,
                "note": note if state in {"failed", "current"} else seen,
            }
        )
    return made


def lane(host: str, state: str, serving: int, made: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    base = {"id": f"lane-{host}", "host": host, "href": f"/endpoints/employment-production/#{host}", "state": state}
    return base | {"from_version": 2, "to_version": 1, "serving": serving, "steps": made} | more


def waves() -> list[dict[str, Any]]:
    now = timezone.now()
    canary = [lane("gpu-a1", "done", 1, steps(8), took=6.4, current="done")]
    rest = [
        lane(
            "gpu-b1",
            "running",
            2,
            steps(4, note="17 of 64 outputs compared"),
            current="golden test",
            since=now - timedelta(seconds=11),
        ),
        lane("gpu-b2", "pending", 2, steps(0, at="waiting"), current="waiting for a free slot"),
        lane(
            "gpu-b3",
            "failed",
            2,
            steps(4, at="failed", note="3 of 64 outputs differ by more than 0.001"),
            current="golden test failed",
            took=9.2,
            reason="Version 1 does not answer here as it should. Version 2 still serves; no request was lost.",
        ),
        lane(
            "gpu-b4",
            "unreachable",
            2,
            steps(2, at="failed", note="connect timed out after 2 s", then="skipped"),
            current="unreachable",
            since=now - timedelta(minutes=3),
            reason="The host does not answer. It is still in the pool: take it out, or bring it back.",
        ),
        lane(
            "gpu-b5",
            "compensating",
            1,
            steps(6, at="undone", then="skipped"),
            current="switching back",
            since=now - timedelta(seconds=4),
        ),
    ]
    return [
        {
            "number": 1,
            "label": "canary",
            "state": "done",
            "lanes": canary,
            "note": "checks passed after 20 s of live traffic",
        },
        {
            "number": 2,
            "label": "the rest",
            "state": "running",
            "lanes": rest,
            "note": "2 of 6 hosts may fail before the run halts",
        },
    ]


def evidence() -> list[dict[str, Any]]:
    fall = [0.781, 0.783, 0.779, 0.782, None, None, 0.78, 0.741, 0.712, 0.709, 0.711, 0.708]
    return [
        {
            "claim": "Accuracy fell on labelled traffic",
            "number": "70.8 %",
            "limit": "was 78.1 % before 02:14",
            "window": "4 200 answers, 02:14 to 02:31 UTC",
            "source": "two-proportion test, floor 2 points",
            "tone": "bad",
            "values": fall,
            "spark_limit": 0.76,
            "spark_label": "Accuracy from 78.1 % to 70.8 %, limit 76 %",
            "href": "#chart",
        },
        {
            "claim": "Input DIS no longer looks like its reference",
            "number": "PSI 0.61",
            "limit": "limit 0.20",
            "window": "3 000 rows, three hosts",
            "source": "judged over 15 columns, corrected",
            "tone": "warn",
            "values": [0.01, 0.02, 0.01, 0.4, 0.6, 0.61],
            "spark_limit": 0.2,
            "spark_label": "",
            "href": "#chart",
        },
        {
            "claim": "Latency is as before",
            "number": "1.4 ms",
            "limit": "p95, was 1.4 ms",
            "window": "12 000 requests",
            "source": "",
            "tone": "quiet",
            "values": [1.4, 1.5, 1.4, 1.4, 1.3, 1.4],
            "spark_limit": None,
            "spark_label": "",
            "href": "",
        },
    ]


def checks() -> list[dict[str, Any]]:
    return [
        {
            "question": "Do the golden outputs agree on every host?",
            "answer": "pass",
            "observed": "192 of 192",
            "expected": "all",
        },
        {
            "question": "Is the holdout accuracy that of version 1?",
            "answer": "pass",
            "observed": "78.0 %",
            "interval": "77.2 to 78.8 %",
            "expected": "at least 77.6 %",
        },
        {
            "question": "Is the live accuracy back?",
            "answer": "inconclusive",
            "observed": "77.1 %",
            "interval": "73.9 to 80.0 %",
            "expected": "at least 76.1 %",
            "note": "412 labels so far; 900 are needed.",
        },
        {
            "question": "Is the error rate as before?",
            "answer": "fail",
            "observed": "0.41 %",
            "expected": "at most 0.10 %",
        },
        {"question": "Does the served output still drift?", "answer": "running", "observed": "", "expected": ""},
        {
            "question": "Has the watch ended without an alert?",
            "answer": "pending",
            "observed": "",
            "expected": "10 min",
        },
    ]


def figure() -> dict[str, Any]:
    x = [f"2026-11-21T02:{minute:02}:00Z" for minute in range(0, 60, 2)]
    y: list[float | None] = [0.781 + (0.004 if i % 3 else -0.003) for i in range(30)]
    y[7:18] = [0.741, 0.715, 0.709, 0.712, 0.708, None, None, 0.706, 0.711, 0.709, 0.74]
    return {
        "data": [
            {"type": "scatter", "mode": "lines+markers", "x": x, "y": y, "name": "accuracy", "meta": {"tone": "accent"}}
        ],
        "layout": {
            "xaxis": {"title": "UTC"},
            "yaxis": {"title": "accuracy", "tickformat": ".0%", "range": [0.68, 0.82]},
        },
        "lastgood": {
            "markers": [
                {"x": "2026-11-21T02:17:00Z", "label": "incident", "kind": "incident"},
                *(
                    {"x": f"2026-11-21T02:17:{second}Z", "label": f"alert: a long name, {second}", "kind": "alert"}
                    for second in (10, 20, 30)
                ),
                {"x": "2026-11-21T02:34:00Z", "label": "rollback", "kind": "rollback"},
            ],
            "bands": [
                {"x0": "2026-11-21T02:00:00Z", "x1": "2026-11-21T02:12:00Z", "label": "version 1"},
                {"x0": "2026-11-21T02:12:00Z", "x1": "2026-11-21T02:34:00Z", "label": "version 2"},
                {"x0": "2026-11-21T02:34:00Z", "x1": "2026-11-21T02:58:00Z", "label": "version 1"},
            ],
            "limits": [{"y": 0.76, "label": "lower limit 76 %"}],
        },
    }


def bars() -> dict[str, Any]:
    return {
        "data": [
            {"type": "bar", "x": ["1 yes", "2 no"], "y": [0.12, 0.88], "name": "reference", "meta": {"tone": "muted"}},
            {
                "type": "bar",
                "x": ["1 yes", "2 no"],
                "y": [0.87, 0.13],
                "name": "this window",
                "meta": {"tone": "accent"},
            },
        ],
        "layout": {
            "xaxis": {"title": "DIS", "type": "category"},
            "yaxis": {"title": "share of rows", "tickformat": ".0%"},
        },
    }


def latency() -> dict[str, Any]:
    x = [f"2026-11-21T02:{minute:02}:00Z" for minute in range(0, 60, 5)]
    hosts = {"gpu-a1": 1.31, "gpu-b1": 1.62, "gpu-b2": 1.98}
    data = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": x,
            "y": [level + 0.05 * ((i * 7) % 4) for i in range(12)],
            "name": host,
        }
        for host, level in hosts.items()
    ]
    return {
        "data": data,
        "layout": {"xaxis": {"title": "UTC"}, "yaxis": {"title": "p95, ms", "rangemode": "tozero"}},
        "lastgood": {"direct": True},
    }


def diff() -> list[dict[str, str]]:
    rows = []
    for host in ("gpu-a1", "gpu-b1", "gpu-b2"):
        rows.append({"group": host, "label": "version", "before": "2", "after": "1"})
        rows.append({"group": host, "label": "weights", "before": f"sha256 {HEX[8:24]}", "after": f"sha256 {HEX[:16]}"})
        rows.append({"group": host, "label": "architecture", "before": "mlp-embeddings", "after": "mlp-embeddings"})
    return [*rows, {"group": "endpoint", "label": "alias quarantined", "before": "", "after": "version 2"}]


def approvals() -> list[dict[str, Any]]:
    now = timezone.now()
    filled = {"role": "approver", "person": "Jonas Weber", "at": now - timedelta(minutes=2), "decision": "approve"}
    empty = {"role": "commander", "person": "", "who_may": ["Mara Lindqvist", "Tomás Oliveira"]}
    policy = "One approver and one incident commander who did not propose it, each with a fresh proof of identity."
    base = {"policy": policy, "proposer": "Ana Ruiz", "hash": HEX}
    return [
        base | {"state": "open", "seats": [filled, empty], "expires_at": now + timedelta(minutes=21, seconds=9)},
        base
        | {
            "state": "denied",
            "expires_at": None,
            "note": "Denied: the labels of the last hour are suspect.",
            "seats": [filled, filled | {"person": "Tomás Oliveira", "role": "commander", "decision": "deny"}],
        },
    ]


def timeline() -> list[dict[str, Any]]:
    now = timezone.now()

    def entry(
        seq: int, action: str, actor: str, text: str, ago: int, outcome: str = "success", reason: str = ""
    ) -> dict[str, Any]:
        event = {
            "seq": seq,
            "action": action,
            "actor": actor,
            "occurred_at": now - timedelta(seconds=ago),
            "outcome": outcome,
            "reason": reason,
        }
        return {"entry": event, "text": text}

    return [
        entry(1, "alert.fire", "monitoring", "Accuracy of employment-production fell below its limit.", 1010),
        entry(2, "incident.declare", "monitoring", "Incident opened with evidence of three findings.", 1008),
        entry(
            3,
            "incident.triage",
            "Ana Ruiz",
            "Severity set to 2; Mara Lindqvist commands.",
            840,
            reason="Letters go out at six; people with a disability are hit most.",
        ),
        entry(
            4,
            "approval.decide",
            "Ana Ruiz",
            "Approval refused: who proposed a plan cannot approve it.",
            600,
            outcome="denied",
        ),
        entry(5, "approval.decide", "Jonas Weber", "Approved the plan as approver.", 130),
        entry(6, "rollback.step.outcome", "worker", "gpu-a1 switched to version 1 and answers as it should.", 74),
    ]


def uptime() -> list[dict[str, Any]]:
    today = timezone.now().date()
    special = {
        3: ("degraded", "degraded for 41 min"),
        17: ("major_outage", "down for 12 min"),
        18: ("maintenance", "maintenance for 30 min"),
    }
    days = []
    for ago in range(89, -1, -1):
        state, label = special.get(ago, ("unknown", "no data") if ago > 70 else ("operational", "no incident"))
        days.append({"date": today - timedelta(days=ago), "state": state, "label": label})
    return days
