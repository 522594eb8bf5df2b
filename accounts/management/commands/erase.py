"""``manage.py erase USERNAME --reason "..."``: erase a person, or with ``--event`` one text, on the machine itself."""

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from accounts.erasure.actions import erase_person
from accounts.errors import AccountError
from accounts.models import User
from audit.actions import service_actor
from audit.erasure import erase_reason
from audit.holds import Held
from audit.models import AuditEvent


class Command(BaseCommand):
    help = (
        "Erase a person: the account becomes its pseudonym, and what they wrote can't be opened any more. Or one text."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("username", nargs="?")
        what.add_argument("--event", type=UUID, help="the id of the event whose text alone is erased")
        parser.add_argument("--reason", required=True, help="why; goes on record")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["event"]:
            self._erase_text(options["event"], options["reason"])
        else:
            self._erase_person(options["username"], options["reason"])

    def _erase_text(self, event_id: UUID, reason: str) -> None:
        event = AuditEvent.objects.filter(event_uuid=event_id).first()
        try:
            if event is None or not erase_reason(event=event, actor=service_actor("manage"), reason=reason):
                raise CommandError(f"The event {event_id} has no text that could be erased.")
        except Held as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"The text of {event_id} is erased.")

    def _erase_person(self, username: str, reason: str) -> None:
        user = User.objects.filter(username=username).first()
        if user is None:
            raise CommandError(f"Nobody has the user name {username}.")
        try:
            erased = erase_person(user=user, by=None, reason=reason, actor=service_actor("manage"))
        except AccountError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{user.pseudonym}: {erased.texts} texts can't be opened any more.")
        for table, count in sorted(erased.rows.items()):
            self.stdout.write(f"  {table}: {count}")
