"""What the evidence and the replays say, read once for all hypotheses and options."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from incidents.rollback.models import Candidate

Data = Mapping[str, Any]

MATTERS = 0.01
"""Share of rows by which another version must be right more often before it is worth a change."""
CURED = 0.5
"""Share of what was lost that another version must win back before the version is what is wrong."""
SLOWER, BUSIER = 2.0, 1.5
RISE_MS = 1.0
"""Milliseconds by which the median answer has to take longer, whatever the share."""
WEIGHTY = 0.05
"""Importance (of the largest) from which a column's change is the model's business."""


def share(value: Any) -> str:
    return f"{float(value) * 100:.1f} %"


def number(value: Any) -> float | None:
    """A decimal text of the evidence; None for what is not known."""
    return float(value) if value not in ("", None) else None


@dataclass(frozen=True)
class Seen:
    """`evidence` maps a kind to the data of its newest piece; `candidates` are ranked, the live version among them."""

    evidence: Mapping[str, Data]
    candidates: Sequence[Candidate]
    from_version: str

    def of(self, kind: str) -> Data:
        return self.evidence.get(kind, {})

    @property
    def itself(self) -> Data:
        """The replay of the live version's own rows."""
        return next((one.replay for one in self.candidates if one.replay.get("itself")), {})

    @property
    def best(self) -> Candidate | None:
        """The eligible version that does best."""
        return next((one for one in self.candidates if one.eligible), None)

    @property
    def part(self) -> Candidate | None:
        """The version composed of the live one and a part of another, where it does as well as `best`."""
        best = self.best
        least = best.replay.get("candidate", {}).get("low", 1.0) if best else 0.0
        tried = (one for one in self.candidates if not one.eligible and "paired" in one.replay)
        return next((one for one in tried if one.replay["candidate"]["accuracy"] >= least), None)

    @property
    def tried(self) -> Data:
        """The replay of the best candidate, eligible or not: what another version does on the same rows."""
        return max(self._compared, key=lambda replay: replay["candidate"]["accuracy"], default={})

    @property
    def _compared(self) -> list[Data]:
        return [one.replay for one in self.candidates if "paired" in one.replay]

    # --- how right it is ------------------------------------------------------------------------------------------

    @property
    def quality(self) -> Data:
        """The piece `quality`; before the incident was examined, what its opening knew of accuracy."""
        if "quality" in self.evidence or "accuracy" not in self.evidence:
            return self.of("quality")
        now, before = self.of("accuracy").get("now", {}), self.of("accuracy").get("before", {})
        low, high = number(before.get("low")), number(now.get("high"))
        fell = low is not None and high is not None and high < low
        return {"n": now.get("n", 0), "dropped": "yes" if fell else "open"}

    @property
    def dropped(self) -> str:
        """Whether it is right less often than before: yes, no or open."""
        return str(self.quality.get("dropped", "open"))

    @property
    def drop(self) -> float | None:
        return number(self.quality.get("drop"))

    @property
    def labelled(self) -> int:
        return int(self.quality.get("n", 0))

    @property
    def selected(self) -> list[Data]:
        """The most and the least labelled answer, where which labels are known has come to depend on the answer: then
        labelled rows speak neither for all rows nor fairly of another version."""
        return list(self.quality.get("selected", []))

    @property
    def better(self) -> bool | None:
        """Whether another version is surely right more often on the same rows, by what matters; None where that is
        open, or nothing could be compared. It is the best of all that were tried, so p is corrected for their number
        (Bonferroni)."""
        pairs = self.tried.get("paired")
        if not pairs:
            return None
        if pairs["low"] > 0 and pairs["p"] * len(self._compared) < 0.05 and pairs["difference"] >= MATTERS:
            return True
        return False if pairs["high"] < max(2 * MATTERS, CURED * (self.drop or 0.0)) else None

    @property
    def cured(self) -> float | None:
        """The share of what was lost that the best candidate wins back on the same rows."""
        pairs, drop = self.tried.get("paired"), self.drop
        return pairs["difference"] / drop if pairs and drop and drop > 0 else None

    @property
    def cures(self) -> bool:
        """Whether another version wins back most of what surely was lost: then it is the version, whatever else is new.
        Where nothing says how often it was right before, being surely better on the same rows is enough."""
        if self.selected:
            return False
        if self.drop is None:
            return self.better is True
        return self.better is True and self.dropped == "yes" and (self.cured is None or self.cured >= CURED)

    # --- what is sent ---------------------------------------------------------------------------------------------

    @property
    def sent(self) -> str:
        """same, upstream, shift or unknown."""
        return str(self.of("inputs").get("verdict", "unknown"))

    @property
    def moved(self) -> list[Data]:
        return list(self.of("inputs").get("moved", []))

    @property
    def weighty(self) -> bool:
        """Whether a column that moved is one that the model reads; yes where nobody said."""
        weights = [number(one.get("weight")) for one in self.moved]
        return any(weight is None or weight >= WEIGHTY for weight in weights)

    @property
    def broken(self) -> bool:
        """Whether a column that the model reads holds what it never held, rather than the usual in other shares."""
        weights = [number(one.get("weight")) for one in self.moved if one["how"] != "spread"]
        return any(weight is None or weight >= WEIGHTY for weight in weights)

    @property
    def answers_moved(self) -> bool:
        """Whether the share of positive answers has changed by five points."""
        now, before = (number(self.quality.get(name)) for name in ("answered", "answered_before"))
        return now is not None and before is not None and abs(now - before) >= 0.05

    # --- how fast -------------------------------------------------------------------------------------------------

    @property
    def speed(self) -> Data:
        return self.of("speed") or self.of("latency")

    @property
    def slower(self) -> float | None:
        """How many times longer the median answer takes than before; None where there is nothing to compare with."""
        now, before = number(self.speed.get("p50_ms")), number(self.speed.get("before_p50_ms"))
        return now / before if now is not None and before else None

    @property
    def is_slow(self) -> bool:
        now, before = number(self.speed.get("p50_ms")) or 0.0, number(self.speed.get("before_p50_ms")) or 0.0
        return (self.slower or 0.0) >= SLOWER and now - before >= RISE_MS

    @property
    def busier(self) -> float | None:
        now, before = number(self.speed.get("per_second")), number(self.speed.get("before_per_second"))
        return now / before if now is not None and before else None

    @property
    def was_fast(self) -> bool:
        """Whether the same version answered faster before: then it is not the version that is slow."""
        now, own = number(self.speed.get("p50_ms")), number(self.speed.get("own_p50_ms"))
        return now is not None and bool(own) and now / own >= SLOWER

    @property
    def by_itself(self) -> float | None:
        """How many times longer the live version takes than the best candidate for one row, in turns on one host."""
        for one in self.candidates:
            times = one.replay.get("speed")
            if one.eligible and times and times["candidate_ms"] > 0:
                return float(times["live_ms"] / times["candidate_ms"])
        return None

    # --- hosts ----------------------------------------------------------------------------------------------------

    @property
    def odd_hosts(self) -> dict[str, str]:
        """Each host that stands out, and why: by its golden test, by answers that the version does not give, or held
        against the other hosts. Where all that were asked fail alike it is not the host."""
        golden = {} if self.all_fail_golden else self.itself.get("golden", {})
        found = {name: f"{name} {wrong}" for name, wrong in golden.items() if wrong}
        for name, rows in self.itself.get("again", {}).items():
            other = rows["rows"] - rows["same"]
            if name not in found and rows["rows"] and other >= max(3, 0.01 * rows["rows"]):
                found[name] = (
                    f"{name} gave {other} of {rows['rows']} answers that the version does not give when asked again"
                )
        for one in self.of("odd-hosts").get("odd", []):
            if one.get("by") == "speed" and (self.busier or 1.0) >= BUSIER:
                # Under more traffic all are slow, and some slower than others.
                continue
            found.setdefault(one["host"], one["because"])
        hosts = set(self.of("odd-hosts").get("hosts", {})) | set(golden) | set(found)
        return found if len(found) < len(hosts) else {}

    @property
    def only_slow_or_silent_hosts(self) -> bool:
        """Whether all hosts that stand out do so by being slow or silent: what is answered is as right as anywhere."""
        found = self.of("odd-hosts").get("odd", [])
        slow = {one["because"] for one in found if one.get("by") in ("speed", "silence")}
        odd = self.odd_hosts
        return bool(odd) and all(because in slow for because in odd.values())

    @property
    def all_fail_golden(self) -> bool:
        golden = self.itself.get("golden", {})
        return bool(golden) and all(golden.values())

    @property
    def broken_promise(self) -> str:
        """That the live version is surely below its promise on its own holdout, as a clause; "" otherwise."""
        holdout = self.itself.get("holdout", {})
        if "promised" not in holdout or holdout["high"] >= holdout["promised"] - MATTERS:
            return ""
        return (
            f"on its own holdout it is right in {share(holdout['accuracy'])} on {self.itself['host']}, "
            f"and promised {share(holdout['promised'])}"
        )

    @property
    def reproduced(self) -> bool:
        """Whether the live version, asked again, answers as was logged: nothing of it has changed since."""
        again = self.itself.get("again", {})
        return bool(again) and all(rows["same"] >= 0.99 * rows["rows"] for rows in again.values())
