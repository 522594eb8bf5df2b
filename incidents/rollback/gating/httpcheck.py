"""The gate that asks an HTTP address: its status, and a value in its JSON where the gate names one."""

import json
from typing import Any

from django.conf import settings

from accounts.outgoing import AddressRefused, FetchFailed, ask
from incidents.rollback.gating.told import Asked, Said
from incidents.rollback.models import CheckAnswer

PASS, FAIL, INCONCLUSIVE = CheckAnswer.PASS, CheckAnswer.FAIL, CheckAnswer.INCONCLUSIVE
SETTING = "LASTGOOD_GATE_NETWORKS"
MOST_BYTES = 2**20


def ask_http(asked: Asked) -> Said:
    """Whether the address answers as the gate expects. Addresses are checked when they are connected to, redirects are
    not followed, and no answer at all says nothing of the version."""
    body = asked.gate.body
    content = asked.fill(body["content"]).encode()
    try:
        answer = ask(
            body["method"],
            asked.fill(body["url"]),
            networks=settings.LASTGOOD_GATE_NETWORKS,
            content=content,
            headers={"Content-Type": "application/json"} if content else None,
            seconds=float(body["seconds"]),
            limit=MOST_BYTES,
            setting=SETTING,
        )
    except (AddressRefused, FetchFailed) as error:
        return Said(INCONCLUSIVE, str(error))
    if answer.status != body["status"]:
        return Said(FAIL, f"status {answer.status}")
    if "pointer" not in body:
        return Said(PASS, f"status {answer.status}")
    try:
        value = resolve(json.loads(answer.body), body["pointer"])
    except (ValueError, LookupError, RecursionError):
        return Said(FAIL, f"status {answer.status}, and nothing at {body['pointer'] or 'the root'}")
    expected: dict[str, str] = {
        name: asked.fill(body[name]) for name in ("equals", "at_least", "at_most") if name in body
    }
    return Said(PASS if _fits(value, expected) else FAIL, f"{body['pointer'] or 'the root'} is {str(value)[:100]}")


def resolve(document: Any, pointer: str) -> Any:
    """What an RFC 6901 pointer leads to. Raises LookupError where it leads nowhere, ValueError for an index that is
    none."""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(document, list):
            if not key.isdecimal():
                raise ValueError(f"{key!r} is no index.")
            document = document[int(key)]
        elif isinstance(document, dict):
            document = document[key]
        else:
            raise LookupError(key)
    return document


def _fits(value: Any, expected: dict[str, str]) -> bool:
    if "equals" in expected and (json.dumps(value) if not isinstance(value, str) else value) != expected["equals"]:
        return False
    limits = {name: float(limit) for name, limit in expected.items() if name != "equals"}
    if limits and (isinstance(value, bool) or not isinstance(value, int | float)):
        return False
    return all(value >= limit if name == "at_least" else value <= limit for name, limit in limits.items())
