"""What the clock must wake here."""

from audit.due import Due
from incidents.practice.automatic import due_incidents, unjudged, waiting_drills
from incidents.practice.drills import due_schedules, unfollowed
from incidents.practice.exported import due_runbooks

SOURCES = [
    Due(task="practice.refresh_runbook", queue="intake", ids=due_runbooks),
    Due(task="practice.follow_drill", queue="intake", ids=unfollowed),
    Due(task="practice.fire_schedule", queue="intake", ids=due_schedules),
    Due(task="practice.let_drill", queue="intake", ids=waiting_drills),
    Due(task="practice.consider", queue="intake", ids=due_incidents),
    Due(task="practice.judge", queue="intake", ids=unjudged),
]
