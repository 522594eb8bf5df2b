"""The log told from memory, with a clock of its own: how people came to their roles, and what was done with them."""

import datetime
from typing import Any

from audit.verify import Act, Meaning, installed_policies, policy_hash

BEGAN = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
PLAN, REQUEST = "a" * 64, "request-1"
POLICY = installed_policies()["rollback-high-production"]
GLASS = installed_policies()["break_glass-any-any"]
DAY = 24 * 60


class Tale:
    """Ada and Bert administer, Carol approves: set up by a program on the first day. Bob commands: proposed by Ada,
    confirmed by Bert, rested for a day. Two days later Dora proposes a run. `at` counts minutes."""

    def __init__(self) -> None:
        self.acts: list[Act] = []
        self.at = 0.0

    def instant(self, minutes: float = 0) -> str:
        moment = BEGAN + datetime.timedelta(minutes=self.at + minutes)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def tell(self, action: str, by: str = "svc:worker", /, target: str = "", under: str = "", **data: Any) -> None:
        self.at += 0.1
        kind = "service" if by.startswith("svc:") else "user"
        leaf = len(self.acts)
        self.acts.append(Act(leaf, self.instant(), "", 0, action, "success", kind, by, target, data, under=under))

    def set_up(self, user: str, role: str, **more: Any) -> None:
        data = {"grant": f"{user}-{role}", "user": user, "role": role, "scope": {}, "counts_from": self.instant()}
        self.tell("role.grant", "svc:manage", **data | more)

    def proposed(self, by: str = "u-ada", **more: Any) -> None:
        data = {"grant": "g-bob", "user": "u-bob", "role": "commander", "scope": {}, "proposer": by}
        self.tell("role.propose", by, **data | more)

    def confirmed(self, by: str = "u-bert", rest: int = DAY * 60, **more: Any) -> None:
        data = {"grant": "g-bob", "user": "u-bob", "role": "commander", "scope": {}, "by": by, "proposer": "u-ada"}
        counts = {"counts_from": self.instant(rest / 60), "rest_seconds": rest, "auth_time": self.instant(-1)}
        self.tell("role.confirm", by, **data | counts | more)

    def lent(self, by: str = "u-carol", to: str = "u-eve", **more: Any) -> None:
        data = {"delegation": "d-1", "from": by, "to": to, "role": "approver", "scope": {}}
        times = {"starts": self.instant(), "ends": self.instant(60)}
        self.tell("delegation.create", by, **data | times | more)

    def people(self) -> None:
        self.set_up("u-ada", "administrator")
        self.set_up("u-bert", "administrator")
        self.set_up("u-carol", "approver")

    def opened(self, **more: Any) -> None:
        self.at = max(self.at, 3 * DAY)
        about = {"request": REQUEST, "subject_hash": PLAN, "proposer": "u-dora", "model": "income", "team": "risk"}
        terms = {"policy": POLICY, "policy_hash": policy_hash(POLICY), "expires_at": self.instant(30)}
        self.tell("approval.open", "u-dora", **about | terms | more)

    def decided(self, by: str, role: str, **more: Any) -> None:
        about = {"request": REQUEST, "subject_hash": PLAN, "decision": "approve", "role": role, "roles": [role]}
        self.tell("approval.decide", by, **about | {"auth_time": self.instant(-1)} | more)

    def consumed(self, *seats: tuple[str, str], **more: Any) -> None:
        filled = [{"by": by, "role": role} for by, role in seats]
        self.tell("approval.consume", **{"request": REQUEST, "subject_hash": PLAN, "seats": filled} | more)

    def started(self, **more: Any) -> None:
        about = {"run": "run-1", "plan_hash": PLAN, "request": REQUEST, "policy_hash": policy_hash(POLICY)}
        self.tell("rollback.run.start", **about | {"kind": "rollback"} | more)

    def approved(self, commander: str = "u-bob", approver: str = "u-carol", **more: Any) -> None:
        """Opened, approved by two and used."""
        self.opened()
        self.decided(commander, "commander")
        self.decided(approver, "approver", **more)
        self.consumed((commander, "commander"), (approver, "approver"))

    def glass(self, by: str = "u-bob", **more: Any) -> None:
        about = {"request": REQUEST, "subject_hash": PLAN, "by": by, "role": "commander"}
        about |= {"policy": GLASS, "policy_hash": policy_hash(GLASS)}
        times = {
            "auth_time": self.instant(-1),
            "expires_at": self.instant(15),
            "review_due": self.instant(DAY),
            "review_limit": self.instant(3 * DAY),
        }
        self.tell("approval.break_glass", by, **about | times | more)

    def reviewed(self, by: str, /, **more: Any) -> None:
        data = {"request": REQUEST, "verdict": "justified", "by": by, "participants": ["u-bob"]}
        self.tell("approval.break_glass.review", by, **data | more)

    def problems(self, *, complete: bool = True) -> list[tuple[str, bool]]:
        """What the verifier says: (sentence, whether something is lacking)."""
        return [(sentence, lacking) for _, sentence, lacking in Meaning(self.acts, "", complete).problems()]

    def facts(self) -> list[str]:
        meaning = Meaning(self.acts)
        assert not list(meaning.problems())
        return meaning.summary()
