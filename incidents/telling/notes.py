"""Messages that are about no post of a status page, but call somebody to an incident: in each receiver's own form.

Their words are frozen when they are written: {"type", "subject", "text", "link", "incident", "severity" (1 worst),
"source", "at", "event" (trigger, acknowledge or resolve), "dedup_key"}; what is not known is absent.
"""

import json
from collections.abc import Mapping
from typing import Any

from django.core.mail import EmailMessage

Words = Mapping[str, Any]
PAGER_SEVERITIES = {1: "critical", 2: "error", 3: "warning", 4: "info"}
"""PagerDuty's words for our severities."""
PAGER_SUMMARY = 1024
"""As many characters PagerDuty takes of a summary."""


def letter(words: Words, address: str, headers: dict[str, str]) -> EmailMessage:
    """The e-mail, in plain text, of high priority where it wakes."""
    if words.get("event") == "trigger":
        headers = headers | {"Importance": "high", "X-Priority": "1"}
    subject = " ".join(str(words["subject"]).split())[:200]
    return EmailMessage(subject, text(words), to=[address] if address else [], headers=headers)


def text(words: Words) -> str:
    """What is told, with its link at the end."""
    return f"{words['text']}\n\n{words['link']}" if words.get("link") else str(words["text"])


def for_webhook(words: Words) -> bytes:
    """The body of a signed webhook, with Standard Webhooks' `type`."""
    return json.dumps(dict(words)).encode()


def for_pager(words: Words, key: str) -> bytes:
    """An event of PagerDuty's Events API v2. `key` is the integration's."""
    event: dict[str, Any] = {
        "routing_key": key,
        "event_action": words.get("event", "trigger"),
        "dedup_key": words.get("dedup_key", ""),
    }
    if event["event_action"] == "trigger":
        event |= {
            "payload": {
                "summary": str(words["subject"])[:PAGER_SUMMARY],
                "severity": PAGER_SEVERITIES[words.get("severity", 4)],
                "source": words.get("source") or "lastgood",
                "timestamp": words.get("at"),
                "custom_details": {"text": words["text"], "incident": words.get("incident", "")},
            },
            "client": "Lastgood",
            "client_url": words.get("link", ""),
            "links": [{"href": words["link"], "text": "Open it in Lastgood"}] if words.get("link") else [],
        }
    return json.dumps(event).encode()
