"""The auditors' pages, and who may open them."""

from audit.views.access import EXPORT, HOLD, READ, actor_of, auditors, require
from audit.views.pages import bundle_response, checkpoint, event, export, log, state_in_words
from audit.views.private import holds, lift_hold, reveal_text

__all__ = [
    "EXPORT",
    "HOLD",
    "READ",
    "actor_of",
    "auditors",
    "bundle_response",
    "checkpoint",
    "event",
    "export",
    "holds",
    "lift_hold",
    "log",
    "require",
    "reveal_text",
    "state_in_words",
]
