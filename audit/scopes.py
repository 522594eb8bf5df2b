"""What an export may be of, and which leaves that is: the events themselves, and those by which they are judged."""

import datetime
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext

from audit.canonical import instant
from audit.verify import EFFECTS, LATE, Act, act_of, names_model, names_person, seconds_since

SPAN = """
    SELECT min(l.leaf_index), max(l.leaf_index) FROM audit_leaf AS l JOIN audit_event AS e ON e.id = l.event_id
    WHERE l.leaf_index < %s AND e.occurred_at >= %s AND e.occurred_at < %s
"""
ROWS = """
    SELECT l.leaf_index, e.canon FROM audit_leaf AS l JOIN audit_event AS e ON e.id = l.event_id
    WHERE l.leaf_index < %s AND {where} ORDER BY l.leaf_index
"""
TEXTLESS = """
    SELECT l.leaf_index, e.canon FROM audit_leaf AS l JOIN audit_event AS e ON e.id = l.event_id
    LEFT JOIN audit_private AS p ON p.event_id = e.id LEFT JOIN audit_subject_key AS k ON k.subject = p.subject
    WHERE l.leaf_index < %s AND l.leaf_index = ANY(%s) AND k.wrapped IS NULL AND position(%s::bytea IN e.canon) > 0
"""
JUDGED = "(e.action LIKE 'rollback.run.%%' OR e.action LIKE 'rollback.step.%%' OR e.action LIKE 'act.%%'"
JUDGED += f" OR e.action IN ('approval.break_glass', {', '.join(repr(action) for action in EFFECTS)}))"
POLICIES = "e.action LIKE 'policy.%%'"
REGISTERED = "e.action IN ('model.register', 'endpoint.register')"
ENDS = ("rollback.run.compensated", "rollback.run.stop")
"""What leaves the hosts of a run with another version than it went to, by which convergences after it are judged."""
STARTS = f"e.action IN ('rollback.run.start', 'act.propose', 'act.perform', {', '.join(map(repr, ENDS))})"
WATCHES = "e.action IN ('rollback.watch.pass', 'rollback.watch.sign_off')"
RULES = "e.action LIKE 'practice.rule.%%'"
TARGETS = (
    "e.action IN ('rollback.ranking.answer', 'version.register', 'version.rehearse', 'version.complete', "
    "'version.soak', 'practice.drill.pass')"
)
ROLES = "(e.action LIKE 'role.%%' OR e.action LIKE 'delegation.%%')"
ERASURES = "e.action IN ('audit.reason.erase', 'subject.erase')"
REASON = b'"reason_commit"'


class ScopeError(ValueError):
    """The scope names more than one thing; the message says so."""


class NothingToExport(Exception):
    """No event in the tree matches; the message says what to do."""


@dataclass(frozen=True)
class Scope:
    """One incident (its reference), one model (its slug), one person (the pseudonym), the leaves of a span of time, or,
    with nothing said, the whole log. Raises ScopeError."""

    incident: str = ""
    model: str = ""
    person: str = ""
    since: datetime.datetime | None = None
    until: datetime.datetime | None = None

    def __post_init__(self) -> None:
        named = [self.incident, self.model, self.person, self.since or self.until]
        if sum(bool(one) for one in named) > 1:
            raise ScopeError(gettext("Choose an incident, a model, a person or a span of time: one of them."))

    @property
    def kind(self) -> str:
        if self.since or self.until:
            return "span"
        return next((kind for kind in ("incident", "model", "person") if getattr(self, kind)), "whole")

    @property
    def name(self) -> str:
        """Short, for a file's name."""
        return self.incident or self.model or self.person or ("span" if self.kind == "span" else "log")

    def facts(self) -> dict[str, str]:
        """The scope as manifests and records state it."""
        if self.kind == "span":
            times = {"since": self.since, "until": self.until}
            return {"kind": "span"} | {name: instant(moment) if moment else "" for name, moment in times.items()}
        return {"kind": self.kind} | ({} if self.kind == "whole" else {self.kind: getattr(self, self.kind)})

    def words(self) -> str:
        """The scope for people."""
        facts = self.facts()
        if self.kind == "whole":
            return "the whole log"
        if self.kind == "span":
            return f"from {facts['since'] or 'the beginning'} to {facts['until'] or 'the last checkpoint'}"
        return f"{self.kind} {facts[self.kind]}"


@dataclass
class Chosen:
    """Indices of leaves: those of the scope, and, as context, those by which runs and reasons in it are judged."""

    leaves: set[int]
    context: set[int] = field(default_factory=set)

    def everything(self) -> list[int]:
        return sorted(self.leaves | self.context)


def choose(cursor: Any, scope: Scope, size: int) -> Chosen:
    """The leaves of a scope other than the whole log, below ``size``. Raises NothingToExport."""
    found = {
        "incident": lambda: {leaf for leaf, _ in _rows(cursor, size, "e.incident = %s", scope.incident)},
        "model": lambda: _of_model(cursor, size, scope.model),
        "person": lambda: _of_person(cursor, size, scope.person),
        "span": lambda: _of_span(cursor, size, scope),
    }[scope.kind]()
    if not found:
        raise NothingToExport(
            gettext("No event in the signed tree matches. Choose another incident, model, person or span.")
        )
    chosen = Chosen(found)
    _Context(cursor, size, chosen).complete()
    return chosen


def _rows(cursor: Any, size: int, where: str, *parameters: Any) -> list[tuple[int, bytes]]:
    cursor.execute(ROWS.format(where=where), [size, *parameters])
    return [(leaf, bytes(canon)) for leaf, canon in cursor.fetchall()]


def _of_span(cursor: Any, size: int, scope: Scope) -> set[int]:
    """All leaves between the first and the last event of the span: the tree's order is not exactly the clock's."""
    low = scope.since or datetime.datetime.min.replace(tzinfo=datetime.UTC)
    high = scope.until or datetime.datetime.max.replace(tzinfo=datetime.UTC)
    cursor.execute(SPAN, [size, low, high])
    first, last = cursor.fetchone()
    return set() if first is None else set(range(first, last + 1))


def _of_person(cursor: Any, size: int, pseudonym: str) -> set[int]:
    """Every event that the person did, or that names the person."""
    quoted = f'"{pseudonym}"'.encode()
    rows = _rows(cursor, size, "position(%s::bytea IN e.canon) > 0", quoted)
    return {leaf for leaf, canon in rows if names_person(canon, pseudonym)}


def _of_model(cursor: Any, size: int, slug: str) -> set[int]:
    """Every event about the model, its versions, aliases and endpoints, and all events of the incidents among them."""
    registered = _rows(cursor, size, "e.action = 'endpoint.register'")
    records = [json.loads(canon) for _, canon in registered]
    endpoints = {one["target"]["id"] for one in records if one["data"].get("model") == slug}
    begins = [f'"{slug}"', f'"{slug}/', *(f'"{endpoint}"' for endpoint in endpoints)]
    condition = " OR ".join(["position(%s::bytea IN e.canon) > 0"] * len(begins))
    leaves, incidents = set(), set()
    for leaf, canon in _rows(cursor, size, f"({condition})", *(begin.encode() for begin in begins)):
        record = json.loads(canon)
        if names_model(record, slug, endpoints):
            leaves.add(leaf)
            incidents.add(record.get("incident", ""))
    whole = _rows(cursor, size, "e.incident = ANY(%s)", sorted(incidents - {""}))
    return leaves | {leaf for leaf, _ in whole}


class _Context:
    """Follows what is executed to its approvals, these to the roles of those who gave them, and so on to the roles that
    a program set up; and what has no text any more to the erasure."""

    def __init__(self, cursor: Any, size: int, chosen: Chosen) -> None:
        self.cursor, self.size, self.chosen = cursor, size, chosen
        self.requests: set[str] = set()
        self.people: set[str] = set()

    def complete(self) -> None:
        """Add the context to what was chosen."""
        everything = self.chosen.everything()
        judged = self._acts(f"{JUDGED} AND l.leaf_index = ANY(%s)", everything)
        if judged:
            starts = self._acts(STARTS)
            self._places(judged, starts)
            policies, roles = self._acts(POLICIES), self._acts(ROLES)
            self._authorities([*judged, *policies], starts)
            self._take(policies)
            self._rules(judged)
            if any(not act.under for act in policies):
                self.people |= {str(act.data.get("user")) for act in roles if act.data.get("role") == "administrator"}
            self._people(roles)
        self._erasures()

    def _acts(self, where: str, *parameters: Any) -> list[Act]:
        rows = _rows(self.cursor, self.size, where, *parameters)
        return [act_of(leaf, json.loads(canon)) for leaf, canon in rows]

    def _take(self, acts: Iterable[Act]) -> None:
        self.chosen.context |= {act.leaf for act in acts} - self.chosen.leaves

    def _rules(self, judged: list[Act]) -> None:
        """By which rules, armed by whom, runs started by themselves."""
        if any(act.data.get("automatic") for act in judged):
            rules = self._acts(RULES)
            self._take(rules)
            self._take(self._targets(judged))
            self.people |= {act.actor for act in rules if act.by_a_person}

    def _targets(self, judged: list[Act]) -> Iterator[Act]:
        """What ranked and validated the targets of runs that started by themselves."""
        alone = [act for act in judged if act.data.get("automatic")]
        targets, incidents = {act.data.get("to") for act in alone}, {act.incident for act in alone} - {""}
        found = self._acts(TARGETS)
        named = {act.target for act in found if act.data.get("digest") in targets}
        for act in found:
            ranked = act.action == "rollback.ranking.answer" and act.incident in incidents
            if ranked or act.data.get("digest") in targets or (act.action == "version.soak" and act.target in named):
                yield act

    def _places(self, judged: list[Act], starts: list[Act]) -> None:
        """As what the models and endpoints were registered that were changed: that decides which policy holds."""
        registered = self._acts(REGISTERED)
        runs = {str(act.data.get("run")) for act in judged}
        changed = {str(act.data.get("endpoint")) for act in [*judged, *starts] if str(act.data.get("run")) in runs}
        models = {act.target.partition("/")[0] for act in judged if act.action in EFFECTS}
        models |= {str(act.data.get("model")) for act in registered if act.target in changed}
        self._take(act for act in registered if act.target in models or act.data.get("model") in models)

    def _authorities(self, judged: list[Act], starts: list[Act]) -> None:
        """The requests behind what was judged, with all that was done with them, and the people who decided."""
        runs = {str(act.data.get("run")) for act in judged if act.action.startswith("rollback.step.")}
        behind = [act for act in starts if act.action == "rollback.run.start" and str(act.data.get("run")) in runs]
        parts = {act.under for act in judged if act.under}
        behind += [act for act in starts if act.data.get("act") in parts]
        behind += self._verified(judged, starts)
        behind += self._performed(judged, starts)
        named = {str(act.data.get("request", "")) for act in [*judged, *behind]} - {""}
        done = [act for act in starts if str(act.data.get("request", "")) in named]
        used = {str(act.data.get("run")) for act in done}
        done += [act for act in starts if act.action in ENDS and str(act.data.get("run")) in used]
        about = self._acts("e.target_kind = 'approval_request' AND e.target_id = ANY(%s)", sorted(named))
        self._take([*done, *behind, *about])
        deciding = ("approval.decide", "approval.break_glass")
        self.people |= {act.actor for act in about if act.action in deciding and act.outcome == "success"}

    def _verified(self, judged: list[Act], starts: list[Act]) -> Iterator[Act]:
        """The runs by whose verification aliases were moved, with what verified them."""
        moved = {act.data.get("to") for act in judged if act.action == "alias.move" and not act.under}
        if not moved:
            return
        watches = self._acts(WATCHES)
        for start in starts:
            if start.action == "rollback.run.start" and start.data.get("to") in moved:
                verified = [act for act in watches if act.data.get("run") == start.data.get("run")]
                self._take(verified)
                if verified:
                    yield start

    @staticmethod
    def _performed(judged: list[Act], starts: list[Act]) -> Iterator[Act]:
        """The acts that may have done what names none, as once nothing did."""
        done = [act for act in judged if act.action in EFFECTS and not act.under]
        for act in starts if done else ():
            kind = act.data.get("kind") if act.action == "act.perform" else None
            if any(kind in EFFECTS[one.action] and 0 <= seconds_since(act.at, one) <= LATE for one in done):
                yield act

    def _people(self, roles: list[Act]) -> None:
        """Every grant and loan of those people's roles, and of those who gave them."""
        by_name: dict[str, list[Act]] = defaultdict(list)
        for act in roles:
            for name in self._names(act):
                by_name[name].append(act)
        ahead, seen = sorted(self.people), set(self.people)
        while ahead:
            found = by_name[ahead.pop()]
            self._take(found)
            fresh = {name for act in found for name in self._names(act)} - seen
            seen |= fresh
            ahead += sorted(fresh)

    @staticmethod
    def _names(act: Act) -> Iterator[str]:
        """The person whose role it is, who gave or lent it, and the grant or loan itself."""
        yield str(act.data.get("user") or act.target)
        for name in ("grant", "delegation", "proposer", "by", "from", "to"):
            if act.data.get(name):
                yield str(act.data[name])

    def _erasures(self) -> None:
        """That reasons of what was chosen were erased, or those who wrote them; and so on, for an erasure has a reason
        that may be erased in turn."""
        erasures = self._acts(ERASURES)
        before = -1
        while erasures and len(self.chosen.context) != before:
            before = len(self.chosen.context)
            self.cursor.execute(TEXTLESS, [self.size, self.chosen.everything(), REASON])
            canons = [bytes(canon) for _, canon in self.cursor.fetchall()]
            self._take(act for act in erasures if any(names_person(canon, act.target) for canon in canons))
