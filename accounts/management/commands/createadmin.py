"""Make the first administrator, or one more."""

import getpass
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from accounts.actions import AccountError, create_user
from accounts.models import Role
from audit.actions import service_actor


class Command(BaseCommand):
    help = "Make an administrator. Asks for a password; with --password-stdin reads it from standard input."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--email", default="")
        parser.add_argument("--name", default="", help="Full name, shown to colleagues.")
        parser.add_argument("--role", action="append", choices=Role.values, help="Further roles, repeatable.")
        parser.add_argument("--password-stdin", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["password_stdin"]:
            password = sys.stdin.readline().rstrip("\n")
        else:
            password = getpass.getpass("Password: ")
            if getpass.getpass("Again: ") != password:
                raise CommandError("The two passwords differ. Nothing was made; run the command again.")
        roles = [Role.ADMINISTRATOR, *(options["role"] or [])]
        try:
            user = create_user(
                username=options["username"],
                email=options["email"],
                full_name=options["name"] or options["username"],
                password=password,
                roles=dict.fromkeys(roles),
                actor=service_actor("createadmin"),
            )
        except AccountError as error:
            raise CommandError(str(error)) from error
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        self.stdout.write(f"Made {user.username} with the roles {', '.join(roles)}. Sign in at /accounts/login/.")
