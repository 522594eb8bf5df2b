"""Pure rules of approval: the hash of a policy, and who fills which seat."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from accounts.approvals.models import ApprovalPolicy
from audit.canonical import canonical_bytes

ANY = ""
FILL_ANY = frozenset({"commander", "approver"})
"""The roles that fill a seat which names none; others fill only a seat that names them."""


def policy_facts(policy: ApprovalPolicy) -> dict[str, object]:
    """The policy as it goes into the log and into its hash."""
    facts: dict[str, object] = {
        "name": policy.name,
        "version": policy.version,
        "subject_kind": policy.subject_kind,
        "risk_tier": policy.risk_tier,
        "environment": policy.environment,
        "required": policy.required,
        "factors": [{"role": factor["role"], "count": int(factor["count"])} for factor in policy.factors],
        "step_up_seconds": policy.step_up_seconds,
        "expires_seconds": policy.expires_seconds,
    }
    if policy.stop_roles:
        facts["stop_roles"] = sorted(policy.stop_roles)
    return facts


def policy_hash(policy: ApprovalPolicy) -> str:
    """SHA-256 over `approval-policy/1`, a zero byte and the canonical JSON of the policy."""
    return hashlib.sha256(b"approval-policy/1\0" + canonical_bytes(policy_facts(policy))).hexdigest()


def seats_of(required: int, factors: Sequence[Mapping[str, object]]) -> list[str]:
    """One entry per seat: the role that must fill it, or ANY for those beyond the named factors."""
    named = [str(factor["role"]) for factor in factors for _ in range(int(str(factor["count"])))]
    return named + [ANY] * max(0, required - len(named))


@dataclass
class Seating:
    """`by_seat[i]` is the key of the person in seat i, or None."""

    seats: list[str]
    by_seat: list[str | None] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return all(person is not None for person in self.by_seat)

    @property
    def open_roles(self) -> list[str]:
        return [role for role, person in zip(self.seats, self.by_seat, strict=True) if person is None]


def seat(seats: Sequence[str], people: Mapping[str, frozenset[str]]) -> Seating:
    """Fill as many seats as the people can, each person at most one (maximum bipartite matching, Kuhn 1955).

    `people` maps a person to the roles held; a seat of ANY takes anybody. Earlier people keep their seats where
    that costs nobody else one.
    """
    by_seat: list[str | None] = [None] * len(seats)

    def place(person: str, tried: set[int]) -> bool:
        for index, role in enumerate(seats):
            if index in tried or (role != ANY and role not in people[person]):
                continue
            tried.add(index)
            holder = by_seat[index]
            if holder is None or place(holder, tried):
                by_seat[index] = person
                return True
        return False

    for person in people:
        place(person, set())
    return Seating(list(seats), by_seat)
