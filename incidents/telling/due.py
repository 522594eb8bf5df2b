"""What the clock must wake here."""

from datetime import datetime

from audit.due import Due
from incidents.telling.carry import has_waiting
from incidents.telling.maintenance import due_maintenances
from incidents.telling.months import unfrozen
from incidents.telling.subscribers import unconfirmed


def waiting_messages(now: datetime) -> list[int]:
    """One wake-up for whoever carries messages out, where any may go out now."""
    return [0] if has_waiting(now) else []


SOURCES = [
    Due(task="telling.turn_maintenance", queue="intake", ids=due_maintenances),
    Due(task="telling.freeze_months", queue="intake", ids=unfrozen),
    Due(task="telling.forget_unconfirmed", queue="intake", ids=unconfirmed),
    Due(task="telling.carry", queue="intake", ids=waiting_messages),
]
