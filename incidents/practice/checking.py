"""Whether runbooks are as the log has them: offline, from their files and the log's key. Needs no database."""

import base64
import hashlib
import json
from collections.abc import Iterator
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
            sha256 = proven_digest(proof.read_text(), vkey)
            found = hashlib.sha256(runbook.read_bytes()).hexdigest()
            said = "" if found == sha256 else f"its SHA-256 is {found}, the log has {sha256}"
        except FileNotFoundError:
            said = f"it has no {proof.name}: the log has not signed it"
        except (ValueError, KeyError, LookupError) as error:
            said = f"its proof does not hold: {error}"
        yield runbook.name, said
    for manifest in sorted((folder / "manifests").glob("*.json")):
        found = hashlib.sha256(manifest.read_bytes()).hexdigest()
        yield f"manifests/{manifest.name}", "" if found == manifest.stem else f"its SHA-256 is {found}"


def proven_digest(proof: str, vkey: str) -> str:
    """The SHA-256 of the runbook that a proof's record names, where the record is in the tree that the key has signed.

    Raises ValueError, saying what does not hold.
    """
    head, _, note = proof.partition("\n\n")
    form, extra, index, *hashes = head.split("\n")
    if form != FORMAT or not extra.startswith("extra ") or not index.startswith("index "):
        raise ValueError(f"it is no file of {FORMAT}")
    open_note(note, vkey)
    checkpoint = parse_checkpoint(note)
    record = base64.b64decode(extra.removeprefix("extra "), validate=True)
    neighbours = [base64.b64decode(line, validate=True) for line in hashes]
    place = int(index.removeprefix("index "))
    if not check_inclusion(leaf_hash(record), place, checkpoint.size, neighbours, checkpoint.root):
        raise ValueError("the record is not in the signed tree")
    told = json.loads(record)
    if told["action"] != "practice.runbook.make":
        raise ValueError("the record is about something else than a runbook")
    return str(told["data"]["sha256"])
