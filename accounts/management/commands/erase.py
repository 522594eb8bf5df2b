"""``manage.py erase USERNAME --reason "..."``: erase a person from the machine itself."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.erasure.actions import erase_person
from accounts.errors import AccountError
from accounts.models import User
from audit.actions import service_actor


class Command(BaseCommand):
    help = "Erase a person: the account becomes its pseudonym, and what they wrote can't be opened any more."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--reason", required=True, help="why; goes on record")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username=options["username"]).first()
        if user is None:
            raise CommandError(f"Nobody has the user name {options['username']}.")
        try:
            erased = erase_person(user=user, by=None, reason=options["reason"], actor=service_actor("manage"))
        except AccountError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{user.pseudonym}: {erased.texts} texts can't be opened any more.")
        for table, count in sorted(erased.rows.items()):
            self.stdout.write(f"  {table}: {count}")
