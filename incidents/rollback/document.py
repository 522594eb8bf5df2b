"""The plan's document: one exact change of what an endpoint serves, as canonical JSON whose hash people approve.

Times of observations, loads and memory are not in it (they go into the evidence beside it, of which it holds the
digest): what is measured anew each minute would void every approval.
"""

import datetime
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from audit.canonical import canonical_bytes, exact, instant
from incidents.rollback.models import StepState
from incidents.rollback.state import (
    DRAIN_PATH,
    RECREATE_PATH,
    RETURN_PATH,
    SHADOW_PATH,
    SHADOW_WEIGHTED_PATH,
    STEP_PATH,
    WEIGHTED_PATH,
)
from incidents.rollback.waves import PlanWave
from registry.serving import DRIVERS

FORMAT = "lastgood-plan/1"
HASH_PREFIX = b"lastgood-plan/1\0"


class DocumentError(ValueError):
    """The stored document is not one of ours."""


@dataclass(frozen=True)
class PlanDocument:
    """A plan's document, read. `body` is the JSON itself."""

    body: dict[str, Any]

    @classmethod
    def read(cls, document: bytes) -> "PlanDocument":
        """Raises DocumentError when the bytes are not canonical JSON of this format."""
        try:
            body = json.loads(bytes(document))
        except ValueError as error:
            raise DocumentError("The plan's document can't be read.") from error
        if not isinstance(body, dict) or body.get("format") != FORMAT or canonical_bytes(body) != bytes(document):
            raise DocumentError("The plan's document is not canonical.")
        return cls(body)

    @property
    def waves(self) -> list[PlanWave]:
        return [PlanWave(wave["name"], list(wave["hosts"]), wave.get("quorum", 0)) for wave in self.body["waves"]]

    @property
    def strategy(self) -> str:
        """blue_green, recreate or weighted."""
        return {"waves": "blue_green"}.get(self.body["strategy"], str(self.body["strategy"]))

    @property
    def recreated(self) -> list[str]:
        """Hosts whose memory holds one version only: they are out of service while it is replaced."""
        return list(self.body.get("recreated", []))

    @property
    def cold(self) -> list[str]:
        """Hosts that keep nothing in memory beside what serves once they have switched: going back loads it again."""
        drops = self._on_engines_without("warm_undo")
        return [host for host in self.hosts if host in self.recreated or host in drops]

    @property
    def kept(self) -> list[str]:
        """Hosts whose engine drops the old version at the switch, and which load it again to be warm for the undo."""
        drops = self._on_engines_without("keeps_at_switch")
        if not self.body.get("from") or not self.body.get("undo_seconds"):
            return []
        return [host for host in drops if host not in self.cold and StepState.SWITCHED in self.path_of(host)]

    @property
    def uncompared(self) -> list[str]:
        """Hosts on which no gate can ask the old version, since it is gone by then."""
        if self.compensates:
            return self.cold
        again = self.waves[-1].hosts if self.waves else []
        drops = set(self.cold) | set(self._on_engines_without("keeps_at_switch")) - set(again)
        return [host for host in self.hosts if host in drops]

    @property
    def loads_at_switch(self) -> list[str]:
        """Hosts whose engine loads the version again at its switch."""
        return self._on_engines_without("warm_switch")

    def _on_engines_without(self, capability: str) -> list[str]:
        lacking = {name for name, driver in DRIVERS.items() if not getattr(driver.capabilities, capability)}
        return [str(host["name"]) for host in self.body["hosts"] if host.get("engine") in lacking]

    @property
    def shares(self) -> list[int]:
        """What a canary host of the strategy `weighted` lets the target take before it takes all, in percent."""
        return list(self.body.get("shares", []))

    @property
    def outcome(self) -> str:
        """roll_back, roll_forward, fallback, drain, bring_back or freeze; "" for what documents did not name yet."""
        return str(self.body.get("outcome", ""))

    @property
    def frozen_until(self) -> datetime.datetime | None:
        """When the freeze that the plan sets ends; None for a plan that sets none."""
        freeze = self.body.get("freeze")
        return datetime.datetime.fromisoformat(freeze["until"]) if freeze else None

    def path_of(self, host: str) -> list[str]:
        """The states that the host goes through."""
        if self.outcome in ("drain", "bring_back"):
            return DRAIN_PATH if self.outcome == "drain" else RETURN_PATH
        if host in self.recreated:
            return RECREATE_PATH
        shared = bool(self.shares) and host in self.body.get("shared", [])
        if host in self.shadowed:
            return SHADOW_WEIGHTED_PATH if shared else SHADOW_PATH
        return WEIGHTED_PATH if shared else STEP_PATH

    @property
    def shadow(self) -> dict[str, Any] | None:
        """What is asked of the target as a shadow before any host is switched; see incidents.rollback.shadow.terms."""
        return self.body.get("shadow")

    @property
    def shadowed(self) -> list[str]:
        """Hosts that mirror their requests to the target first."""
        return list(self.body.get("shadow", {}).get("hosts", []))

    @property
    def hosts(self) -> list[str]:
        return [str(host["name"]) for host in self.body["hosts"]]

    @property
    def tolerated(self) -> list[str]:
        """Digests that a host may serve while the plan is carried out; "" stands for nothing."""
        return list(self.body["serving"])

    @property
    def to_digest(self) -> str:
        return str(self.body["to"]["digest"])

    @property
    def tolerated_absences(self) -> int:
        return int(self.body["tolerated_absences"])

    @property
    def failure_budget(self) -> int:
        """How many hosts may fail over the whole run; those that can't be reached are counted as absent instead."""
        return int(self.body.get("failure_budget", 0))

    @property
    def min_hosts_serving(self) -> int:
        return int(self.body["min_hosts_serving"])

    @property
    def wave_soak_seconds(self) -> int:
        return int(self.body["wave_soak_seconds"])

    @property
    def gate_patience_seconds(self) -> int:
        return int(self.body["gate_patience_seconds"])

    @property
    def watch_seconds(self) -> int:
        return int(self.body["watch_seconds"])

    @property
    def undo_seconds(self) -> int:
        return int(self.body["undo_seconds"])

    @property
    def gates_off(self) -> bool:
        return not self.body["gates"]

    @property
    def compensates(self) -> bool:
        return bool(self.body["on_failure"] == "compensate")

    @property
    def policy_hash(self) -> str:
        return str(self.body["policy_hash"])

    def gate(self, name: str) -> dict[str, Any] | None:
        return _named(self.body["gates"], name)

    def check(self, name: str) -> dict[str, Any] | None:
        return _named(self.body["checks"], name)


def _named(entries: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any] | None:
    return next((dict(entry) for entry in entries if entry["name"] == name), None)


def plan_hash(document: bytes) -> str:
    """SHA-256 over `lastgood-plan/1`, a zero byte and the document's bytes, as 64 hex digits."""
    return hashlib.sha256(HASH_PREFIX + bytes(document)).hexdigest()


def evidence_digest(evidence: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of what was shown beside the plan."""
    return hashlib.sha256(canonical_bytes(dict(evidence))).hexdigest()


def default_gates(*, kind: str, min_requests: int, compared: bool) -> list[dict[str, str]]:
    """What is asked after each wave. Shares and ratios are decimal strings; `min_requests` counts live requests a host.

    The latency question compares the two versions on the same host, so it is left out where there is no old one.
    """
    gates = [
        {"name": "serving"},
        {"name": "golden"},
        {"name": "errors", "max_share": "0.01", "min_requests": str(min_requests)},
    ]
    if compared and kind != "converge":
        gates.append({"name": "latency", "max_ratio": "2.0", "floor_ms": "5.0", "probes": "8"})
    return gates


def default_checks(*, promised: Decimal | None, holdout: bool, outputs: bool, traffic: bool) -> list[dict[str, str]]:
    """What is asked while the switched fleet is watched, as decimal strings.

    `promised` is the accuracy that the version had on its holdout set; live accuracy may lie 3 points below it.
    """
    checks = [{"name": "serving"}, {"name": "golden"}]
    if holdout and promised is not None:
        checks.append({"name": "holdout", "promised": str(promised), "margin": "0.02", "rows": "2000"})
    if traffic:
        checks.append({"name": "errors", "max_share": "0.01", "min_requests": "20"})
        checks.append({"name": "latency", "max_ratio": "2.0", "floor_ms": "1.0", "min_rows": "50"})
        if promised is not None:
            checks.append({"name": "accuracy", "promised": str(promised), "margin": "0.03", "min_rows": "300"})
        if outputs:
            checks.append({"name": "outputs", "max_psi": "0.25", "min_rows": "300"})
    return checks


def write_document(body: Mapping[str, Any], *, expires_at: datetime.datetime) -> bytes:
    """The canonical bytes. Raises audit.canonical.CanonicalError for what JSON can't hold exactly."""
    whole = {"format": FORMAT, "expires_at": instant(expires_at), **body}
    return canonical_bytes(exact(whole, "plan"))
