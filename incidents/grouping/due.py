"""What the clock must wake here."""

from audit.due import Due
from incidents.grouping import flapping

SOURCES = [
    Due(task="grouping.begin_flap", queue="intake", ids=flapping.unnoted),
    Due(task="grouping.end_flap", queue="intake", ids=flapping.quiet),
]
