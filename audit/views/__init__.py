"""The auditors' pages, and who may open them."""

from audit.views.access import EXPORT, READ, actor_of, auditors, require
from audit.views.pages import bundle_response, checkpoint, event, export, log, state_in_words

__all__ = [
    "EXPORT",
    "READ",
    "actor_of",
    "auditors",
    "bundle_response",
    "checkpoint",
    "event",
    "export",
    "log",
    "require",
    "state_in_words",
]
