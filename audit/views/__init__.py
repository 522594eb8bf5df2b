"""The auditors' pages, and who may open them."""

from audit.views.access import EXPORT, HOLD, READ, actor_of, auditors, require
from audit.views.jobs import approvers, break_glass, changes, duties, versions
from audit.views.pages import bundle_response, checkpoint, event, event_record, export, log, state_in_words
from audit.views.private import holds, lift_hold, reveal_text
from audit.views.tables import csv_file, export_table

__all__ = [
    "EXPORT",
    "HOLD",
    "READ",
    "actor_of",
    "approvers",
    "auditors",
    "break_glass",
    "bundle_response",
    "changes",
    "checkpoint",
    "csv_file",
    "duties",
    "event",
    "event_record",
    "export",
    "export_table",
    "holds",
    "lift_hold",
    "log",
    "require",
    "reveal_text",
    "state_in_words",
    "versions",
]
