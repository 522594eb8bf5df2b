"""The one clock that deadlines are measured by: the database's, however wrong the clocks of web and workers are."""

from datetime import datetime

from django.db import connection


def database_now() -> datetime:
    """The time at this moment (not at the start of the transaction), by the database's clock, in UTC."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now
