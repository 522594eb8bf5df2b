"""What the clock must wake here."""

from audit.due import Due
from incidents.learning.reminders import items_due, signatures_due, updates_due

SOURCES = [
    Due(task="learning.remind", queue="intake", ids=items_due),
    Due(task="learning.remind_of_signature", queue="intake", ids=signatures_due),
    Due(task="learning.remind_of_update", queue="intake", ids=updates_due),
]
