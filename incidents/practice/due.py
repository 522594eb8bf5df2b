"""What the clock must wake here."""

from audit.due import Due
from incidents.practice.drills import due_schedules, unfollowed

SOURCES = [
    Due(task="practice.follow_drill", queue="intake", ids=unfollowed),
    Due(task="practice.fire_schedule", queue="intake", ids=due_schedules),
]
