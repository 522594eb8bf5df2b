"""What the clock must wake here."""

from audit.due import Due
from incidents.learning.actions import unreminded

SOURCES = [Due(task="learning.remind", queue="intake", ids=unreminded)]
