"""Whether runbooks are as the log has them: offline, from their files and the log's key. Needs no database."""

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from audit.verify import check_inclusion, leaf_hash, open_note, parse_checkpoint

FORMAT = "c2sp.org/tlog-proof@v1"
PROOF = ".tlog-proof"


def check_folder(folder: Path, vkey: str) -> Iterator[tuple[str, str]]:
    """(file, what is wrong with it or "") of each runbook and each manifest in the folder."""
    runbooks = sorted(folder.glob("*.md"))
    for runbook in runbooks:
        proof = runbook.with_suffix(PROOF)
        try:
            made = proven(proof.read_text(), vkey)
            found = hashlib.sha256(runbook.read_bytes()).hexdigest()
            said = "" if found == made.sha256 else f"its SHA-256 is {found}, the log has {made.sha256}"
            if made.endpoint != runbook.stem:
                said = f"it is the runbook of {made.endpoint}, not of {runbook.stem}"
        except FileNotFoundError:
            said = f"it has no {proof.name}: the log has not signed it"
        except (ValueError, KeyError, LookupError) as error:
            said = f"its proof does not hold: {error}"
        yield runbook.name, said
    for manifest in sorted((folder / "manifests").glob("*.json")):
        found = hashlib.sha256(manifest.read_bytes()).hexdigest()
        yield f"manifests/{manifest.name}", "" if found == manifest.stem else f"its SHA-256 is {found}"


@dataclass(frozen=True)
class Made:
    """What the log has of a runbook: whose it is, its number among those of the endpoint, when it was made."""

    endpoint: str
    number: int
    at: str
    sha256: str


def proven(proof: str, vkey: str) -> Made:
    """The runbook that a proof's record names, where the record is in the tree that the key has signed.

    Raises ValueError, saying what does not hold.
    """
    record, place, neighbours, note = _parts(proof)
    open_note(note, vkey)
    checkpoint = parse_checkpoint(note)
    if not check_inclusion(leaf_hash(record), place, checkpoint.size, neighbours, checkpoint.root):
        raise ValueError("the record is not in the signed tree")
    return _made(record)


def claimed(proof: str) -> Made:
    """The runbook that a proof's record names; whether the proof holds is not asked. Raises ValueError, LookupError."""
    return _made(_parts(proof)[0])


def _parts(proof: str) -> tuple[bytes, int, list[bytes], str]:
    """A proof's record, its place in the tree, the hashes beside its way up, and the signed note."""
    head, _, note = proof.partition("\n\n")
    form, extra, index, *hashes = head.split("\n")
    if form != FORMAT or not extra.startswith("extra ") or not index.startswith("index "):
        raise ValueError(f"it is no file of {FORMAT}")
    record = base64.b64decode(extra.removeprefix("extra "), validate=True)
    return (
        record,
        int(index.removeprefix("index ")),
        [base64.b64decode(line, validate=True) for line in hashes],
        note,
    )


def _made(record: bytes) -> Made:
    told = json.loads(record)
    if told["action"] != "practice.runbook.make":
        raise ValueError("the record is about something else than a runbook")
    data = told["data"]
    return Made(str(data["endpoint"]), int(data["number"]), str(told["occurred_at"]), str(data["sha256"]))
