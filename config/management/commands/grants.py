from typing import Any

from django.core.management.base import BaseCommand

from config import grants


class Command(BaseCommand):
    help = "States anew what the application's and the sequencer's login may do with each table."

    def handle(self, *args: Any, **options: Any) -> None:
        tables = grants.apply()
        self.stdout.write(
            f"Granted on {tables} tables."
            if tables
            else "Nothing granted: owner, application and sequencer are not three logins. "
            "Set OWNER_DATABASE_URL and SEQUENCER_DATABASE_URL to separate them."
        )
