"""Checks an exported bundle of a Lastgood audit log, offline.

    python3 verify.py bundle.zip --key 'lastgood.local/log+1a2b3c4d+AbCd…'

Needs Python 3.9 or later and the package ``cryptography``; no database, no network, no other file. Get the keys, the
log's and its witnesses', by another way than the bundle: a bundle that brings its own key proves nothing.

Exit status: 0 the record is whole; 1 it was tampered with (the first bad leaf is named); 2 it is incomplete; 3 all that
could be checked is right, but no key was given ("unanchored"), or the witnesses that were demanded have not signed it
("unwitnessed"); 64 the command was not given as it should be.
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
import struct
import sys
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, NamedTuple, NoReturn

WHOLE, TAMPERED, INCOMPLETE, UNANCHORED, USAGE = 0, 1, 2, 3, 64

ED25519 = 1
FORMAT = "lastgood-audit-bundle/2"
MEMBERS = {
    "README.txt",
    "verify.py",
    "manifest.json",
    "receipt.json",
    "checkpoint",
    "checkpoints.jsonl",
    "events.jsonl",
    "events.csv",
    "proofs.jsonl",
    "reasons.jsonl",
}
NEEDED = {"manifest.json", "checkpoint", "events.jsonl"}
UNLISTED = {"manifest.json", "receipt.json"}
"""The manifest states the SHA-256 of each member but itself and the receipt, and the receipt that of the manifest."""
MAX_SMALL = 4 << 20
MAX_LINE = 1 << 20
MAX_TOTAL = 8 << 30
MAX_NODES = 50_000_000
MOST_TOLD = 20
EVENT_LINE = re.compile(
    rb'\{"leaf_index":(0|[1-9][0-9]{0,15}),"leaf_hash":"([0-9a-f]{64})","record":(\{.*\})\}', re.DOTALL
)
ROW_LEAF = re.compile(rb'"([0-9]{1,16})",')
RELEVANT = (
    "approval.",
    "rollback.run.",
    "rollback.step.",
    "rollback.watch.",
    "act.",
    "role.",
    "delegation.",
    "policy.",
    "alias.move",
    "version.quarantine_lift",
    "host.register",
    "model.register",
    "endpoint.register",
    "gate.register",
    "practice.rule.",
    "practice.drill.pass",
    "rollback.ranking.answer",
    "version.complete",
    "version.register",
    "version.rehearse",
    "version.soak",
    "audit.reason.erase",
    "subject.erase",
)
"""How the actions begin that the checks of meaning read."""


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


class WrongSignature(ValueError):
    """There is a signature by that key's name and id, and it is not the key's."""


def open_note(note: str, vkey: str) -> str:
    """The text of a signed note, when it carries a valid signature by that key.

    Raises ValueError where it carries none, and WrongSignature where it carries a forged one.
    """
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
        if blob[:4] != identity or base64.b64encode(blob).decode() != encoded:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(blob[4:], text.encode())
        except InvalidSignature as error:
            raise WrongSignature(f"The signature by {name} ({identity.hex()}) is wrong.") from error
        return text
    raise ValueError(f"There is no signature by {name} ({identity.hex()}).")


def _signs(note: str, vkey: str) -> bool:
    try:
        open_note(note, vkey)
    except ValueError:
        return False
    return True


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


def split(width: int) -> int:
    """The largest power of two smaller than width (width > 1): where RFC 6962 parts a tree."""
    return 1 << ((width - 1).bit_length() - 1)


def peaks(size: int) -> list[tuple[int, int]]:
    """The complete subtrees (first leaf, leaf after the last) of which a tree of ``size`` leaves is made, in order."""
    result, low = [], 0
    for height in range(size.bit_length() - 1, -1, -1):
        if size >> height & 1:
            result.append((low, low + (1 << height)))
            low += 1 << height
    return result


# Records


class Act(NamedTuple):
    """The part of a record that its meaning depends on."""

    leaf: int
    at: str
    incident: str
    number: int
    action: str
    outcome: str
    kind: str
    actor: str
    target: str
    data: dict[str, Any]
    late: bool = False
    """Whether the tree held something before it that is younger by more than a transaction lasts."""
    under: str = ""
    """The act under approval that it was a part of, if any."""

    def before(self, other: Act) -> bool:
        """By the incident's own numbers where both are of one incident, else by the database's clock; by the tree's
        order where one of them may be dated back, or the clock was set back."""
        if self.incident and self.incident == other.incident:
            return self.number < other.number
        if self.late or other.late:
            return self.leaf < other.leaf
        return self.at < other.at or (self.at == other.at and self.leaf < other.leaf)

    @property
    def by_a_person(self) -> bool:
        return self.kind in ("user", "token")


def act_of(leaf: int, record: Mapping[str, Any], newest: str = "") -> Act:
    """``newest``: the moment of the youngest record before it in the tree, where that is known."""
    actor, data = record["actor"], record["data"]
    if not isinstance(data, dict):
        raise TypeError("its data are no object")
    return Act(
        leaf=leaf,
        at=record["occurred_at"],
        incident=record.get("incident", ""),
        number=record.get("incident_seq", 0),
        action=record["action"],
        outcome=record["outcome"],
        kind=actor["kind"],
        actor=actor["id"],
        target=record["target"]["id"],
        data=data,
        late=newest > record["occurred_at"] and _seconds(record["occurred_at"], newest) > LATE,
        under=str(record.get("correlation", {}).get("act", "")),
    )


def names_person(canon: bytes, pseudonym: str) -> bool:
    """Whether a record is of a person: the pseudonym stands in it, as one whole string."""
    return b'"' + pseudonym.encode() + b'"' in canon


def names_model(record: Mapping[str, Any], slug: str, endpoints: Iterable[str]) -> bool:
    """Whether a record is of a model: its target is the model, one of its versions or aliases, or an endpoint of it, or
    its data name the model or such an endpoint."""
    target, data = record["target"], record["data"]
    kind, identity = target["kind"], target["id"]
    if kind == "model":
        return bool(identity == slug)
    if kind in ("version", "alias"):
        return bool(identity.startswith(f"{slug}/"))
    return (
        data.get("model") == slug
        or data.get("endpoint") in endpoints
        or (kind, identity) in [("endpoint", endpoint) for endpoint in endpoints]
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key comes twice")
    return result


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not exact")


_STRICT = json.JSONDecoder(object_pairs_hook=_once, parse_float=_refuse, parse_constant=_refuse)


def strict_json(data: bytes) -> Any:
    """JSON without duplicate keys, floats or constants beyond JSON. Raises ValueError."""
    return _STRICT.decode(data.decode())


def canonical(value: Any) -> str:
    """RFC 8785 of what records hold (no floats, no keys beyond the basic plane)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


# The table for spreadsheets

COLUMNS = (
    "leaf_index",
    "occurred_at",
    "action",
    "outcome",
    "actor_kind",
    "actor",
    "target_kind",
    "target_id",
    "target_version",
    "incident",
    "incident_seq",
    "reason",
    "data",
    "event_id",
)
FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
SHORT = {"\t": "\\t", "\r": "\\r", "\n": "\\n"}


@lru_cache(maxsize=8192, typed=True)
def csv_cell(value: object) -> str:
    """One quoted cell that no spreadsheet takes for a formula: what begins like one gets an apostrophe before it, and
    characters that cannot be seen, or turn the direction of writing, are written out (\\n, \\u202e)."""
    text = UNSEEN.sub(lambda found: SHORT.get(found[0]) or f"\\u{ord(found[0]):04x}", str(value))
    if text.lstrip(" '\"").startswith(FORMULA):
        text = "'" + text
    return '"' + text.replace('"', '""') + '"'


def csv_line(values: Iterable[object]) -> bytes:
    """One row of CSV (RFC 4180), which never holds a line break but at its end."""
    return ",".join(csv_cell(value) for value in values).encode() + b"\r\n"


def csv_row(leaf: int, record: Mapping[str, Any], reason: str) -> bytes:
    """The row of one event, in the order of COLUMNS; without a reason where it has none, or it was erased."""
    actor, target = record["actor"], record["target"]
    return csv_line(
        (
            leaf,
            record["occurred_at"],
            record["action"],
            record["outcome"],
            actor["kind"],
            actor["id"],
            target["kind"],
            target["id"],
            target["version"],
            record.get("incident", ""),
            record.get("incident_seq", ""),
            reason,
            canonical(record["data"]),
            record["event_id"],
        )
    )


# Meaning: who held which role

APPROVING = ("commander", "approver", "administrator")
DAY = 86_400
RACE = 5
"""Seconds within which two transactions may have run at once, so that neither saw the other's change."""
LATE = 60
"""Seconds by which a record may be younger than the next in the tree: transactions last no longer than that."""
REST_SLACK = 60
"""Seconds between the reading of the clock from which a role's rest is counted, and its being on record."""


class Lacking(Exception):
    """A record that is needed for a judgement is not there."""


def _instant(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))  # Python before 3.11 does not read the Z


def _seconds(earlier: str, later: str) -> float:
    return (_instant(later) - _instant(earlier)).total_seconds()


def seconds_since(earlier: str, act: Act) -> float:
    """Seconds from a moment to an act; below zero where the act came first."""
    return _seconds(earlier, act.at)


def _utc(text: str) -> str:
    """A moment as records write it, so that it compares as text."""
    return _instant(text).astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")  # noqa: UP017 (3.9)


def covers(scope: Mapping[str, Any], model: str, team: str) -> bool:
    """Whether a role with that scope holds for the model or its team; an empty scope holds everywhere."""
    if not scope:
        return True
    return bool(model and model in scope.get("models", [])) or bool(team and team in scope.get("teams", []))


def within(inner: Mapping[str, Any], outer: Mapping[str, Any]) -> bool:
    """Whether everything in the one scope is in the other."""
    if not outer:
        return True
    return bool(inner) and all(set(names) <= set(outer.get(kind, [])) for kind, names in inner.items())


class Grant(NamedTuple):
    """That a person was given a role, by a `role.grant` or by a `role.confirm`."""

    id: str
    role: str
    user: str
    scope: dict[str, Any]
    counts_from: str
    act: Act

    @property
    def set_up(self) -> bool:
        """By a program on the machine itself, as the first administrators must be."""
        return self.act.action == "role.grant" and self.act.kind == "service"


class Authority:
    """Who held which role when, judged by the records of grants and loans alone."""

    def __init__(self, by: Mapping[str, list[Act]]) -> None:
        self.proposals = {str(act.data.get("grant")): act for act in by.get("role.propose", [])}
        self.refused = {str(act.data.get("grant")): act for act in by.get("role.refuse", [])}
        self.ends = by.get("role.end", [])
        self.grants: dict[str, list[Grant]] = defaultdict(list)
        for act in [*by.get("role.grant", []), *by.get("role.confirm", [])]:
            user = str(act.data.get("user") or act.target)
            counts = _utc(act.data.get("counts_from") or act.at)
            scope = act.data.get("scope") or {}
            self.grants[user].append(Grant(str(act.data.get("grant", "")), act.data["role"], user, scope, counts, act))
        self.loans: dict[str, list[Act]] = defaultdict(list)
        for act in by.get("delegation.create", []):
            self.loans[str(act.data.get("to"))].append(act)
        self.loan_ends = {str(act.data.get("delegation")): act for act in by.get("delegation.end", [])}
        self.faults: dict[int, str] = {}
        self.set_up = self.seats = self.short_rests = 0

    def administrators(self, act: Act) -> set[str]:
        """Everybody whose role as administrator had counted before ``act``, whether or not they held it still."""
        return {
            grant.user
            for grants in self.grants.values()
            for grant in grants
            if grant.role == "administrator" and grant.act.before(act) and seconds_since(grant.counts_from, act) > RACE
        }

    def why_not(
        self, person: str, roles: Iterable[str], act: Act, model: str = "", team: str = "", ref: str = ""
    ) -> str:
        """Empty when the person held one of the roles for that model when ``act`` happened (by the grant or loan
        ``ref``, where one is named); else why not. Raises Lacking where the record says nothing of it."""
        wanted = set(roles)
        faults = [
            self._grant_at(grant, act, model, team)
            for grant in self.grants.get(person, [])
            if grant.role in wanted and ref in ("", grant.id)
        ]
        faults += [
            self._loan_at(loan, act, model, team)
            for loan in self.loans.get(person, [])
            if loan.data.get("role") in wanted and ref in ("", str(loan.data.get("delegation")))
        ]
        if not faults:
            raise Lacking(
                f"the record does not say that {person} was made {' or '.join(sorted(wanted))} {ref}".rstrip()
            )
        return "" if "" in faults else faults[0]

    def seat(self, person: str, roles: Iterable[str], act: Act, model: str, team: str, ref: str) -> str:
        """As ``why_not``, for one who fills a seat, which is counted."""
        fault = self.why_not(person, roles, act, model, team, ref)
        self.seats += 1
        grants = [grant for grant in self.grants.get(person, []) if ref in ("", grant.id)]
        self.set_up += any(grant.set_up and grant.role in roles for grant in grants)
        return fault

    def lender(self, person: str, ref: str) -> str:
        """Who lent the person the role, where ``ref`` is a loan."""
        loans = [loan for loan in self.loans.get(person, []) if str(loan.data.get("delegation")) == ref]
        return str(loans[0].data.get("from")) if loans else ""

    def _grant_at(self, grant: Grant, act: Act, model: str, team: str) -> str:
        who = f"{grant.user} as {grant.role}"
        if not covers(grant.scope, model, team):
            return f"{who} holds for other teams or models only"
        if not grant.act.before(act):
            return f"{who} is on record after it only (leaf {grant.act.leaf})"
        if act.at < grant.counts_from:
            return f"{who} counts from {grant.counts_from} only"
        ended = [end for end in self.ends if self._ends(end, grant) and end.at < act.at]
        if any(_seconds(end.at, act.at) > RACE for end in ended):
            return f"{who} was ended at {ended[0].at}"
        return self._given(grant)

    @staticmethod
    def _ends(end: Act, grant: Grant) -> bool:
        if "grant" in end.data:
            return bool(end.data["grant"] == grant.id)
        same = (end.data.get("role"), end.data.get("user") or end.target) == (grant.role, grant.user)
        return same and grant.act.before(end)

    def _given(self, grant: Grant) -> str:
        """How the grant came to be; judged once, whatever it is needed for."""
        if grant.set_up or grant.role not in APPROVING:
            return ""
        who = f"{grant.user} as {grant.role}"
        if grant.act.action == "role.grant":
            return f"{who} was made so by one person alone (leaf {grant.act.leaf})"
        leaf = grant.act.leaf
        if leaf not in self.faults:
            self.faults[leaf] = f"{who} rests on itself"
            try:
                self.faults[leaf] = self._confirmed(grant, who)
            except Lacking:
                del self.faults[leaf]
                raise
        return self.faults[leaf]

    def _confirmed(self, grant: Grant, who: str) -> str:
        """Proposed by one administrator and confirmed by another, neither of them the grantee, and rested."""
        confirm, proposal = grant.act, self.proposals.get(grant.id)
        if proposal is None or not proposal.before(confirm):
            raise Lacking(f"{who} was confirmed, and the proposal {grant.id} is not in the record before it")
        proposer, by = proposal.actor, confirm.actor
        stated = [proposal.data.get(name) for name in ("user", "role", "proposer")]
        if stated != [grant.user, grant.role, proposer] or (proposal.data.get("scope") or {}) != grant.scope:
            return f"{who} is not what was proposed (leaf {proposal.leaf})"
        if [confirm.data.get("by"), confirm.data.get("proposer")] != [by, proposer]:
            return f"{who} was confirmed in the name of somebody else (leaf {confirm.leaf})"
        if len({proposer, by, grant.user}) < 3 or not (proposal.by_a_person and confirm.by_a_person):
            return f"{who} was not proposed and confirmed by two other people (leaf {confirm.leaf})"
        refusal = self.refused.get(grant.id)
        if refusal and refusal.before(confirm):
            return f"{who} had been refused (leaf {refusal.leaf})"
        if not stepped_up(confirm, STEP_UP_SECONDS):
            return f"{who} was confirmed without a sign-in of the last {STEP_UP_SECONDS} s (leaf {confirm.leaf})"
        rest = int(confirm.data["rest_seconds"])
        if _seconds(confirm.at, grant.counts_from) < rest - REST_SLACK:
            return f"{who} counted before it had rested for {rest} s"
        self.short_rests += rest < DAY
        for person in (proposer, by):
            fault = self.why_not(person, ["administrator"], confirm)
            if fault:
                return f"{who} was given by {person}, who was no administrator: {fault}"
        return ""

    def _loan_at(self, loan: Act, act: Act, model: str, team: str) -> str:
        """Lent by its holder, who holds it still by a grant of their own, within the time and what they hold."""
        data = loan.data
        lender, role = str(data.get("from")), str(data.get("role"))
        who = f"{data.get('to')} as {role}, lent by {lender},"
        scope = data.get("scope") or {}
        if loan.actor != lender or not loan.by_a_person or lender == data.get("to"):
            return f"{who} was not lent by its holder (leaf {loan.leaf})"
        if not covers(scope, model, team):
            return f"{who} holds for other teams or models only"
        if not loan.before(act) or not _utc(data["starts"]) <= act.at or _seconds(data["ends"], act.at) > RACE:
            return f"{who} counts from {data['starts']} to {data['ends']} only"
        end = self.loan_ends.get(str(data.get("delegation")))
        if end and _seconds(end.at, act.at) > RACE:
            return f"{who} was ended at {end.at}"
        faults = [
            self._grant_at(grant, act, model, team)
            or ("" if within(scope, grant.scope) else f"{who} is more than held")
            for grant in self.grants.get(lender, [])
            if grant.role == role and data.get("grant", grant.id) == grant.id
        ]
        if not faults:
            raise Lacking(f"the record does not say that {lender}, who lent it, was made {role}")
        return "" if "" in faults else faults[0]


# Meaning: nothing was executed that had not been approved

MOST_GLASS_SECONDS = 15 * 60
STEP_UP_SECONDS = 300
"""No policy can let a proof of identity be older than that."""
SKEW = 60
"""Seconds by which the clock of a web server, which states when somebody proved who they are, may be ahead."""
COMMANDER, APPROVER, ADMINISTRATOR = ({"role": role, "count": 1} for role in APPROVING)
EFFECTS = {
    "policy.replace": ("policy_change",),
    "policy.retire": ("policy_change", "policy_retirement"),
    "alias.move": ("promotion",),
    "version.quarantine_lift": ("unquarantine",),
    "host.register": ("host_registration",),
    "gate.register": ("gate_registration",),
}
"""What acts under approval do, and by which kind of act."""


def _installed() -> Iterator[tuple[str, str, str, list[dict[str, Any]], int]]:
    for kind in ("rollback", "release", "drill", "converge"):
        for tier in ("low", "medium", "high"):
            yield kind, tier, "staging", [COMMANDER], 1800
            strict = tier != "low" and kind in ("rollback", "release")
            yield kind, tier, "production", [COMMANDER, APPROVER] if strict else [COMMANDER], 1800
    for kind in ("drain", "freeze"):
        yield kind, "any", "any", [COMMANDER], 1800
    yield "policy_change", "any", "any", [ADMINISTRATOR], 1800
    yield "unquarantine", "any", "production", [COMMANDER, APPROVER], 1800
    yield "break_glass", "any", "any", [COMMANDER], 900
    yield "gate_registration", "any", "any", [ADMINISTRATOR], 1800


def installed_policies() -> dict[str, dict[str, Any]]:
    """The policies that a new installation has, by name, before any is put into force on record."""
    return {
        f"{kind}-{tier}-{environment}": {
            "name": f"{kind}-{tier}-{environment}",
            "version": 1,
            "subject_kind": kind,
            "risk_tier": tier,
            "environment": environment,
            "required": len(factors),
            "factors": factors,
            "step_up_seconds": STEP_UP_SECONDS,
            "expires_seconds": seconds,
        }
        for kind, tier, environment, factors, seconds in _installed()
    }


NEEDED_DATA = {
    "policy.replace": ("policy",),
    "policy.retire": ("policy",),
    "role.grant": ("role",),
    "role.confirm": ("role",),
    "approval.open": ("policy", "expires_at"),
    "approval.break_glass": ("policy", "expires_at", "review_due"),
    "delegation.create": ("starts", "ends"),
}
"""Without which a record is of no kind that can be judged."""
SHAPES: dict[str, type] = {"document": dict, "scope": dict, "policy": dict, "role": str, "rest_seconds": int}
SHAPES |= dict.fromkeys(("seats", "roles", "hosts"), list)
AUTOMATIC = ("rollback", "drill")
"""Kinds of runs that a policy can let start by themselves."""
ROUNDING = 2e-6
"""Of shares that stand in the record with six decimals."""
RULE = ("practice.rule.set", "practice.rule.arm", "practice.rule.trip", "practice.rule.disarm")
"""What happens to a model's rule for rollbacks by themselves: the first two leave it armed."""
MOMENTS = ("counts_from", "auth_time", "expires_at", "review_due", "review_limit", "starts", "ends")
UNFIT = (LookupError, TypeError, ValueError, AttributeError, OverflowError)
"""What comes of data that are not as Lastgood writes them."""


def misshapen(act: Act) -> str:
    """What of a record's data is not as Lastgood writes it; empty when all is."""
    data = act.data
    found = [name for name in NEEDED_DATA.get(act.action, ()) if data.get(name) is None]
    found += [name for name, shape in SHAPES.items() if not isinstance(data.get(name), (shape, type(None)))]
    if not found and not _listed(data.get("seats"), {"by": str, "role": str}):
        found.append("seats")
    if not found and not _listed((data.get("policy") or {}).get("factors"), {"role": str, "count": int}):
        found.append("policy")
    for name in MOMENTS:
        try:
            _utc(data.get(name) or act.at)
        except UNFIT:
            found.append(name)
    return ", ".join(dict.fromkeys(found))


def _listed(value: Any, shape: Mapping[str, type]) -> bool:
    """Whether it is a list of objects that have these, or nothing."""
    rows = value or []
    return isinstance(rows, list) and all(
        isinstance(row, dict) and all(isinstance(row.get(name), kind) for name, kind in shape.items()) for row in rows
    )


def _beyond_budget(name: str, rule: Mapping[str, Any], ranking: Act, replayed: Mapping[str, str]) -> str:
    """That the target surely does better on the same rows, and the live version's errors, at the least, are beyond what
    was promised by the rule's budget; "" where both hold."""
    figures = {key: float(value) for key, value in replayed.items()}
    better = figures["difference_low"] if "difference_low" in figures else figures["low"] - figures["live_high"]
    if better <= 0:
        return f"{name} was started by itself to a version that does not surely do better"
    expected = float(ranking.data.get("promised") or figures["accuracy"])
    if expected - figures["live_high"] < float(rule["error_budget"]) - ROUNDING:
        return f"{name} was started by itself while the errors were within the budget of its rule"
    return ""


class Execution(NamedTuple):
    """Something that needed approvals and was done: a run, or another act."""

    act: Act
    name: str
    subject: str
    request: str

    @property
    def broke_glass(self) -> bool:
        return bool(self.act.data.get("break_glass"))

    @property
    def by_itself(self) -> bool:
        return bool(self.act.data.get("automatic"))


class Meaning:
    """Whether each run and each act under approval had the approvals that its policy demanded.

    ``newest``: until when the record reaches, for what is owed by a time. ``complete``: whether what is not in the
    record did not happen (the whole log, or a part with its receipt).
    """

    def __init__(self, acts: Iterable[Act], newest: str = "", complete: bool = True) -> None:
        self.by: dict[str, list[Act]] = defaultdict(list)
        self.about: dict[tuple[str, str], list[Act]] = defaultdict(list)
        self.of_run: dict[tuple[str, str], list[Act]] = defaultdict(list)
        self.misshapen: list[tuple[int, str]] = []
        last = ""
        for act in acts:
            last = max(last, act.at)
            if act.outcome in ("success", "intent") or act.action.startswith("rollback.step."):
                if unfit := misshapen(act):
                    self.misshapen.append(
                        (act.leaf, f"the data of {act.action} are not as Lastgood writes them: {unfit}")
                    )
                    continue
                self.by[act.action].append(act)
                self.about[act.action, str(act.data.get("request"))].append(act)
                self.of_run[act.action, str(act.data.get("run"))].append(act)
        self.newest, self.complete = newest or last, complete
        self.authority = Authority(self.by)
        self.starts = {str(act.data.get("run")): act for act in self.by["rollback.run.start"]}
        self.executions = [*self._runs(), *self._acts()]
        self.uses: dict[str, int] = defaultdict(int)
        for execution in self.executions:
            self.uses[execution.request] += 1
        self.facts: list[str] = []
        self.installed = {name: policy_hash(policy) for name, policy in installed_policies().items()}
        self.policies: dict[str, list[Act]] = defaultdict(list)
        for act in sorted([*self.by["policy.replace"], *self.by["policy.retire"]], key=lambda one: one.leaf):
            self.policies[str(act.data["policy"].get("name"))].append(act)
        self.alone = self.by_programs = self.undocumented = 0
        documented = (act.leaf for act in self.by["act.propose"] if "document" in act.data)
        self.documented = min(documented, default=-1)
        self.old_parts: dict[int, int] = {}

    def _runs(self) -> Iterator[Execution]:
        for act in self.by["rollback.run.start"]:
            if act.data.get("kind") != "converge":
                name, subject = f"run {act.data.get('run')}", str(act.data.get("plan_hash") or "")
                yield Execution(act, name, subject, str(act.data.get("request")))

    def _acts(self) -> Iterator[Execution]:
        for act in self.by["act.perform"]:
            name = f"act {act.data.get('kind')} (leaf {act.leaf})"
            yield Execution(act, name, str(act.data.get("act_hash") or ""), str(act.data.get("request")))

    def problems(self) -> Iterator[tuple[int, str, bool]]:
        """(leaf, sentence, whether a record is lacking rather than wrong), in the order of the leaves."""
        started, by = self.by["rollback.run.start"], self.by
        steps = [*by["rollback.step.intent"], *by["rollback.step.outcome"]]
        checks: list[tuple[int, Callable[[], str]]] = [
            *((one.act.leaf, partial(self._execution, one)) for one in self.executions),
            *((act.leaf, partial(self._converge, act)) for act in started if act.data.get("kind") == "converge"),
            *((act.leaf, partial(self._step, act)) for act in steps),
            *((act.leaf, partial(self._review, act)) for act in by["approval.break_glass"]),
            *((act.leaf, partial(self._act_hash, act)) for act in by["act.propose"]),
            *((act.leaf, partial(self._effect, act)) for action in EFFECTS for act in by[action]),
        ]
        checks += ((leaf, partial(str, sentence)) for leaf, sentence in self.misshapen)
        for leaf, check in sorted(checks, key=lambda one: one[0]):
            try:
                sentence = check()
            except Lacking as lack:
                yield leaf, str(lack), True
            except UNFIT as error:
                yield leaf, f"it cannot be judged, as the data are not as Lastgood writes them: {error!r}", False
            else:
                if sentence:
                    yield leaf, sentence, False

    def summary(self) -> list[str]:
        """What was found to be so, once ``problems`` found nothing."""
        told = list(self.facts)
        broken = sum(one.broke_glass for one in self.executions)
        for what, action in (("Runs", "rollback.run.start"), ("Acts", "act.perform")):
            if self.by[action]:
                told.append(
                    f"{what}: {len(self.by[action])}, each with the approvals its policy demanded, of that very plan."
                )
        if broken:
            told.append(f"Of these {broken} by break-glass, without approvals.")
        if by_themselves := sum(one.by_itself for one in self.executions):
            told.append(f"Of these {by_themselves} by themselves, as their policies allowed.")
        if self.authority.seats:
            told.append(
                f"Seats: {self.authority.seats}, each filled by a person who held the role; {self.authority.set_up} "
                "rest on roles that a program on the machine itself had set up, the others on two administrators."
            )
        if self.alone:
            told.append(f"Policies put in place by one person, while there was no second administrator: {self.alone}.")
        if self.undocumented:
            told.append(
                "Acts whose document is not on record, so that what they did was held against their kind and time "
                f"alone: {self.undocumented}."
            )
        if self.by_programs:
            told.append(f"Hosts registered by a program on the machine itself, without approvals: {self.by_programs}.")
        if self.authority.short_rests:
            told.append(f"Roles that were to rest for less than 24 hours: {self.authority.short_rests}.")
        return told

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

    def _execution(self, one: Execution) -> str:
        opened = [act for act in self.about["approval.open", one.request] if act.before(one.act)]
        if not opened and not one.broke_glass:
            raise Lacking(
                f"{one.name} was started, and its approval request {one.request} is not in the record before it"
            )
        if self.uses[one.request] > 1:
            return f"{one.name} used approval request {one.request}, which was used for another run as well"
        if one.broke_glass:
            return self._broken_glass(one, opened[0] if opened else None)
        if one.by_itself:
            return self._by_itself(one, opened[0])
        consumed = [
            act
            for act in self.about["approval.consume", one.request]
            if act.before(one.act) and act.data.get("subject_hash") == one.subject
        ]
        if not consumed:
            return f"{one.name} was started without consuming the approvals of request {one.request}"
        return (
            self._bound(one, opened[0])
            or self._in_force(opened[0])
            or self._of_its_kind(one, opened[0].data["policy"])
            or self._approved(one, opened[0], consumed[0])
        )

    def _in_force(self, asked: Act) -> str:
        """The policy that a request, or a break-glass, states is the one that had been put into force last, or one of
        a new installation."""
        policy, stated = asked.data["policy"], asked.data["policy_hash"]
        name = str(policy.get("name"))
        beside = [act for act in self.policies[name] if abs(_seconds(act.at, asked.at)) <= RACE]
        if stated in [self._last(name, asked), *(act.data["policy_hash"] for act in beside)]:
            return ""
        before = [act for act in self.policies[name] if act.before(asked)]
        why = f"{before[-1].at} brought another" if before else f"nothing on record brought {name}"
        sentence = f"its request was opened under a policy that was not in force: {why}"
        if not self.complete:
            raise Lacking(sentence)
        return sentence

    def _last(self, name: str, act: Act) -> str:
        """The hash of the policy of that name that was in force before ``act``, what happened beside it left out; empty
        where there was none."""
        settled = [one for one in self.policies[name] if one.before(act) and seconds_since(one.at, act) > RACE]
        if not settled:
            return self.installed.get(name, "")
        return str(settled[-1].data["policy_hash"]) if settled[-1].action == "policy.replace" else ""

    def _asked_for(self, kind: str, act: Act, tier: str = "", environment: str = "") -> str:
        """The name of a policy that asked for approvals of that kind then; empty where none did. One that was retired
        right before need not have been seen any more."""
        names = [f"{kind}-{one}-{other}" for one in (tier, "any") for other in (environment, "any")]
        return next((name for name in names if self._last(name, act) and not self._just_retired(name, act)), "")

    def _just_retired(self, name: str, act: Act) -> bool:
        ends = (one for one in self.policies[name] if one.action == "policy.retire" and one.before(act))
        return any(seconds_since(one.at, act) <= RACE for one in ends)

    def _of_its_kind(self, one: Execution, policy: Mapping[str, Any]) -> str:
        """The policy is one for such a run or act, and for that model and place."""
        kind, data = str(one.act.data.get("kind")), one.act.data
        if policy.get("subject_kind", kind) != kind:
            return f"{one.name} of kind {kind} was approved under the policy {policy.get('name')}"
        places = [act for act in self.by["endpoint.register"] if act.target == data.get("endpoint")]
        models = [act for act in self.by["model.register"] if places and act.target == places[0].data.get("model")]
        for what, found in (("environment", places), ("risk_tier", models)):
            actual = found[0].data.get(what) if found else None
            if actual and policy.get(what, "any") not in (actual, "any"):
                return f"{one.name}: the {what.replace('_', ' ')} is {actual}, its policy is {policy.get('name')}"
        return ""

    # What acts do

    def _effect(self, done: Act) -> str:
        """What needs approvals was done by an act that had them, as that act said; or no policy asked for any."""
        what = f"{done.action} of {done.target or done.data.get('policy', {}).get('name')}"
        if done.action == "alias.move" and not done.target.endswith("/champion"):
            return ""
        if done.action.startswith("policy.") and policy_hash(done.data["policy"]) != done.data["policy_hash"]:
            return f"{what}: it is not the policy whose hash it states"
        if not done.under:
            return "" if self._old_part(done) else self._unasked(done, what)
        performed = [act for act in self.by["act.perform"] if act.data.get("act") == done.under and act.before(done)]
        proposed = self._proposals(done.under)
        if not performed or not proposed:
            raise Lacking(f"{what} was a part of the act {done.under}, which is not in the record before it")
        act, document = performed[-1], proposed[0].data.get("document", {})
        twice = [one for one in self.by[done.action] if one.under == done.under and one.leaf < done.leaf]
        if act.data.get("kind") not in EFFECTS[done.action] or _seconds(act.at, done.at) > LATE or twice:
            return f"{what} was no part of the act {done.under} (leaf {act.leaf})"
        if self._before_documents(proposed[0]):
            return ""
        if act_hash(document) != act.data.get("act_hash") or not self._as_said(done, document):
            return f"{what} is not what the act {done.under} said (leaf {proposed[0].leaf})"
        return ""

    def _proposals(self, name: str) -> list[Act]:
        return [act for act in self.by["act.propose"] if act.data.get("act") == name]

    def _before_documents(self, proposed: Act) -> bool:
        """Whether an act was proposed before Lastgood put an act's document on record, which it did from one moment on
        for all of them."""
        return "document" not in proposed.data and (self.documented < 0 or proposed.leaf < self.documented)

    def _old_part(self, done: Act) -> bool:
        """Whether it was done by an act of such a time, which what it did does not name: by its hand, right after it,
        and once only."""
        for act in reversed(self.by["act.perform"]):
            if act.data.get("kind") not in EFFECTS[done.action] or act.actor != done.actor or not act.before(done):
                continue
            old = [one for one in self._proposals(str(act.data.get("act"))) if self._before_documents(one)]
            free = self.old_parts.get(act.leaf, done.leaf) == done.leaf
            if old and free and seconds_since(act.at, done) <= LATE:
                self.old_parts[act.leaf] = done.leaf
                return True
        return False

    @staticmethod
    def _as_said(done: Act, document: Mapping[str, Any]) -> bool:
        """Whether what was done is what the act's document names."""
        data, model = done.data, document.get("model")
        if done.action == "policy.replace":
            facts = data["policy"] | {"stop_roles": data["policy"].get("stop_roles", [])}
            wish = document.get("policy", {})
            return bool(wish) and all(facts.get(term, data.get(term)) == value for term, value in wish.items())
        if done.action == "policy.retire":
            return json.dumps(data["policy"].get("name")) in canonical(document)
        if done.action == "alias.move":
            return (done.target, data.get("to")) == (f"{model}/champion", document.get("digest"))
        if done.action == "version.quarantine_lift":
            return done.target == f"{model}/{document.get('number')}"
        if done.action == "gate.register":
            named = f"{model}/{document.get('name')}"
            return (done.target, data.get("digest")) == (named, document.get("digest"))
        stated = {name: data.get(name) for name in ("engine", "address")} | {"name": done.target}
        return stated == document.get("host") and data.get("labels") == document.get("labels")

    def _unasked(self, done: Act, what: str) -> str:
        """Done at once: no policy asked for approvals then, or there was nobody yet who could have given them."""
        kind, data = EFFECTS[done.action][0], done.data
        if done.action.startswith("policy."):
            tier, environment = str(data["policy"].get("risk_tier")), str(data["policy"].get("environment"))
            if len(self.authority.administrators(done)) < 2:
                self.alone += 1
                return ""
        elif done.action == "alias.move" and self._verified(done):
            return ""  # it follows from a run, which is judged as one
        elif done.action == "host.register" and not done.by_a_person:
            self.by_programs += 1
            return ""
        else:
            model = done.target.partition("/")[0]
            registered = [act for act in self.by["model.register"] if act.target == model]
            tier = str(registered[0].data.get("risk_tier")) if registered else ""
            places = [act for act in self.by["endpoint.register"] if act.data.get("model") == model]
            live = any(act.data.get("environment") == "production" and act.before(done) for act in places)
            environment = "production" if live else "staging"
        policy = self._asked_for(kind, done, tier, environment)
        if not policy:
            return ""
        sentence = f"{what} was done by {done.actor} without the approvals that the policy {policy} asked for"
        if not self.complete:
            raise Lacking(sentence)
        return sentence

    def _verified(self, moved: Act) -> bool:
        """Whether an alias was moved as a run was verified, by the watch or by who signed it off: one to that version,
        on an endpoint of that model in production, that was no drill and no convergence."""
        model = moved.target.partition("/")[0]
        places = [act for act in self.by["endpoint.register"] if act.data.get("model") == model]
        live = {act.target for act in places if act.data.get("environment") == "production"}
        for watch in [*self.by["rollback.watch.pass"], *self.by["rollback.watch.sign_off"]]:
            run = self.starts.get(str(watch.data.get("run")))
            beside = watch.actor == moved.actor and abs(_seconds(watch.at, moved.at)) <= LATE
            if run is None or not beside or watch.data.get("state") != "passed" or not run.before(moved):
                continue
            went = run.data.get("to") == moved.data.get("to") and run.data.get("endpoint") in live
            if went and run.data.get("kind") not in ("drill", "converge"):
                return True
        return False

    def _converge(self, start: Act) -> str:
        """A convergence goes on with what an earlier, approved run left: same endpoint, same target, or the version
        that the run went back to, or was stopped at."""
        run, request = start.data.get("run"), str(start.data.get("request"))
        for earlier in self.about["rollback.run.start", request]:
            if earlier.data.get("kind") != "converge" and earlier.before(start):
                left = [earlier.data.get(end) for end in self._left_with(earlier, start)]
                if earlier.data.get("endpoint") != start.data.get("endpoint") or start.data.get("to") not in left:
                    return f"run {run} converges to something else than request {request} approved"
                return ""
        raise Lacking(f"run {run} converges under request {request}, whose run is not in the record")

    def _left_with(self, run: Act, later: Act) -> list[str]:
        """Which of a run's versions the hosts of `later` may have been left with: `from` when it had gone back before,
        and where a run other than a rollback was stopped before it came to them; nobody approved that the version that
        a rollback leaves be brought back."""
        name = str(run.data.get("run"))
        if any(act.before(later) for act in self.of_run["rollback.run.compensated", name]):
            return ["from"]
        stopped = any(act.before(later) for act in self.of_run["rollback.run.stop", name])
        if not stopped or run.data.get("kind") == "rollback" or self._switched(name, later):
            return ["to"]
        return ["to", "from"]

    def _switched(self, run: str, later: Act) -> bool:
        """Whether the run had switched every host of `later`, and brought none of them back, some time before it."""
        states: dict[Any, Any] = {}
        for step in self.of_run["rollback.step.outcome", run]:
            told = step.outcome == "success" and step.data.get("state") in ("switched", "restored")
            if told and step.before(later) and seconds_since(step.at, later) > RACE:
                states[step.data.get("host")] = step.data["state"]
        return all(states.get(host) == "switched" for host in later.data.get("hosts", []))

    @staticmethod
    def _bound(one: Execution, opened: Act) -> str:
        """The approvals were asked for this very hash, under this policy, and were still good."""
        if not one.subject or opened.data.get("subject_hash") != one.subject:
            return f"{one.name} carries out plan {one.subject}, the request was about {opened.data.get('subject_hash')}"
        if opened.data.get("policy_hash") != policy_hash(opened.data.get("policy")):
            return f"{one.name}: its request states another policy than the one whose hash it states"
        if one.act.data.get("policy_hash") != opened.data.get("policy_hash"):
            return f"{one.name} was started under another policy than its request was opened under"
        if not one.broke_glass and _instant(one.act.at) > _instant(opened.data["expires_at"]):
            return f"{one.name} was started after its approvals had expired at {opened.data['expires_at']}"
        most = opened.data["policy"].get("expires_seconds")
        if most is not None and _seconds(opened.at, opened.data["expires_at"]) > int(most) + RACE:
            return f"{one.name}: its request was to hold for longer than the {most} s of its policy"
        return ""

    def _approved(self, one: Execution, opened: Act, consumed: Act) -> str:
        policy = opened.data.get("policy", {})
        approvals, denied = self._standing(one.act, opened)
        seats = {seat["by"]: seat["role"] for seat in consumed.data.get("seats", [])}
        editors = self._editors(opened)
        approvals = {by: act for by, act in approvals.items() if by in seats and by not in editors}
        if denied:
            return f"{one.name} was started although {denied} had denied it"
        required = policy.get("required")
        if not isinstance(required, int):
            return f"the request of {one.name} states no number of approvals"
        if len(approvals) < required:
            return f"{one.name} was started with {len(approvals)} valid approvals; its policy demands {required}"
        for factor in policy.get("factors", []):
            filled = sum(
                1
                for by, act in approvals.items()
                if seats.get(by) == factor["role"] and factor["role"] in act.data.get("roles", [])
            )
            if filled < factor["count"]:
                return f"{one.name} was started with {filled} of {factor['count']} approvals as {factor['role']}"
        return self._seated(one, opened, approvals, seats)

    def _editors(self, opened: Act) -> set[str]:
        """Who had changed the policy within the day before the request was opened, and may not approve under it."""
        changed = self.policies[str(opened.data["policy"].get("name"))]
        recent = [act for act in changed if act.before(opened) and RACE < seconds_since(act.at, opened) < DAY - RACE]
        return {str(act.data.get("edited_by")) for act in recent} - {"None"}

    def _seated(self, one: Execution, opened: Act, approvals: Mapping[str, Act], seats: Mapping[str, str]) -> str:
        """Each held the role for that model, when deciding and at the start; of a lender and all borrowers one did, and
        none where the lender may not approve it."""
        model, team = str(opened.data.get("model", "")), str(opened.data.get("team", ""))
        barred = {opened.data.get("proposer"), *opened.data.get("excluded", ())}
        lenders: set[str] = set()
        for by, act in sorted(approvals.items()):
            roles = [seats[by]] if seats[by] else [role for role in act.data.get("roles", []) if role in APPROVING]
            ref = str(act.data.get("grant", ""))
            lender = self.authority.lender(by, ref)
            fault = self.authority.seat(by, roles, act, model, team, ref)
            fault = fault or self.authority.why_not(by, roles, one.act, model, team)
            if lender in approvals:
                fault = f"{lender}, who had lent the role, approved as well"
            elif lender in lenders:
                fault = f"{lender} had lent the role to another, who approved as well"
            elif lender in barred:
                fault = f"{lender}, who had lent the role, was not to approve this"
            lenders |= {lender} - {""}
            if fault:
                return f"{one.name} was started with an approval by {by} that does not count: {fault}"
        return ""

    def _standing(self, start: Act, opened: Act) -> tuple[dict[str, Act], str]:
        """The approval of each person that held when the run started, and who had denied it, if anybody."""
        approvals: dict[str, Act] = {}
        denied = ""
        decisions = [act for act in self.about["approval.decide", opened.data["request"]] if act.before(start)]
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
        """A person's approval of this very hash, in time, after a recent sign-in, by nobody who is excluded from it."""
        limit = min(int(opened.data.get("policy", {}).get("step_up_seconds", STEP_UP_SECONDS)), STEP_UP_SECONDS)
        return (
            stepped_up(act, limit)
            and act.data.get("decision") == "approve"
            and act.data.get("subject_hash") == opened.data.get("subject_hash")
            and act.actor != opened.data.get("proposer")
            and act.actor not in opened.data.get("excluded", ())
            and act.by_a_person
            and _instant(act.at) <= _instant(opened.data["expires_at"])
        )

    def _by_itself(self, one: Execution, opened: Act) -> str:
        """Instead of approvals: a leave for this very hash, under a policy that was put into force with the term that
        what it covers may start by itself; nobody had denied it; and, for a rollback, the model's rule was met."""
        name = str(opened.data["policy"].get("name"))
        given = [act for act in self.about["approval.automatic", one.request] if act.before(one.act)]
        taken = [act for act in self.about["approval.automatic.withdraw", one.request] if act.before(one.act)]
        kind = one.act.data.get("kind")
        if one.act.action == "act.perform" or kind not in AUTOMATIC:
            return f"{one.name} was started by itself, which a {kind} may not be"
        if not given or not one.subject or given[-1].data.get("subject_hash") != one.subject:
            return f"{one.name} was started by itself without a leave for plan {one.subject}"
        if any(given[-1].before(act) for act in taken):
            return f"{one.name} was started by itself after its leave had been taken back"
        stated = opened.data.get("policy_hash")
        known = [act for act in self.policies[name] if act.action == "policy.replace" and act.before(opened)]
        terms = [act.data.get("automatic_allowed") for act in known if act.data.get("policy_hash") == stated]
        if not terms and not self.complete:
            raise Lacking(f"{one.name} was started by itself, and its policy is not in the record")
        if terms[-1:] != [True]:
            return f"{one.name} was started by itself under the policy {name}, which lets nothing start so"
        denied = self._standing(one.act, opened)[1]
        if denied:
            return f"{one.name} was started by itself although {denied} had denied it"
        bound = self._bound(one, opened) or self._in_force(opened) or self._of_its_kind(one, opened.data["policy"])
        return bound or (self._rule_met(one, opened, given[-1]) if kind == "rollback" else "")

    def _rule_met(self, one: Execution, opened: Act, leave: Act) -> str:
        """The rule that the leave states was in force, armed by a commander of the model, and its limits were kept."""
        model, stated = str(opened.data.get("model")), leave.data["rule"]
        told = [
            act
            for action in RULE
            for act in self.by[action]
            if act.target == model
            and (act.before(leave) or (act.before(one.act) and seconds_since(act.at, one.act) > RACE))
        ]
        told.sort(key=lambda act: (act.at, act.leaf))
        made = [act for act in told if act.action == RULE[0]]
        if not made:
            sentence = f"{one.name} was started by itself, and nothing on record set a rule for {model}"
            if not self.complete:
                raise Lacking(sentence)
            return sentence
        rule = made[-1].data["rule"]
        if any(stated.get(term) != value for term, value in rule.items()):
            return f"{one.name} was started by itself by another rule than the one in force (leaf {made[-1].leaf})"
        if told[-1].action not in RULE[:2]:
            return f"{one.name} was started by itself after {told[-1].at}, when its rule was no longer armed"
        if not told[-1].by_a_person:
            return f"{one.name} was started by itself by a rule that no person had armed (leaf {told[-1].leaf})"
        fault = self.authority.why_not(told[-1].actor, ["commander"], told[-1], model, str(opened.data.get("team", "")))
        if fault:
            return f"{one.name}: {told[-1].actor} had no right to arm the rule it was started by: {fault}"
        fault = self.authority.why_not(told[-1].actor, ["commander"], leave, model, str(opened.data.get("team", "")))
        if fault:
            return f"{one.name}: {told[-1].actor}, who had armed its rule, could not command any more: {fault}"
        if int(stated["incident_severity"]) > int(rule["severity"]):
            return f"{one.name} was started by itself for an incident less severe than its rule asks for"
        return self._limits(one, rule, leave, model) or self._target_met(one, rule, leave)

    def _target_met(self, one: Execution, rule: Mapping[str, Any], leave: Act) -> str:
        """The target that the leave states is where the run went; by the ranking on record it does better than what was
        live, whose errors were beyond the budget; and it was validated."""
        stated = leave.data["rule"].get("target") or {}
        to = str(stated.get("to"))
        if to != one.act.data.get("to") or stated.get("from") != one.act.data.get("from"):
            return f"{one.name} was started by itself by a leave for another target than the one it went to"
        ranked, fault = self._ranked(one, stated, leave), ""
        if ranked is None:
            fault = f"{one.name} was started by itself, and no ranking on record says of {to} what its leave says"
        else:
            fault = _beyond_budget(one.name, rule, ranked, stated["replayed"])
        return fault or self._validated(one, rule, stated, leave)

    def _ranked(self, one: Execution, stated: Mapping[str, Any], leave: Act) -> Act | None:
        """The ranking of the incident that was the last at the leave, where it has the figures that are stated."""
        rankings = [
            act
            for act in self.by["rollback.ranking.answer"]
            if act.incident == one.act.incident and act.before(leave) and act.target == one.act.data.get("endpoint")
        ]
        if not rankings and not self.complete:
            raise Lacking(f"{one.name} was started by itself, and the ranking of its target is not in the record")
        rankings.sort(key=lambda act: (act.number, act.at, act.leaf))
        last = [act for act in rankings if act is rankings[-1] or seconds_since(act.at, leave) <= RACE]
        for act in reversed(last):
            for row in act.data["candidates"]:
                same = row.get("digest") == stated["to"] and row.get("replayed") == stated.get("replayed")
                if same and row.get("eligible") and row.get("replayed"):
                    return act
        return None

    def _validated(self, one: Execution, rule: Mapping[str, Any], stated: Mapping[str, Any], leave: Act) -> str:
        """By a drill of that version, fresh by the rule; or by having soaked with a golden test."""
        how = stated.get("validated") or {}
        if how.get("by") == "drill":
            drills = [
                act
                for act in self.by["practice.drill.pass"]
                if act.data.get("drill") == how.get("drill") and act.data.get("digest") == stated["to"]
            ]
            fresh = int(rule["drill_days"]) * 86_400 + RACE
            held = [act for act in drills if act.before(leave) and seconds_since(act.at, leave) <= fresh]
        else:
            made = [act for act in self.by["version.register"] if act.data.get("digest") == stated["to"]]
            golden = any(act.data.get("golden") for act in [*made, *self._given_golden(stated["to"])])
            soaked = {act.target for act in self.by["version.soak"] if act.before(leave)}
            held = [act for act in made if how.get("by") == "soak" and golden and act.target in soaked]
        if held:
            return ""
        sentence = f"{one.name} was started by itself to a version that nothing on record validates"
        if not self.complete:
            raise Lacking(sentence)
        return sentence

    def _given_golden(self, digest: str) -> list[Act]:
        """By a rehearsal, or by adopting an engine once more."""
        later = [*self.by["version.rehearse"], *self.by["version.complete"]]
        return [act for act in later if act.data.get("digest") == digest]

    def _limits(self, one: Execution, rule: Mapping[str, Any], leave: Act, model: str) -> str:
        """What the rule says of when and how often, at the moment of the leave."""
        given = _instant(leave.at)
        hours = {(given - datetime.timedelta(seconds=seconds)).hour for seconds in (0, RACE)}
        if not any(int(rule["from_hour"]) <= hour < int(rule["to_hour"]) for hour in hours):
            return f"{one.name} was started by itself by a leave of {leave.at}, outside of the hours of its rule"
        before = [
            (seconds_since(earlier.act.at, leave), earlier)
            for earlier in self.executions
            if earlier.act.data.get("kind") == "rollback" and earlier.act.before(leave)
        ]
        alone = [
            seconds for seconds, earlier in before if earlier.by_itself and self._model_of(earlier.request) == model
        ]
        if sum(seconds < int(rule["window_seconds"]) - RACE for seconds in alone) >= int(rule["most"]):
            return f"{one.name} was started by itself more often than its rule allows"
        place = one.act.data.get("endpoint")
        since = [seconds for seconds, earlier in before if earlier.act.data.get("endpoint") == place]
        if any(seconds < int(rule["dwell_seconds"]) - RACE for seconds in since):
            return f"{one.name} was started by itself sooner after the one before than its rule allows"
        return ""

    def _model_of(self, request: str) -> str:
        opened = self.about["approval.open", request]
        return str(opened[0].data.get("model")) if opened else ""

    def _broken_glass(self, one: Execution, opened: Act | None) -> str:
        """Instead of approvals: one person with the role, signed in just before, for this very hash, in time."""
        broken = [act for act in self.about["approval.break_glass", one.request] if act.before(one.act)]
        if not broken:
            raise Lacking(f"{one.name} was started by break-glass, which is not in the record before it")
        glass = broken[-1]
        data = glass.data
        if one.act.action == "act.perform":
            return f"{one.name} was done by break-glass, which is for the start of a plan alone"
        if not one.subject or data.get("subject_hash") != one.subject:
            return f"{one.name} carries out plan {one.subject}, glass was broken for {data.get('subject_hash')}"
        if _instant(one.act.at) > _instant(data["expires_at"]):
            return f"{one.name} was started after its break-glass had ended at {data['expires_at']}"
        if _seconds(glass.at, data["expires_at"]) > MOST_GLASS_SECONDS + RACE:
            return f"{one.name}: its break-glass was for longer than {MOST_GLASS_SECONDS} s"
        if not glass.by_a_person or data.get("by") != glass.actor:
            return f"{one.name}: its glass was not broken by a person who answers for it"
        return self._may_break(one, glass) or self._not_locked(one, glass) or self._glass_bound(one, glass, opened)

    def _may_break(self, one: Execution, glass: Act) -> str:
        """By the policy for breaking glass that was in force: the role, the time, the sign-in."""
        policy = glass.data["policy"]
        if policy_hash(policy) != glass.data.get("policy_hash"):
            return f"{one.name}: its break-glass states another policy than the one whose hash it states"
        roles = [factor["role"] for factor in policy.get("factors", [])]
        if policy.get("subject_kind") != "break_glass" or glass.data.get("role") not in roles:
            return f"{one.name}: the policy {policy.get('name')} lets no {glass.data.get('role')} break glass"
        if _seconds(glass.at, glass.data["expires_at"]) > int(policy["expires_seconds"]) + RACE:
            return f"{one.name}: its break-glass was for longer than its policy allows"
        limit = min(int(policy["step_up_seconds"]), STEP_UP_SECONDS)
        if not stepped_up(glass, limit):
            return f"{one.name}: {glass.actor} broke glass without a sign-in of the last {limit} s"
        return self._in_force(glass)

    def _not_locked(self, one: Execution, glass: Act) -> str:
        """No earlier use was without its review for so long that nobody could break glass."""
        for earlier in self.by["approval.break_glass"]:
            limit = earlier.data.get("review_limit")
            if not limit or not earlier.before(glass) or seconds_since(limit, glass) <= RACE:
                continue
            reviews = self.about["approval.break_glass.review", str(earlier.data.get("request"))]
            if not any(review.before(glass) for review in reviews):
                sentence = f"{one.name}: glass was broken while the use of leaf {earlier.leaf} still had no review"
                if not self.complete:
                    raise Lacking(sentence)
                return sentence
        return ""

    def _glass_bound(self, one: Execution, glass: Act, opened: Act | None) -> str:
        """By a person who held the role for that model."""
        data = glass.data
        about = opened.data if opened else data
        model, team = str(about.get("model", "")), str(about.get("team", ""))
        fault = self.authority.why_not(glass.actor, [str(data.get("role"))], glass, model, team)
        if fault:
            return f"{one.name}: {glass.actor} had no right to break glass: {fault}"
        return self._bound(one, opened) if opened else ""

    def _review(self, glass: Act) -> str:
        """Reviewed by somebody who took no part, or still within the time for it."""
        request, due = str(glass.data.get("request")), glass.data["review_due"]
        what = f"the break-glass of {glass.actor} for request {request}"
        took_part = {glass.actor} | {
            str(person)
            for action in ("approval.open", "approval.decide", "rollback.run.start")
            for act in self.about[action, request]
            for person in (act.actor, act.data.get("proposer"))
        }
        for review in self.about["approval.break_glass.review", request]:
            outside = review.actor not in took_part | set(review.data.get("participants", []))
            if glass.before(review) and outside and review.by_a_person and review.data.get("by") == review.actor:
                late = "" if review.at <= _utc(due) else f", after the time for it had ended at {due}"
                verdict = "justified" if review.data.get("verdict") == "justified" else "not justified"
                self.facts.append(f"Leaf {glass.leaf}: {what} was found {verdict} by {review.actor}{late}.")
                return ""
        if self.newest <= _utc(due):
            self.facts.append(f"Leaf {glass.leaf}: {what} is not reviewed yet; the review is owed until {due}.")
            return ""
        if not self.complete:
            raise Lacking(f"{what}, whose review is not in the record; it was due at {due}")
        return f"{what} was not reviewed by anybody who took no part; that was due at {due}"

    def _act_hash(self, proposed: Act) -> str:
        """The hash that is approved is that of the act that is proposed."""
        if self._before_documents(proposed):
            self.undocumented += 1
            return ""
        document = proposed.data.get("document", {})
        named = [document.get("act"), document.get("kind"), act_hash(document)]
        if named != [proposed.data.get(name) for name in ("act", "kind", "act_hash")]:
            return "the act that was proposed is not the one whose hash was put to the approvers"
        return ""


def stepped_up(act: Act, seconds: int) -> bool:
    """Whether the person had proved who they are within so many seconds before, and not in the future."""
    auth_time = str(act.data.get("auth_time") or "")
    return bool(auth_time) and -SKEW <= _seconds(auth_time, act.at) <= seconds + 1


def act_hash(document: Any) -> str:
    """SHA-256 over ``lastgood-act/1``, a zero byte and the act's canonical JSON."""
    return hashlib.sha256(b"lastgood-act/1\0" + canonical(document).encode()).hexdigest()


def policy_hash(policy: Any) -> str:
    """SHA-256 over ``approval-policy/1``, a zero byte and the policy's canonical JSON."""
    return hashlib.sha256(b"approval-policy/1\0" + canonical(policy).encode()).hexdigest()


# Bundle


@dataclass
class Verdict:
    """What was found. ``bad`` holds (leaf, sentence): leaf -1 where no single leaf can be named. ``witnesses``: how
    many of those that were asked for have signed; ``quorum``: how many must."""

    bad: list[tuple[int, str]] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)
    anchored: bool = False
    witnesses: int = 0
    quorum: int = 0

    @property
    def witnessed(self) -> bool:
        return self.witnesses >= self.quorum

    def status(self) -> int:
        if self.bad:
            return TAMPERED
        if self.lacking:
            return INCOMPLETE
        return WHOLE if self.anchored and self.witnessed else UNANCHORED


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
        if any(info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in infos):
            raise BadBundle("The bundle is packed in a way that Lastgood does not use.")
        if sum(info.file_size for info in infos) > MAX_TOTAL:
            raise BadBundle(f"The bundle unpacks to more than {MAX_TOTAL} bytes.")

    def small(self, name: str) -> bytes:
        with self.zip.open(name) as file:
            data = file.read(MAX_SMALL + 1)
        if len(data) > MAX_SMALL:
            raise BadBundle(f"{name} is longer than {MAX_SMALL} bytes.")
        return data

    def text(self, name: str) -> str:
        return self.small(name).decode()

    def lines(self, name: str) -> Iterator[bytes]:
        if name not in self.names:
            return
        with self.zip.open(name) as file:
            while line := file.readline(MAX_LINE + 1):
                if len(line) > MAX_LINE:
                    raise BadBundle(f"A line of {name} is longer than {MAX_LINE} bytes.")
                yield line.rstrip(b"\n")

    def sha256(self, name: str) -> str:
        digest = hashlib.sha256()
        with self.zip.open(name) as file:
            while part := file.read(1 << 20):
                digest.update(part)
        return digest.hexdigest()


class Missing(NamedTuple):
    """A reason that a record commits to and the bundle lacks: rightly so, where its erasure is on record."""

    event: str
    actor: str
    canon: bytes


class Check:
    """One pass over a bundle."""

    def __init__(
        self, bundle: Bundle, key: str, since: str = "", witnesses: Sequence[str] = (), quorum: int = 0
    ) -> None:
        self.bundle, self.key, self.since, self.witnesses = bundle, key, since, witnesses
        self.verdict = Verdict(quorum=quorum or len(witnesses))
        self.manifest: dict[str, Any] = {}
        self.checkpoint = Checkpoint("", 0, b"")
        self.context: set[int] = set()
        self.numbers: dict[str, set[int]] = defaultdict(set)
        self.acts: list[Act] = []
        self.missing: dict[int, Missing] = {}
        self.texts = 0
        self.marks: dict[int, tuple[bytes, str]] = {}
        self.newest = self.youngest = ""
        self.late = 0
        self.received = False

    @property
    def kind(self) -> str:
        return str(self.manifest["scope"]["kind"])

    def run(self) -> Verdict:
        absent = NEEDED - self.bundle.names
        if absent:
            self.verdict.lacking.append("The bundle lacks " + ", ".join(sorted(absent)) + ".")
            return self.verdict
        manifest = self.bundle.small("manifest.json")
        self.manifest = strict_json(manifest)
        if self.manifest.get("format") != FORMAT:
            raise BadBundle(f"The bundle's format is {self.manifest.get('format')!r}, not {FORMAT}.")
        self.context = set(self.manifest["context"])
        note = self.bundle.text("checkpoint")
        self.checkpoint = self._signed(note, "checkpoint")
        stated = (self.manifest["origin"], self.manifest["size"], self.manifest["root"])
        if stated != (self.checkpoint.origin, self.checkpoint.size, base64.b64encode(self.checkpoint.root).decode()):
            self._bad(-1, "The manifest states another tree than the checkpoint.")
        self._known_signers(note, "checkpoint")
        self._witnessed([note, *self._receipt(hashlib.sha256(manifest).hexdigest())])
        self._collect_marks()
        if self.kind == "whole":
            self._whole()
        else:
            self._part()
        self._numbers()
        self._reasons()
        self._meaning()
        self._files()
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

    def _receipt(self, manifest: str) -> Iterator[str]:
        """The log's own entry of this export, in a later signed tree: what shows that the bundle is as it was given
        out, with everything that belongs to its scope. Yields the later checkpoint's note when all is right."""
        if "receipt.json" not in self.bundle.names:
            if self.kind != "whole" or self.manifest["receipt"]:
                self.verdict.lacking.append(
                    "The bundle has no receipt, the log's own entry of this export; so nothing shows that all is in it."
                )
            return
        data = self.bundle.small("receipt.json")
        entry = strict_json(data)
        canon, note = base64.b64decode(entry["record"], validate=True), str(entry["note"])
        later = self._signed(note, "checkpoint of the receipt")
        self._known_signers(note, "checkpoint of the receipt")
        index, size = entry["leaf_index"], self.checkpoint.size
        hashes, bridge = ([bytes.fromhex(one) for one in entry[name]] for name in ("hashes", "consistency"))
        plain = {"leaf_index": index, "record": base64.b64encode(canon).decode(), "note": note}
        plain |= {"hashes": [one.hex() for one in hashes], "consistency": [one.hex() for one in bridge]}
        if canonical(plain).encode() + b"\n" != data:
            self._bad(-1, "The receipt is not written as Lastgood writes it.")
            return
        if later.origin != self.checkpoint.origin or not check_inclusion(
            leaf_hash(canon), index, later.size, hashes, later.root
        ):
            self._bad(-1, f"The receipt, leaf {index}, is not in the tree that was signed over it.")
            return
        if index < size or not check_consistency(size, later.size, self.checkpoint.root, later.root, bridge):
            self._bad(-1, "The tree of the receipt does not extend the tree of the bundle.")
            return
        record = strict_json(canon)
        stated = (record["data"].get("manifest"), record["data"].get("size"))
        if record["action"] != "audit.export" or stated != (manifest, size):
            self._bad(-1, "The receipt is of another bundle: something was changed since this one was given out.")
            return
        self.newest, self.received = record["occurred_at"], True
        self.verdict.facts.append(f"Exported by {record['actor']['id']} at {self.newest}, on record as leaf {index}.")
        yield note

    def _known_signers(self, note: str, what: str) -> None:
        """Each signature is by a key that was given, or that the manifest states: no line of a note is idle."""
        stated = [self.manifest.get("log_key", ""), *self.manifest.get("witness_keys", [])]
        keys = [key for key in [self.key, *self.witnesses, *stated] if key]
        text, _, signatures = note.rpartition("\n\n")
        for line in signatures.splitlines():
            if not any(_signs(f"{text}\n\n{line}\n", key) for key in keys):
                self._bad(-1, f"The {what} bears a signature that none of the known keys made: {line[:80]}")

    def _witnessed(self, notes: Iterable[str]) -> None:
        """How many of the witnesses that were asked for have signed one of the trees, the bundle's or a later one."""
        for note in notes:
            signed = 0
            for vkey in self.witnesses:
                try:
                    open_note(note, vkey)
                except WrongSignature as error:
                    self._bad(-1, f"A witness's signature is forged: {error}")
                except ValueError:
                    continue
                else:
                    signed += 1
            self.verdict.witnesses = max(self.verdict.witnesses, signed)
        if self.witnesses and self.verdict.witnessed:
            self.verdict.facts.append(f"{self.verdict.witnesses} of {len(self.witnesses)} witnesses have signed it.")

    def _collect_marks(self) -> None:
        """Earlier signed checkpoints: the tree must pass through each; a bad leaf lies before the first it misses."""
        for line in self.bundle.lines("checkpoints.jsonl"):
            mark = self._signed(strict_json(line)["note"], "checkpoint in checkpoints.jsonl")
            self.marks[mark.size] = (mark.root, "an earlier checkpoint")
        if self.since:
            mark = self._signed(self.since, "old checkpoint given by --since")
            self.marks[mark.size] = (mark.root, "the old checkpoint given by --since")
        if any(size > self.checkpoint.size for size in self.marks):
            self._bad(-1, "The log is shorter than an earlier checkpoint says: history was taken back.")

    # Events, and what stands beside them in the same order

    def _events(self) -> Iterator[tuple[int, bytes]]:
        """(leaf index, leaf hash of the record's bytes); looks into each record on the way."""
        last = -1
        reasons, rows = _Beside(self._reason_lines()), _Beside(self._csv_lines())
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
            self._look(index, canon, reasons, rows)
            yield index, computed
        for beside, what in ((reasons, "reasons.jsonl"), (rows, "events.csv")):
            beside.at(MAX_TOTAL)
            if beside.skipped:
                self.verdict.lacking.append(f"{what} tells of leaves that are missing, such as {beside.skipped[0]}.")

    def _look(self, index: int, canon: bytes, reasons: _Beside, rows: _Beside) -> None:
        try:
            record = strict_json(canon)
            if record["log_origin"] != self.checkpoint.origin:
                self._bad(index, f"Leaf {index} belongs to the log {record['log_origin']}.")
            if index not in self.context:
                self._belongs(index, record, canon)
            if record["action"].startswith(RELEVANT):
                self.acts.append(act_of(index, record, self.youngest))
                self.late += self.acts[-1].late
            self.youngest = max(self.youngest, record["occurred_at"])
            self.newest = max(self.newest, record["occurred_at"])
            text = self._reason(index, record, canon, reasons.at(index))
            row = rows.at(index)
            if row is None:
                if "events.csv" in self.bundle.names:
                    self.verdict.lacking.append(f"Leaf {index} has no row in events.csv.")
            elif row != csv_row(index, record, text):
                if index in self.missing:
                    self.verdict.lacking.append(f"Leaf {index}: its reason is in events.csv only, if it is the reason.")
                else:
                    self._bad(index, f"Leaf {index}: its row of events.csv does not say what the record says.")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._bad(index, f"Leaf {index} is not a record of the log: {error!r}")

    def _belongs(self, index: int, record: Mapping[str, Any], canon: bytes) -> None:
        """An event of the scope itself: its number within its incident, and that it is not smuggled in."""
        incident, scope = record.get("incident", ""), self.manifest["scope"]
        if incident:
            number = record["incident_seq"]
            if number in self.numbers[incident]:
                self._bad(index, f"Leaf {index} has number {number} of {incident} a second time.")
            self.numbers[incident].add(number)
        strange = (self.kind == "incident" and incident != scope["incident"]) or (
            self.kind == "person" and not names_person(canon, scope["person"])
        )
        if strange:
            self._bad(index, f"Leaf {index} does not belong to {self.kind} {scope[self.kind]}.")

    def _reason_lines(self) -> Iterator[tuple[int, Any]]:
        for line in self.bundle.lines("reasons.jsonl"):
            entry = strict_json(line)
            yield entry["leaf_index"], entry

    def _csv_lines(self) -> Iterator[tuple[int, Any]]:
        rows = self.bundle.lines("events.csv")
        if next(rows, csv_line(COLUMNS)[:-1]) != csv_line(COLUMNS)[:-1]:
            self._bad(-1, "The first line of events.csv does not name its columns.")
        for row in rows:
            match = ROW_LEAF.match(row)
            if match is None:
                self._bad(-1, "A line of events.csv is not an event.")
                return
            yield int(match[1]), row + b"\n"

    def _reason(self, index: int, record: Mapping[str, Any], canon: bytes, entry: Any) -> str:
        """The text of the event's reason, when it is there and is the one that the record commits to."""
        if entry is None:
            if "reason_commit" in record:
                self.missing[index] = Missing(record["event_id"], record["actor"]["id"], canon)
            return ""
        self.texts += 1
        text = str(entry["text"])
        digest = hmac.new(bytes.fromhex(entry["key"]), text.encode(), hashlib.sha256).hexdigest()
        if record.get("reason_commit") != f"hmac-sha256:{digest}":
            self._bad(index, f"Leaf {index}: its reason is not the text that the record was made with.")
        return text

    # The tree

    def _whole(self) -> None:
        """Every leaf is there, and together they are the signed root."""
        tree, gap = Root(), False
        missed = ""
        for index, computed in self._events():
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

    def _mark_before(self, size: int) -> int:
        """The first leaf that may be the bad one: the one after the last signed size below ``size``."""
        return max((mark for mark in self.marks if mark < size), default=0)

    def _part(self) -> None:
        """Each leaf hangs in the signed tree, by the part of the tree that the bundle brings."""
        trusted, broken = self._trusted()
        count, first, last = 0, -1, -1
        for index, computed in self._events():
            count += 1
            node = trusted.get((index, index + 1))
            if node is None:
                self._untrusted(index, broken)
            elif node != computed:
                self._bad(index, f"Leaf {index} is not in the signed tree.")
            if index in self.context:
                continue
            first, previous, last = index if first < 0 else first, last, index
            if self.kind == "span" and previous >= 0 and index != previous + 1:
                self.verdict.lacking.append(f"Leaf {previous + 1} is missing.")
        if count != self.manifest["events"]:
            self.verdict.lacking.append(f"{count} events are there; the bundle says {self.manifest['events']}.")
        also = f", {len(self.context)} of them only to judge by" if self.context else ""
        self.verdict.facts.append(f"{count} leaves ({first} to {last}{also}) were checked against the signed tree.")
        self._extends(trusted)

    def _trusted(self) -> tuple[dict[tuple[int, int], bytes], dict[tuple[int, int], bool]]:
        """The nodes that hash up into the signed root, and the places (first leaf, leaf after the last) whose two
        children, as the bundle gives them, do not hash to what stands there (False: not told yet)."""
        nodes: dict[tuple[int, int], bytes] = {}
        for line in self.bundle.lines("proofs.jsonl"):
            low, high, text = strict_json(line)
            nodes[low, high] = bytes.fromhex(text)
            if len(nodes) > MAX_NODES:
                raise BadBundle(f"proofs.jsonl holds more than {MAX_NODES} nodes.")
        size = self.checkpoint.size
        trusted: dict[tuple[int, int], bytes] = {}
        broken: dict[tuple[int, int], bool] = {}
        ahead = [(0, size, self.checkpoint.root)] if size else []
        while ahead:
            low, high, value = ahead.pop()
            trusted[low, high] = value
            if high - low == 1:
                continue
            middle = low + split(high - low)
            left, right = nodes.get((low, middle)), nodes.get((middle, high))
            if left is None or right is None:
                continue
            if node_hash(left, right) != value:
                broken[low, high] = False
                continue
            ahead += [(low, middle, left), (middle, high, right)]
        return trusted, broken

    def _untrusted(self, index: int, broken: dict[tuple[int, int], bool]) -> None:
        """No path leads from the leaf to the root: the part of the tree is broken (told once a place), or lacking."""
        place = next(((low, high) for low, high in broken if low <= index < high), None)
        if place is None:
            self.verdict.lacking.append(f"Leaf {index} has no inclusion proof.")
        elif not broken[place]:
            broken[place] = True
            low, high = place
            self._bad(index, f"Leaf {index} is not in the signed tree: wrong hashes over leaves {low} to {high - 1}.")

    def _extends(self, trusted: Mapping[tuple[int, int], bytes]) -> None:
        """The tree passes through each earlier checkpoint, as far as the bundle's part of the tree can show it."""
        for size, (root, name) in self.marks.items():
            if not 0 < size <= self.checkpoint.size:
                continue
            parts = [trusted.get(place) for place in (peaks(size) if size < self.checkpoint.size else [(0, size)])]
            value = parts[-1]
            for left in reversed(parts[:-1]):
                value = None if left is None or value is None else node_hash(left, value)
            if value is None:
                self.verdict.lacking.append(
                    f"The bundle does not show that its tree extends {name} ({size} leaves). Have it exported anew "
                    "with that size, or have the whole log exported."
                )
            elif value != root:
                self._bad(-1, f"The tree does not extend {name} ({size} leaves): a leaf before {size} was changed.")

    # What the records say together

    def _numbers(self) -> None:
        """Each incident's events carry 1, 2, 3 ... without a gap (a span, or a person's part, may begin anywhere)."""
        loose = self.kind in ("span", "person")
        told = []
        for incident, numbers in sorted(self.numbers.items()):
            lowest = min(numbers) if loose else 1
            gaps = sorted(set(range(lowest, max(numbers) + 1)) - numbers)
            if gaps and loose:
                told.append(f"{incident}: number {gaps[0]} lies outside the {self.kind}.")
            elif gaps:
                self.verdict.lacking.append(f"{incident}: event number {gaps[0]} is missing.")
            else:
                told.append(f"{incident}: events {lowest} to {max(numbers)}, none missing.")
        if len(told) > MOST_TOLD:
            whole = sum(sentence.endswith("none missing.") for sentence in told)
            told = [f"{whole} of {len(told)} incidents have their events without a gap."]
        self.verdict.facts += told

    def _reasons(self) -> None:
        """A reason that is not there was erased, or its writer was; else it was held back."""
        events = {act.target for act in self.acts if act.action == "audit.reason.erase"}
        people = {act.target for act in self.acts if act.action == "subject.erase"}
        for index, missing in sorted(self.missing.items()):
            erased = missing.event in events or missing.actor in people
            if not erased and not any(names_person(missing.canon, person) for person in people):
                self.verdict.lacking.append(f"Leaf {index}: its reason is missing, and no erasure of it is on record.")
        if self.texts or self.missing:
            self.verdict.facts.append(f"{self.texts} reasons match their records; {len(self.missing)} were erased.")

    def _meaning(self) -> None:
        complete = self.kind == "whole" or self.received
        meaning = Meaning(self.acts, self.newest, complete)
        gaps = bool(self.verdict.lacking)
        found = False
        for leaf, sentence, lacking in meaning.problems():
            found = True
            if gaps or (lacking and self.kind != "whole"):
                self.verdict.lacking.append(f"Leaf {leaf}: {sentence}.")
            else:
                self._bad(leaf, f"Leaf {leaf}: {sentence}.")
        if not found and not self.verdict.bad:
            self.verdict.facts += meaning.summary()
        if self.late:
            self.verdict.facts.append(
                f"{self.late} records bear a time more than {LATE} s before that of one that the tree held already: a "
                "clock was set back, or they were dated back. They were judged by the tree's order."
            )

    def _files(self) -> None:
        """Each member is the file that the manifest states. Where something lacks, that is why it is not."""
        stated = self.manifest["members"]
        for name in sorted(self.bundle.names - UNLISTED - set(stated)):
            self._bad(-1, f"{name} is in the bundle, and its manifest does not know of it.")
        for name, digest in sorted(stated.items()):
            if name not in self.bundle.names:
                self.verdict.lacking.append(f"{name} is missing from the bundle.")
            elif self.bundle.sha256(name) != digest:
                if self.verdict.lacking:
                    self.verdict.lacking.append(f"{name} is not the file that was given out.")
                else:
                    self._bad(-1, f"{name} is not the file that was given out.")


class _Beside:
    """Lines that stand beside the events, in the order of their leaves; ``skipped``: leaves that no event was there
    for."""

    def __init__(self, lines: Iterator[tuple[int, Any]]) -> None:
        self.lines, self.skipped = lines, list[int]()
        self.waiting = next(lines, None)

    def at(self, index: int) -> Any:
        """What stands beside the event, or None."""
        while self.waiting and self.waiting[0] < index:
            self.skipped.append(self.waiting[0])
            self.waiting = next(self.lines, None)
        if self.waiting is None or self.waiting[0] != index:
            return None
        found, self.waiting = self.waiting[1], next(self.lines, None)
        return found


def verify_bundle(path: str, key: str = "", since: str = "", witnesses: Sequence[str] = (), quorum: int = 0) -> Verdict:
    """Check a bundle; ``since`` is the text of an older checkpoint of the same log that it must extend, ``witnesses``
    the keys of those of whom ``quorum`` (all of them, where it is 0) must have signed it."""
    verdict = Verdict(quorum=quorum or len(witnesses))
    try:
        return Check(Bundle(path), key, since, witnesses, quorum).run()
    except (BadBundle, zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError) as error:
        verdict.bad.append((-1, str(error)))
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, RuntimeError) as error:
        verdict.bad.append((-1, f"The bundle is malformed: {error!r}"))
    return verdict


# Command line


class _Parser(argparse.ArgumentParser):
    """A wrong command is no verdict: its exit status is none of theirs."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: {message}\n")


def main(argv: Sequence[str] | None = None, write: Callable[[str], Any] = sys.stdout.write) -> int:
    """Command line; returns the exit status."""
    parser = _Parser(description="Checks an exported bundle of a Lastgood audit log, offline.")
    parser.add_argument("bundle")
    parser.add_argument("--key", default="", help="the log's public key, <name>+<id>+<base64>, got by another way")
    parser.add_argument("--since", default="", help="file with an older checkpoint that this log must extend")
    parser.add_argument(
        "--witness", action="append", default=[], help="a witness's public key, got by another way; may be repeated"
    )
    parser.add_argument("--quorum", type=int, default=0, help="how many of the witnesses must have signed (all)")
    options = parser.parse_args(argv)
    _check_keys(parser, options)
    since = ""
    try:
        if options.since:
            with open(options.since, encoding="utf-8") as file:
                since = file.read()
        with open(options.bundle, "rb"):
            pass
    except (OSError, UnicodeDecodeError) as error:
        parser.error(f"A file cannot be read: {error}")
    verdict = verify_bundle(options.bundle, options.key, since, options.witness, options.quorum)
    for fact in verdict.facts:
        write(f"{fact}\n")
    for _, sentence in sorted(verdict.bad):
        write(f"TAMPERED  {sentence}\n")
    for sentence in verdict.lacking:
        write(f"MISSING   {sentence}\n")
    write(f"{_conclusion(verdict)}\n")
    return verdict.status()


def _check_keys(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Keys that can be read, each once, and a number of witnesses that can be reached; else the program ends."""
    seen = set()
    for what, vkey in [("--key", options.key)] * bool(options.key) + [("--witness", key) for key in options.witness]:
        try:
            public = parse_vkey(vkey)[2]
        except ValueError as error:
            parser.error(f"{what}: {error}")
        if public in seen:
            parser.error(f"{what}: The same key is given twice; each signer counts once.")
        seen.add(public)
    if not 0 <= options.quorum <= len(options.witness):
        parser.error(f"--quorum: {options.quorum} of {len(options.witness)} witnesses cannot have signed.")


def _conclusion(verdict: Verdict) -> str:
    status = verdict.status()
    if status == UNANCHORED and verdict.anchored:
        return f"Unwitnessed: {verdict.witnesses} of the {verdict.quorum} witnesses that were demanded have signed it."
    return {
        WHOLE: "Whole: every check passed.",
        TAMPERED: "Tampered with.",
        INCOMPLETE: "Incomplete.",
        UNANCHORED: "Unanchored: nothing is wrong in itself, but without --key nobody knows who signed it.",
    }[status]


if __name__ == "__main__":
    sys.exit(main())
