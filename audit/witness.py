"""A witness of the log: cosigns a checkpoint only if the log's tree extends the one that was cosigned before.

It needs no database, only the log's address, its public key and a token with the scope ``witness``; it belongs on
another machine, under another administrator. A log that shows two histories can't get both cosigned by one witness.
"""

import base64
import fcntl
import json
import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx

from audit.durable import write_durably
from audit.note import Signer
from audit.verify import Checkpoint, check_consistency, open_note, parse_checkpoint, parse_vkey

log = logging.getLogger(__name__)

CHECKPOINTS = "/api/v1/audit/checkpoints"
COSIGNATURES = "/api/v1/audit/cosignatures/"
TIMEOUT_SECONDS = 10.0
MOST_BYTES = 1 << 20


class NotCosigned(Exception):
    """This time nothing was cosigned; the next time may be better. The message says why."""


class Equivocation(Exception):
    """The log does not extend what this witness has cosigned. Both notes are kept; a person must look."""

    exit_status = 4


class StateInUse(Exception):
    """Another witness works with the same state file."""


@dataclass(frozen=True)
class Seen:
    """The last checkpoint that was cosigned, with the log's note."""

    checkpoint: Checkpoint
    note: str


class WitnessState:
    """The last cosigned checkpoint, and the evidence of an equivocation, in two files that no other witness uses."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.evidence_path = path.with_name(f"{path.name}.evidence")
        self._lock: IO[str] | None = None

    def open(self) -> None:
        """Lock the state until this process ends. Raises StateInUse, and Equivocation where one was found before."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = self.path.with_name(f"{self.path.name}.lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StateInUse(f"Another witness works with {self.path}. Give each its own --state.") from error
        if self.evidence_path.exists():
            raise Equivocation(
                f"An equivocation was found before, and nothing is cosigned since: see {self.evidence_path}. "
                "Once it has been explained, move that file away and start again."
            )

    def close(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def read(self) -> Seen | None:
        """None before the first checkpoint."""
        try:
            note = json.loads(self.path.read_text())["note"]
        except FileNotFoundError:
            return None
        return Seen(parse_checkpoint(note), note)

    def write(self, note: str) -> None:
        write_durably(self.path, json.dumps({"note": note}) + "\n")

    def keep_evidence(self, sentence: str, seen: Seen, shown: str, proof: list[str]) -> None:
        """Two notes that the log signed and that can't both belong to one history."""
        found = {"found": sentence, "cosigned_note": seen.note, "shown_note": shown, "proof": proof}
        write_durably(self.evidence_path, json.dumps(found, indent=2, ensure_ascii=False) + "\n")


class Witness:
    """One witness of one log. ``client`` has the log's address as its base and the token in its headers."""

    def __init__(self, signer: Signer, state: WitnessState, log_vkey: str, client: httpx.Client) -> None:
        self.signer, self.state, self.log_vkey, self.client = signer, state, log_vkey, client
        self.origin = parse_vkey(log_vkey)[0]

    def run(self, stop: threading.Event, seconds: float) -> None:
        """Look every ``seconds`` until ``stop`` is set. Raises Equivocation."""
        while not stop.is_set():
            try:
                self.look()
            except NotCosigned as reason:
                log.warning("Not cosigned: %s", reason)
            stop.wait(seconds)

    def look(self) -> Checkpoint:
        """Cosign the log's last checkpoint, which is returned: what was checked is on the disk before it is answered.

        Raises NotCosigned where the log can't be reached, has signed nothing or is not signed by its key, and
        Equivocation where it does not extend what was cosigned.
        """
        note = str(self._get(f"{CHECKPOINTS}/latest/").get("note", ""))
        try:
            text = open_note(note, self.log_vkey)
            shown = parse_checkpoint(text)
        except ValueError as error:
            raise NotCosigned(f"The log's checkpoint is not signed by the log's key: {error}") from error
        if shown.origin != self.origin:
            raise NotCosigned(f"The checkpoint is one of {shown.origin}, not of {self.origin}.")
        self._extends(note, shown)
        signed = self.signer.sign(text)
        self.state.write(note)
        if not self._has_cosigned(note):
            self._post({"size": shown.size, "note_line": signed[len(text) + 1 :]})
            log.info("Cosigned %d leaves.", shown.size)
        return shown

    def _has_cosigned(self, note: str) -> bool:
        try:
            open_note(note, self.signer.vkey)
        except ValueError:
            return False
        return True

    def _extends(self, note: str, shown: Checkpoint) -> None:
        seen = self.state.read()
        if seen is None:
            log.warning("Nothing was cosigned before: trusting the log's %d leaves as they are shown.", shown.size)
            return
        old = seen.checkpoint
        proof: list[str] = []
        if shown.size < old.size:
            self._alarm(f"The log shows {shown.size} leaves after it had signed {old.size}.", seen, note, proof)
        if shown.size > old.size:
            answer = self._get(f"{CHECKPOINTS}/consistency/", old=old.size, new=shown.size)
            proof = [str(one) for one in answer.get("hashes", [])]
        try:
            hashes = [bytes.fromhex(one) for one in proof]
        except ValueError as error:
            raise NotCosigned(f"The log's proof is not in hex: {error}") from error
        if not check_consistency(old.size, shown.size, old.root, shown.root, hashes):
            self._alarm(
                f"The log's tree of {shown.size} leaves ({_words(shown)}) does not extend the one of {old.size} "
                f"({_words(old)}) that it had signed: it shows two histories, or its record was changed.",
                seen,
                note,
                proof,
            )

    def _alarm(self, sentence: str, seen: Seen, shown: str, proof: list[str]) -> None:
        self.state.keep_evidence(sentence, seen, shown, proof)
        log.critical("EQUIVOCATION: %s", sentence)
        raise Equivocation(f"{sentence} Nothing is cosigned any more; both notes are in {self.state.evidence_path}.")

    def _get(self, path: str, **parameters: int) -> dict[str, Any]:
        return self._answer("GET", path, params=parameters)

    def _post(self, body: dict[str, Any]) -> None:
        self._answer("POST", COSIGNATURES, json=body)

    def _answer(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """The answer's JSON object. Raises NotCosigned with what the log said when it is none."""
        try:
            with self.client.stream(method, path, **options) as answer:
                body = b""
                for part in answer.iter_bytes():
                    body += part
                    if len(body) > MOST_BYTES:
                        raise NotCosigned(f"The log answers with more than {MOST_BYTES} bytes.")
            said = json.loads(body)
        except (httpx.HTTPError, ValueError, RecursionError) as error:
            raise NotCosigned(f"The log gives no answer that can be read: {error}") from error
        if answer.is_success and isinstance(said, dict):
            return said
        detail = said.get("detail") if isinstance(said, dict) else said
        raise NotCosigned(f"The log refuses {method} {path} ({answer.status_code}): {str(detail)[:300]}")


def client_of(log_url: str, token: str) -> httpx.Client:
    """Redirects are not followed: the token is for the log alone."""
    return httpx.Client(
        base_url=log_url.rstrip("/"), headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT_SECONDS
    )


def _words(checkpoint: Checkpoint) -> str:
    return base64.b64encode(checkpoint.root).decode()
