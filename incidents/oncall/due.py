"""What the clock must wake here."""

from audit.due import Due
from incidents.oncall.contacts import unconfirmed
from incidents.oncall.escalations import due, unbegun

SOURCES = [
    Due(task="oncall.begin", queue="intake", ids=unbegun),
    Due(task="oncall.turn", queue="intake", ids=due),
    Due(task="oncall.forget_unconfirmed", queue="intake", ids=unconfirmed),
]
