"""``manage.py forget_address ADDRESS --reason "..."``: end every subscription of an address, and forget it."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from audit.actions import service_actor
from incidents.telling.subscribers import forget


class Command(BaseCommand):
    help = (
        "End all that an address is told by status pages, because its owner asks for it. The address goes into no log."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("address")
        parser.add_argument("--reason", required=True, help="why; goes on record, so don't write the address into it")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            ended = forget(address=options["address"], actor=service_actor("manage"), reason=options["reason"])
        except ValueError as refused:
            raise CommandError(str(refused)) from refused
        self.stdout.write(f"{ended} subscription{'' if ended == 1 else 's'} ended.")
