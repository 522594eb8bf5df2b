"""Checks an exported bundle of a Lastgood audit log, offline.

    python3 verify.py bundle.zip --key 'lastgood.local/log+1a2b3c4d+AbCd…'

Needs Python 3.9 or later and the package ``cryptography``; no database, no network, no other file. Get the key by
another way than the bundle: a bundle that brings its own key proves nothing.

Exit status: 0 the record is whole; 1 it was tampered with (the first bad leaf is named); 2 it is incomplete;
3 all that could be checked is right, but no key was given ("unanchored"); 64 the key cannot be read.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import datetime
import hashlib
import hmac
import json
import re
import sys
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

WHOLE, TAMPERED, INCOMPLETE, UNANCHORED = 0, 1, 2, 3

ED25519 = 1
FORMAT = "lastgood-audit-bundle/1"
MEMBERS = {
    "README.txt",
    "verify.py",
    "manifest.json",
    "checkpoint",
    "checkpoints.jsonl",
    "events.jsonl",
    "proofs.jsonl",
    "reasons.jsonl",
}
MAX_SMALL = 1 << 20
MAX_LINE = 1 << 20
MAX_TOTAL = 8 << 30
EVENT_LINE = re.compile(
    rb'\{"leaf_index":(0|[1-9][0-9]{0,15}),"leaf_hash":"([0-9a-f]{64})","record":(\{.*\})\}', re.DOTALL
)
RELEVANT = ("approval.", "rollback.")


class BadBundle(Exception):
    """The bundle cannot be read as one; the message says where."""


# Tree (RFC 6962) and notes (C2SP)


def leaf_hash(entry: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class Root:
    """The root of a growing list of leaf hashes."""

    def __init__(self) -> None:
        self.size = 0
        self.stack: list[tuple[int, bytes]] = []

    def add(self, leaf: bytes) -> None:
        height, value = 0, leaf
        while self.stack and self.stack[-1][0] == height:
            value = node_hash(self.stack.pop()[1], value)
            height += 1
        self.stack.append((height, value))
        self.size += 1

    def value(self) -> bytes:
        if not self.stack:
            return hashlib.sha256(b"").digest()
        result = self.stack[-1][1]
        for _, left in reversed(self.stack[:-1]):
            result = node_hash(left, result)
        return result


def check_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the leaf hash is at ``index`` of the tree of ``size`` with that root (RFC 9162 section 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    position, last, value = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if position & 1 or position == last:
            value = node_hash(sibling, value)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            value = node_hash(value, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and value == root


def check_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the tree of ``new`` leaves extends the tree of ``old`` leaves (RFC 9162 section 2.1.4.2)."""
    if not 0 <= old <= new:
        return False
    if old == new:
        return not proof and old_root == new_root
    if old == 0:
        return not proof and old_root == hashlib.sha256(b"").digest()
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    position, last = old - 1, new - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    was = now = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if position & 1 or position == last:
            was, now = node_hash(sibling, was), node_hash(sibling, now)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            now = node_hash(now, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and was == old_root and now == new_root


def key_id(name: str, public_key: bytes) -> bytes:
    """First four bytes of SHA-256(name || 0x0A || 0x01 || Ed25519 public key)."""
    return hashlib.sha256(name.encode() + b"\n" + bytes([ED25519]) + public_key).digest()[:4]


def parse_vkey(vkey: str) -> tuple[str, bytes, bytes]:
    """Name, key id and Ed25519 public key of ``<name>+<id>+<base64>``. Raises ValueError, saying what is wrong."""
    parts = vkey.strip().split("+", 2)
    if len(parts) != 3:
        raise ValueError("A key reads <name>+<8 hex digits>+<base64>.")
    name, identity, encoded = parts
    data = base64.b64decode(encoded, validate=True)
    if len(data) != 33 or data[0] != ED25519:
        raise ValueError("The key is not an Ed25519 key.")
    if key_id(name, data[1:]).hex() != identity:
        raise ValueError("The key's id does not belong to its name and bytes; was it copied whole?")
    return name, bytes.fromhex(identity), data[1:]


def open_note(note: str, vkey: str) -> str:
    """The text of a signed note, when it carries a valid signature by that key. Raises ValueError otherwise."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    name, identity, public = parse_vkey(vkey)
    text, separator, signatures = note.rpartition("\n\n")
    if not separator or not note.endswith("\n"):
        raise ValueError("This is not a signed note.")
    text += "\n"
    for line in signatures.splitlines():
        dash, _, rest = line.partition(" ")
        signer, _, encoded = rest.partition(" ")
        if dash != "\u2014" or signer != name:
            continue
        try:
            blob = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            continue
        if blob[:4] != identity:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(blob[4:], text.encode())
        except InvalidSignature as error:
            raise ValueError(f"The signature by {name} ({identity.hex()}) is wrong.") from error
        return text
    raise ValueError(f"There is no signature by {name} ({identity.hex()}).")


@dataclass(frozen=True)
class Checkpoint:
    origin: str
    size: int
    root: bytes


def parse_checkpoint(note: str) -> Checkpoint:
    """Origin, size and root of a checkpoint, signatures unchecked. Raises ValueError when it is none."""
    lines = note.split("\n")
    if len(lines) < 4 or not lines[0] or not re.fullmatch("0|[1-9][0-9]{0,15}", lines[1]):
        raise ValueError("This is not a checkpoint.")
    root = base64.b64decode(lines[2], validate=True)
    if len(root) != 32:
        raise ValueError("The checkpoint's root is not a SHA-256.")
    return Checkpoint(lines[0], int(lines[1]), root)


# Meaning: nothing was executed that had not been approved


@dataclass(frozen=True)
class Act:
    """The part of a record that its meaning depends on."""

    leaf: int
    at: str
    incident: str
    number: int
    action: str
    outcome: str
    kind: str
    actor: str
    data: dict[str, Any]

    def before(self, other: Act) -> bool:
        """By the incident's own numbers where both are of one incident, else by the database's clock."""
        if self.incident and self.incident == other.incident:
            return self.number < other.number
        return self.at < other.at or (self.at == other.at and self.leaf < other.leaf)


def act_of(leaf: int, record: dict[str, Any]) -> Act:
    actor = record["actor"]
    return Act(
        leaf=leaf,
        at=record["occurred_at"],
        incident=record.get("incident", ""),
        number=record.get("incident_seq", 0),
        action=record["action"],
        outcome=record["outcome"],
        kind=actor["kind"],
        actor=actor["id"],
        data=record["data"],
    )


class Lacking(Exception):
    """A record that is needed for a judgement is not there."""


class Meaning:
    """Whether each run of a rollback, release, drill or convergence had the approvals its policy demanded."""

    def __init__(self, acts: Iterable[Act]) -> None:
        self.by: dict[str, list[Act]] = defaultdict(list)
        for act in acts:
            if act.outcome in ("success", "intent") or act.action.startswith("rollback.step."):
                self.by[act.action].append(act)
        self.starts = {str(act.data.get("run")): act for act in self.by["rollback.run.start"]}

    def problems(self) -> Iterator[tuple[int, str, bool]]:
        """(leaf, sentence, whether a record is lacking rather than wrong), in the order of the leaves."""
        found = []
        steps = [*self.by["rollback.step.intent"], *self.by["rollback.step.outcome"]]
        for act in [*self.by["rollback.run.start"], *steps]:
            try:
                sentence = self._start(act) if act.action == "rollback.run.start" else self._step(act)
            except Lacking as lack:
                found.append((act.leaf, str(lack), True))
            else:
                if sentence:
                    found.append((act.leaf, sentence, False))
        yield from sorted(found)

    def _of_request(self, action: str, request: str) -> list[Act]:
        return [act for act in self.by[action] if act.data.get("request") == request]

    def _step(self, step: Act) -> str:
        run = str(step.data.get("run"))
        start = self.starts.get(run)
        if start is None:
            raise Lacking(f"a step of run {run}, whose start is not in the record")
        if not start.before(step):
            return f"a step of run {run} before the run was started"
        if step.data.get("plan_hash") != start.data.get("plan_hash"):
            return f"a step of run {run} carries out another plan than the one that was started"
        if step.data.get("host") not in start.data.get("hosts", []):
            return f"a step of run {run} on host {step.data.get('host')}, which the run does not name"
        if step.data.get("version") not in (start.data.get("to"), start.data.get("from")):
            return f"a step of run {run} with version {step.data.get('version')}, which the run does not name"
        return ""

    def _start(self, start: Act) -> str:
        run, request = start.data.get("run"), str(start.data.get("request"))
        opened = [act for act in self._of_request("approval.open", request) if act.before(start)]
        if not opened:
            raise Lacking(f"run {run} was started, and its approval request {request} is not in the record before it")
        if start.data.get("kind") == "converge":
            return self._converge(start, request)
        if len([other for other in self.starts.values() if self._same_use(other, request)]) > 1:
            return f"run {run} used approval request {request}, which was used for another run as well"
        consumed = [
            act
            for act in self._of_request("approval.consume", request)
            if act.before(start) and act.data.get("subject_hash") == start.data.get("plan_hash")
        ]
        if not consumed:
            return f"run {run} was started without consuming the approvals of request {request}"
        return self._bound(start, opened[0]) or self._approved(start, opened[0], consumed[0])

    @staticmethod
    def _same_use(start: Act, request: str) -> bool:
        return start.data.get("request") == request and start.data.get("kind") != "converge"

    def _converge(self, start: Act, request: str) -> str:
        """A convergence goes on with what an earlier, approved run left: same endpoint, same target, or the version
        that the run went back to."""
        for earlier in self.starts.values():
            if self._same_use(earlier, request) and earlier.before(start):
                left = (earlier.data.get("endpoint"), earlier.data.get(self._left_with(earlier, start)))
                if left != (start.data.get("endpoint"), start.data.get("to")):
                    return f"run {start.data.get('run')} converges to something else than request {request} approved"
                return ""
        raise Lacking(f"run {start.data.get('run')} converges under request {request}, whose run is not in the record")

    def _left_with(self, run: Act, later: Act) -> str:
        """Which of a run's versions its hosts were left with: `from` when it had gone back before `later`."""
        gone_back = self.by["rollback.run.compensated"]
        return "from" if any(a.data.get("run") == run.data.get("run") and a.before(later) for a in gone_back) else "to"

    @staticmethod
    def _bound(start: Act, opened: Act) -> str:
        """The approvals were asked for this plan, under this policy, and were still good."""
        run, plan_hash = start.data.get("run"), start.data.get("plan_hash")
        if not plan_hash or opened.data.get("subject_hash") != plan_hash:
            return f"run {run} carries out plan {plan_hash}, the request was about {opened.data.get('subject_hash')}"
        if opened.data.get("policy_hash") != policy_hash(opened.data.get("policy")):
            return f"run {run}: its request states another policy than the one whose hash it states"
        if start.data.get("policy_hash") != opened.data.get("policy_hash"):
            return f"run {run} was started under another policy than its request was opened under"
        if _instant(start.at) > _instant(opened.data["expires_at"]):
            return f"run {run} was started after its approvals had expired at {opened.data['expires_at']}"
        return ""

    def _approved(self, start: Act, opened: Act, consumed: Act) -> str:
        run, policy = start.data.get("run"), opened.data.get("policy", {})
        approvals, denied = self._standing(start, opened)
        seats = {seat["by"]: seat["role"] for seat in consumed.data.get("seats", [])}
        approvals = {by: act for by, act in approvals.items() if by in seats}
        if denied:
            return f"run {run} was started although {denied} had denied it"
        required = policy.get("required")
        if not isinstance(required, int):
            return f"the request of run {run} states no number of approvals"
        if len(approvals) < required:
            return f"run {run} was started with {len(approvals)} valid approvals; its policy demands {required}"
        for factor in policy.get("factors", []):
            filled = sum(
                1
                for by, act in approvals.items()
                if seats.get(by) == factor["role"] and factor["role"] in act.data.get("roles", [])
            )
            if filled < factor["count"]:
                return f"run {run} was started with {filled} of {factor['count']} approvals as {factor['role']}"
        return ""

    def _standing(self, start: Act, opened: Act) -> tuple[dict[str, Act], str]:
        """The approval of each person that held when the run started, and who had denied it, if anybody."""
        approvals: dict[str, Act] = {}
        denied = ""
        decisions = [act for act in self._of_request("approval.decide", opened.data["request"]) if act.before(start)]
        for act in sorted(decisions, key=lambda one: (one.number, one.at, one.leaf)):
            if act.data.get("decision") == "deny":
                denied = act.actor
            elif act.data.get("decision") == "revoke":
                approvals.pop(act.actor, None)
            elif self._counts(act, opened):
                approvals[act.actor] = act
        return approvals, denied

    @staticmethod
    def _counts(act: Act, opened: Act) -> bool:
        """A person's approval of this very hash, not the proposer's, in time, after a recent sign-in."""
        policy = opened.data.get("policy", {})
        limit, auth_time = policy.get("step_up_seconds"), act.data.get("auth_time")
        if limit is not None and (
            not auth_time or (_instant(act.at) - _instant(auth_time)).total_seconds() > int(limit) + 1
        ):
            return False
        return (
            act.data.get("decision") == "approve"
            and act.data.get("subject_hash") == opened.data.get("subject_hash")
            and act.actor != opened.data.get("proposer")
            and act.kind in ("user", "token")
            and _instant(act.at) <= _instant(opened.data["expires_at"])
        )


def policy_hash(policy: Any) -> str:
    """SHA-256 over ``approval-policy/1``, a zero byte and the policy's canonical JSON."""
    canon = json.dumps(policy, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(b"approval-policy/1\0" + canon.encode()).hexdigest()


def _instant(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))  # Python before 3.11 does not read the Z


# Bundle


@dataclass
class Verdict:
    """What was found. ``bad`` holds (leaf, sentence): leaf -1 where no single leaf can be named."""

    bad: list[tuple[int, str]] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)
    anchored: bool = False

    def status(self) -> int:
        if self.bad:
            return TAMPERED
        if self.lacking:
            return INCOMPLETE
        return WHOLE if self.anchored else UNANCHORED


class Bundle:
    """The zip, read with limits: known names only, one of each, bounded sizes and lines."""

    def __init__(self, path: str) -> None:
        try:
            self.zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise BadBundle(f"{path} cannot be read as a bundle: {error}") from error
        infos = self.zip.infolist()
        self.names = {info.filename for info in infos}
        if len(self.names) != len(infos) or not self.names <= MEMBERS:
            strangers = ", ".join(sorted(self.names - MEMBERS)) or "one of them twice"
            raise BadBundle(f"The bundle holds files that do not belong there: {strangers}.")
        if sum(info.file_size for info in infos) > MAX_TOTAL:
            raise BadBundle(f"The bundle unpacks to more than {MAX_TOTAL} bytes.")

    def text(self, name: str) -> str:
        with self.zip.open(name) as file:
            data = file.read(MAX_SMALL + 1)
        if len(data) > MAX_SMALL:
            raise BadBundle(f"{name} is longer than {MAX_SMALL} bytes.")
        return data.decode()

    def lines(self, name: str) -> Iterator[bytes]:
        if name not in self.names:
            return
        with self.zip.open(name) as file:
            while line := file.readline(MAX_LINE + 1):
                if len(line) > MAX_LINE:
                    raise BadBundle(f"A line of {name} is longer than {MAX_LINE} bytes.")
                yield line.rstrip(b"\n")


def strict_json(data: bytes) -> Any:
    """JSON without duplicate keys, floats or constants beyond JSON. Raises ValueError."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise ValueError("a key comes twice")
        return result

    def refuse(text: str) -> Any:
        raise ValueError(f"{text} is not exact")

    return json.loads(data, object_pairs_hook=once, parse_float=refuse, parse_constant=refuse)


class Check:
    """One pass over a bundle."""

    def __init__(self, bundle: Bundle, key: str, since: str = "") -> None:
        self.bundle, self.key, self.since = bundle, key, since
        self.verdict = Verdict()
        self.manifest: dict[str, Any] = {}
        self.checkpoint = Checkpoint("", 0, b"")
        self.numbers: dict[str, set[int]] = defaultdict(set)
        self.acts: list[Act] = []
        self.commitments: dict[int, str] = {}
        self.marks: dict[int, tuple[bytes, str]] = {}

    def run(self) -> Verdict:
        missing = {"manifest.json", "checkpoint", "events.jsonl"} - self.bundle.names
        if missing:
            self.verdict.lacking.append("The bundle lacks " + ", ".join(sorted(missing)) + ".")
            return self.verdict
        self.manifest = strict_json(self.bundle.text("manifest.json").encode())
        if self.manifest.get("format") != FORMAT:
            raise BadBundle(f"The bundle's format is {self.manifest.get('format')!r}, not {FORMAT}.")
        note = self.bundle.text("checkpoint")
        self.checkpoint = self._signed(note, "checkpoint")
        self._collect_marks()
        if self.manifest["scope"]["kind"] == "whole":
            self._whole()
        else:
            self._part()
        self._numbers()
        self._reasons()
        self._meaning()
        return self.verdict

    def _bad(self, leaf: int, sentence: str) -> None:
        self.verdict.bad.append((leaf, sentence))

    def _signed(self, note: str, what: str) -> Checkpoint:
        key = self.key or self.manifest.get("log_key", "")
        try:
            text = open_note(note, key)
        except ValueError as error:
            self._bad(-1, f"The {what} is not signed by the log's key: {error}")
            return parse_checkpoint(note)
        self.verdict.anchored = bool(self.key)
        return parse_checkpoint(text)

    def _collect_marks(self) -> None:
        """Earlier signed checkpoints: the tree must pass through each; a bad leaf lies before the first it misses."""
        for line in self.bundle.lines("checkpoints.jsonl"):
            mark = self._signed(strict_json(line)["note"], "checkpoint in checkpoints.jsonl")
            self.marks[mark.size] = (mark.root, "an earlier checkpoint")
        if self.since:
            mark = self._signed(self.since, "old checkpoint given by --since")
            self.marks[mark.size] = (mark.root, "the old checkpoint given by --since")

    def _events(self) -> Iterator[tuple[int, bytes, bytes]]:
        """(leaf index, leaf hash of the record's bytes, the record's bytes); looks into each record on the way."""
        last = -1
        for line in self.bundle.lines("events.jsonl"):
            match = EVENT_LINE.fullmatch(line)
            if match is None:
                self._bad(last + 1, f"The line after leaf {last} of events.jsonl is not an event.")
                continue
            index, stated, canon = int(match[1]), match[2].decode(), match[3]
            if index <= last:
                self._bad(index, f"Leaf {index} comes after leaf {last}.")
            last = index
            computed = leaf_hash(canon)
            if computed.hex() != stated:
                self._bad(index, f"Leaf {index}: the record's bytes do not hash to its leaf.")
            self._look(index, canon)
            yield index, computed, canon

    def _look(self, index: int, canon: bytes) -> None:
        try:
            record = strict_json(canon)
            if record["log_origin"] != self.checkpoint.origin:
                self._bad(index, f"Leaf {index} belongs to the log {record['log_origin']}.")
            if record.get("incident"):
                number = record["incident_seq"]
                if number in self.numbers[record["incident"]]:
                    self._bad(index, f"Leaf {index} has number {number} of {record['incident']} a second time.")
                self.numbers[record["incident"]].add(number)
            if "reason_commit" in record:
                self.commitments[index] = record["reason_commit"]
            if record["action"].startswith(RELEVANT):
                self.acts.append(act_of(index, record))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._bad(index, f"Leaf {index} is not a record of the log: {error!r}")

    def _whole(self) -> None:
        """Every leaf is there, and together they are the signed root."""
        tree, gap = Root(), False
        missed = ""
        for index, computed, _ in self._events():
            if index != tree.size and not gap:
                gap = True
                self.verdict.lacking.append(f"Leaf {tree.size} is missing.")
            if gap:
                continue
            tree.add(computed)
            root, name = self.marks.get(tree.size, (b"", ""))
            if root and root != tree.value() and not missed:
                missed = f"A leaf before {tree.size} is not the one that {name} (size {tree.size}) was signed over."
                self._bad(self._mark_before(tree.size), missed)
        if gap:
            return
        if tree.size < self.checkpoint.size:
            self.verdict.lacking.append(f"Leaves {tree.size} to {self.checkpoint.size - 1} are missing.")
        elif tree.size > self.checkpoint.size or tree.value() != self.checkpoint.root:
            self._bad(self._mark_before(tree.size), "The leaves are not those that the checkpoint was signed over.")
        else:
            self.verdict.facts.append(f"All {tree.size} leaves hash into the signed root {tree.value().hex()}.")
        if any(size > self.checkpoint.size for size in self.marks):
            self._bad(-1, "The log is shorter than an earlier checkpoint says: history was taken back.")

    def _mark_before(self, size: int) -> int:
        """The first leaf that may be the bad one: the one after the last signed size below ``size``."""
        return max((mark for mark in self.marks if mark < size), default=0)

    def _part(self) -> None:
        """Each leaf has its inclusion proof."""
        proofs = {}
        for line in self.bundle.lines("proofs.jsonl"):
            entry = strict_json(line)
            proofs[entry["leaf_index"]] = [bytes.fromhex(item) for item in entry["hashes"]]
        count, first, last = 0, -1, -1
        for index, computed, _ in self._events():
            count, first, previous, last = count + 1, index if first < 0 else first, last, index
            if index not in proofs:
                self.verdict.lacking.append(f"Leaf {index} has no inclusion proof.")
            elif not check_inclusion(computed, index, self.checkpoint.size, proofs[index], self.checkpoint.root):
                self._bad(index, f"Leaf {index} is not in the signed tree.")
            if self.manifest["scope"]["kind"] == "span" and previous >= 0 and index != previous + 1:
                self.verdict.lacking.append(f"Leaf {previous + 1} is missing.")
        if count != self.manifest["events"]:
            self.verdict.lacking.append(f"{count} events are there; the bundle says {self.manifest['events']}.")
        self.verdict.facts.append(f"{count} leaves ({first} to {last}) were checked against the signed tree.")

    def _numbers(self) -> None:
        """Each incident's events carry 1, 2, 3 ... without a gap (a span may begin and end anywhere)."""
        span = self.manifest["scope"]["kind"] == "span"
        for incident, numbers in sorted(self.numbers.items()):
            lowest = min(numbers) if span else 1
            gaps = sorted(set(range(lowest, max(numbers) + 1)) - numbers)
            if gaps and span:
                self.verdict.facts.append(f"{incident}: number {gaps[0]} lies outside the span.")
            elif gaps:
                self.verdict.lacking.append(f"{incident}: event number {gaps[0]} is missing.")
            else:
                self.verdict.facts.append(f"{incident}: events {lowest} to {max(numbers)}, none missing.")

    def _reasons(self) -> None:
        texts = 0
        for line in self.bundle.lines("reasons.jsonl"):
            entry = json.loads(line)
            index, texts = entry["leaf_index"], texts + 1
            digest = hmac.new(bytes.fromhex(entry["key"]), entry["text"].encode(), hashlib.sha256).hexdigest()
            if self.commitments.get(index) != f"hmac-sha256:{digest}":
                self._bad(index, f"Leaf {index}: its reason is not the text that the record was made with.")
        if self.commitments:
            erased = len(self.commitments) - texts
            self.verdict.facts.append(f"{texts} reasons match their records; {max(erased, 0)} were erased.")

    def _meaning(self) -> None:
        meaning = Meaning(self.acts)
        whole = self.manifest["scope"]["kind"] == "whole"
        gaps = bool(self.verdict.lacking)
        for leaf, sentence, lacking in meaning.problems():
            if gaps or (lacking and not whole):
                self.verdict.lacking.append(f"Leaf {leaf}: {sentence}.")
            else:
                self._bad(leaf, f"Leaf {leaf}: {sentence}.")
        runs = len(meaning.starts)
        if runs and not self.verdict.bad:
            self.verdict.facts.append(f"Runs: {runs}, each with the approvals its policy demanded, of that very plan.")


def verify_bundle(path: str, key: str = "", since: str = "") -> Verdict:
    """Check a bundle; ``since`` is the text of an older checkpoint of the same log that it must extend."""
    verdict = Verdict()
    try:
        return Check(Bundle(path), key, since).run()
    except (BadBundle, zipfile.BadZipFile, zlib.error, UnicodeDecodeError, EOFError) as error:
        verdict.bad.append((-1, str(error)))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        verdict.bad.append((-1, f"The bundle is malformed: {error!r}"))
    return verdict


def main(argv: Sequence[str] | None = None, write: Callable[[str], Any] = sys.stdout.write) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Checks an exported bundle of a Lastgood audit log, offline.")
    parser.add_argument("bundle")
    parser.add_argument("--key", default="", help="the log's public key, <name>+<id>+<base64>, got by another way")
    parser.add_argument("--since", default="", help="file with an older checkpoint that this log must extend")
    options = parser.parse_args(argv)
    if options.key:
        try:
            parse_vkey(options.key)
        except ValueError as error:
            parser.exit(64, f"--key: {error}\n")
    since = ""
    if options.since:
        with open(options.since, encoding="utf-8") as file:
            since = file.read()
    verdict = verify_bundle(options.bundle, options.key, since)
    for fact in verdict.facts:
        write(f"{fact}\n")
    for _, sentence in sorted(verdict.bad):
        write(f"TAMPERED  {sentence}\n")
    for sentence in verdict.lacking:
        write(f"MISSING   {sentence}\n")
    write(
        {
            WHOLE: "Whole: every check passed.\n",
            TAMPERED: "Tampered with.\n",
            INCOMPLETE: "Incomplete.\n",
            UNANCHORED: "Unanchored: nothing is wrong in itself, but without --key nobody knows who signed it.\n",
        }[verdict.status()]
    )
    return verdict.status()


if __name__ == "__main__":
    sys.exit(main())
