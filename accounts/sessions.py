"""Sessions in the database that end by the database's clock, whatever the clocks of the web processes say."""

import datetime
from typing import Any

from django.contrib.sessions.backends.db import SessionStore as DatabaseSessions
from django.db.models.functions import Now

from audit.clock import database_now


class SessionStore(DatabaseSessions):
    """Django's own store; the moment of the end is written and judged by the database."""

    def _get_session_from_db(self) -> Any:
        row = self.model.objects.filter(session_key=self.session_key, expire_date__gt=Now()).first()
        if row is None:
            self._session_key = None
        return row

    def create_model_instance(self, data: dict[str, Any]) -> Any:
        row = super().create_model_instance(data)
        row.expire_date = database_now() + datetime.timedelta(seconds=self.get_expiry_age())
        return row
