"""``manage.py audit sequence | verify | export | key | witness``."""

import signal
import threading
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.dateparse import parse_datetime

from audit.actions import log_origin, service_actor
from audit.export import NothingToExport, ScopeError, export_bundle
from audit.integrity import verify_log
from audit.note import KeyFileError, create_key_file, read_key_file
from audit.refusal import RefusesToSign
from audit.sequencer import Sequencer, SignedMemory


class Command(BaseCommand):
    help = "The audit log: put events in the tree and sign it, verify it, export it, make its key."
    # The sequencer holds the key: it loads no page and no API, as the checks would.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser("sequence", help="run the sequencer until stopped (the only program that holds the key)")
        verify = verbs.add_parser("verify", help="recompute the log from the stored bytes; status 1 when it is bad")
        verify.add_argument("--key", default="", help="the log's public key; without it, those that the database names")
        export = verbs.add_parser("export", help="write a bundle that verifies offline")
        export.add_argument("path", type=Path)
        export.add_argument("--incident", default="", help="only this incident")
        export.add_argument("--model", default="", help="only this model (its short name), with all of its incidents")
        export.add_argument("--person", default="", help="only what this person did or is named in (the pseudonym)")
        export.add_argument("--since", default="", help="only from this moment on (ISO 8601 with time zone)")
        export.add_argument("--until", default="", help="only before this moment")
        words = "size of an older checkpoint that a part shall show to be extended (the whole log shows it for each)"
        export.add_argument("--extends", type=int, default=0, help=words)
        key = verbs.add_parser("key", help="make the signing key, if there is none, and print the public one")
        key.add_argument("--file", default="", help="path; default LASTGOOD_LOG_KEY_FILE")

        witness = verbs.add_parser("witness", help="cosign the log's checkpoints as long as they are consistent")
        witness.add_argument("--name", required=True, help="the witness's name, such as witness.example/lastgood")
        witness.add_argument("--key", required=True, type=Path, help="the witness's own key; made where it is missing")
        witness.add_argument("--state", required=True, type=Path, help="what was cosigned last; never copy or share it")
        witness.add_argument(
            "--log-url", required=True, help="where Lastgood answers, such as https://lastgood.example"
        )
        witness.add_argument("--log-key", required=True, help="the log's public key, got by another way")
        witness.add_argument("--every", type=float, default=10.0, help="seconds between two looks")
        witness.add_argument("--once", action="store_true", help="look once and end")

    def handle(self, *args: Any, **options: Any) -> None:
        getattr(self, options["verb"])(options)

    def sequence(self, options: dict[str, Any]) -> None:
        path = self._key_path("")
        stop = self._until_stopped()
        try:
            sequencer = Sequencer(read_key_file(path), SignedMemory(path.with_name(f"{path.name}.last")))
            sequencer.run(stop)
        except KeyFileError as error:
            raise CommandError(str(error)) from error
        except RefusesToSign as refusal:
            raise CommandError(f"Refuses to sign: {refusal}", returncode=refusal.exit_status) from refusal

    def verify(self, options: dict[str, Any]) -> None:
        report = verify_log(options["key"])
        for sentence in report.problems:
            self.stdout.write(f"BAD  {sentence}")
        if not report.ok:
            where = "" if report.first_bad_leaf is None else f" The first bad leaf is {report.first_bad_leaf}."
            raise CommandError(f"The log is not whole.{where}")
        self.stdout.write(
            f"The log is whole: {report.size} leaves, root {report.root.hex()}, {report.checkpoints} checkpoints."
        )

    def export(self, options: dict[str, Any]) -> None:
        scope: dict[str, Any] = {name: options[name] for name in ("incident", "model", "person", "extends")}
        scope |= {name: self._moment(name, options[name]) for name in ("since", "until")}
        try:
            info = export_bundle(options["path"], actor=service_actor("manage"), **scope)
        except (NothingToExport, ScopeError) as error:
            options["path"].unlink(missing_ok=True)
            raise CommandError(str(error)) from error
        self.stdout.write(f"{info.path}: {info.events} events, tree of {info.size}, root {info.root}.")
        if info.receipt is None:
            self.stdout.write(
                "The log did not sign a receipt in time, so the bundle counts as incomplete. Start the sequencer, then "
                "export again."
            )

    def key(self, options: dict[str, Any]) -> None:
        path = self._key_path(options["file"])
        try:
            signer = read_key_file(path) if path.exists() else create_key_file(path, log_origin())
        except KeyFileError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(signer.vkey)

    def witness(self, options: dict[str, Any]) -> None:
        # Here, because the sequencer, which holds the log's key, shall not load an HTTP client.
        from audit.witness import Equivocation, NotCosigned, StateInUse, Witness, WitnessState, client_of

        if not settings.LASTGOOD_WITNESS_TOKEN:
            raise CommandError("Set LASTGOOD_WITNESS_TOKEN, or _FILE, to a token with the scope witness.")
        state = WitnessState(options["state"])
        try:
            path = options["key"]
            signer = read_key_file(path) if path.exists() else create_key_file(path, options["name"])
            if signer.name != options["name"]:
                raise CommandError(f"{path} is the key of {signer.name}. Give --name {signer.name}, or another --key.")
            self.stdout.write(f"LASTGOOD_WITNESSES={signer.vkey}")
            state.open()
            with client_of(options["log_url"], settings.LASTGOOD_WITNESS_TOKEN) as client:
                witness = Witness(signer, state, options["log_key"], client)
                if options["once"]:
                    self.stdout.write(f"Cosigned {witness.look().size} leaves.")
                else:
                    witness.run(self._until_stopped(), options["every"])
        except (KeyFileError, StateInUse, NotCosigned, ValueError) as error:
            raise CommandError(str(error)) from error
        except Equivocation as alarm:
            raise CommandError(str(alarm), returncode=alarm.exit_status) from alarm
        finally:
            state.close()

    @staticmethod
    def _until_stopped() -> threading.Event:
        """Set by SIGTERM and SIGINT."""
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        return stop

    @staticmethod
    def _key_path(given: str) -> Path:
        path = given or settings.LASTGOOD_LOG_KEY_FILE
        if not path:
            raise CommandError("Set LASTGOOD_LOG_KEY_FILE to the path of the log's signing key, or give --file.")
        return Path(path)

    @staticmethod
    def _moment(name: str, text: str) -> Any:
        moment = parse_datetime(text) if text else None
        if text and (moment is None or moment.tzinfo is None):
            raise CommandError(f"--{name} is {text!r}; write it like 2026-03-01T14:05:00Z.")
        return moment
