"""Versions asked what they would have answered: the incident's own rows, answered anew by the live version and by each
candidate on a host that passes the live version's golden test, and compared row by row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from audit.templatetags.amounts import filesize_short
from incidents.rollback import fleet, live
from incidents.rollback.checks import percent
from incidents.rollback.fleet import Remote
from incidents.rollback.memory import need_of
from incidents.rollback.slices import Hit, Slice, slices_of
from monitoring.drift.compare import compare
from monitoring.drift.judge import Limits, judge
from monitoring.holdouts import holdout_rows
from monitoring.judging.counts import fisher_more
from monitoring.judging.paired import Paired, paired
from monitoring.profiles import profiles_of
from monitoring.windows import numpy_column
from registry.golden import GoldenInvalid, golden_of
from registry.models import Version
from registry.serving.base import ServingError

HOLDOUT_ROWS = 1000
GROUPS_KEPT = 8
TURNS = 15
"""Times that each of two versions is asked for the same row, in turns: the fastest answer of each is compared."""

SHARE_FLOOR, PSI_FLOOR, LEAST_ROWS = 0.05, 0.2, 100


@dataclass
class Basis:
    """What candidates are held against. `rows` are the incident's, `logged` what was answered then and `labels` the
    truth as far as it is known (NaN elsewhere), both (n,); `again` is what the live version answers to the rows now, on
    a sound host, None where it could not be asked. `hit` is the slice that the incident hit most."""

    rows: pa.Table
    suspect: Version | None
    hit: Hit | None = None
    again: np.ndarray | None = None
    logged: np.ndarray = field(init=False)
    labels: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.logged = numpy_column(self.rows, "output").astype(float)
        self.labels = numpy_column(self.rows, "label").astype(float)

    @property
    def known(self) -> np.ndarray:
        """Rows whose truth is known, boolean (n,)."""
        found: np.ndarray = np.logical_not(np.isnan(self.labels))
        return found

    @property
    def live(self) -> np.ndarray:
        """The live version's answers: those of a sound host where there are any. What was logged may come from a host
        that lied, and would be held against the version."""
        return self.logged if self.again is None else self.again


def golden_on(remotes: Sequence[Remote], version: Version) -> dict[str, str]:
    """By host that holds the version: "" where it passes the version's golden test, else what it did. Empty for a
    version without one."""
    golden = golden_of(version)
    found: dict[str, str] = {}
    if golden is None:
        return found
    for remote in remotes:
        try:
            if fleet.is_loaded(remote.look(), version, read_back=False):
                result = remote.golden(version, golden)
                wrong = f"answers {result.mismatches} of {result.n} golden rows otherwise"
                found[remote.host.name] = "" if result.passed else wrong
        except (ServingError, GoldenInvalid) as refused:
            found[remote.host.name] = str(refused)[:200]
    return found


def itself(basis: Basis, remote: Remote, golden: Mapping[str, str]) -> dict[str, Any]:
    """What becomes of the live version's own rows, asked of it again on a sound host: how many are answered as was
    logged, by host; how right it is; and its holdout. Sets `basis.again`. Raises registry.serving.base.ServingError."""
    version, rows = basis.suspect, basis.rows
    assert version is not None
    found: dict[str, Any] = {"host": remote.host.name, "rows": len(rows), "itself": True, "golden": dict(golden)}
    if len(rows):
        basis.again = live.predict(remote, version, live.columns_of(rows, version, "feature."), len(rows))
        same = basis.again == basis.logged
        hosts = np.asarray(rows.column("host").to_pylist(), dtype=object)
        found["changed"] = int((~same).sum())
        found["again"] = {
            str(name): {"rows": int((hosts == name).sum()), "same": int(same[hosts == name].sum())}
            for name in sorted({name for name in hosts if name})
        }
        known = basis.known
        found["labelled"] = int(known.sum())
        if known.any():
            found["live"] = live.share(basis.again[known] == basis.labels[known])
    holdout = _holdout(remote, version, basis.hit)
    return found | ({"holdout": holdout} if holdout else {})


def candidate(basis: Basis, remote: Remote, version: Version) -> dict[str, Any]:
    """What the candidate would have answered, beside the live version. Raises ServingError, and KeyError for an input
    that the log lacks."""
    rows, found = basis.rows, {"host": remote.host.name, "rows": len(basis.rows)}
    if len(rows):
        answers = live.predict(remote, version, live.columns_of(rows, version, "feature."), len(rows))
        known = basis.known
        found["changed"] = int((answers != basis.live).sum())
        found["labelled"] = int(known.sum())
        if known.any():
            right, was = answers[known] == basis.labels[known], basis.live[known] == basis.labels[known]
            found["candidate"], found["live"] = live.share(right), live.share(was)
            found["paired"] = _data(paired(right, was))
            groups, found["groups_small"] = slices_of(version, rows, known, "feature.", basis.hit)
            found["groups"] = _compared(groups, right, was)
    if basis.hit is not None:
        found["hit"] = {"column": basis.hit.column, "value": basis.hit.value}
    holdout = _holdout(remote, version, basis.hit)
    if holdout:
        found["holdout"] = holdout
    speed = _speed(basis, remote, version)
    return found | ({"speed": speed} if speed else {})


def _holdout(remote: Remote, version: Version, hit: Hit | None) -> dict[str, Any] | None:
    rows = holdout_rows(version, HOLDOUT_ROWS)
    if rows is None:
        return None
    answers = live.predict(remote, version, live.columns_of(rows, version), len(rows))
    right = answers == numpy_column(rows, live.LABEL).astype(float)
    found = live.share(right)
    groups, found["groups_small"] = slices_of(version, rows, np.ones(len(rows), dtype=bool), "", hit)
    found["groups"] = _shares(groups, right)
    promised = (version.metrics or {}).get("holdout", {}).get("accuracy")
    return found | ({} if promised is None else {"promised": float(promised)})


def figures_of(replay: Mapping[str, Any]) -> dict[str, str]:
    """What a replay on labelled rows has shown, for the record: shares as decimal texts. Empty where nothing has."""
    if not {"candidate", "live"} <= replay.keys():
        return {}
    told = {name: replay["candidate"][name] for name in ("accuracy", "low", "high")}
    told |= {f"live_{name}": replay["live"][name] for name in ("accuracy", "low", "high")}
    if "low" in replay.get("paired", {}):
        told["difference_low"] = replay["paired"]["low"]
    return {name: f"{float(value):.6f}" for name, value in told.items()}


def _data(found: Paired) -> dict[str, Any]:
    return {
        "difference": round(found.difference, 6),
        "low": round(found.low, 6),
        "high": round(found.high, 6),
        "p": round(found.p, 9),
        "gained": found.gained,
        "lost": found.lost,
    }


def _compared(slices: Sequence[Slice], right: np.ndarray, was: np.ndarray) -> list[dict[str, Any]]:
    """By slice: how right the live version is and the candidate, and the difference on the same rows with its interval,
    the slice that was hit most first, then those that lose most. `worse` where the pairs leave no doubt, corrected for
    the number of slices."""
    found = []
    for column, name, mine, hit in slices:
        pairs, share = paired(right[mine], was[mine]), live.share(right[mine])
        found.append(
            {
                "column": column,
                "value": name,
                "n": int(mine.sum()),
                "live": live.share(was[mine])["accuracy"],
                "candidate": share["accuracy"],
                "low": share["low"],
                "high": share["high"],
                "gain_low": round(pairs.low, 6),
                "gain_high": round(pairs.high, 6),
                "worse": bool(pairs.worse and pairs.p * len(slices) < 0.05),
                "hit": hit,
            }
        )
    found.sort(key=lambda group: (not group["hit"], not group["worse"], group["candidate"] - group["live"]))
    return found[:GROUPS_KEPT]


def _shares(slices: Sequence[Slice], right: np.ndarray) -> list[dict[str, Any]]:
    """By slice of the holdout: how right the version is there, with the interval, the one
    that was hit most first, then the lowest. `worse` where that
    surely lies below the rest of the holdout (Fisher's exact test, corrected for the number of slices)."""
    found = []
    for column, name, mine, hit in slices:
        share, rest = live.share(right[mine]), right[~mine]
        wrong = share["n"] - share["correct"]
        p = fisher_more(int((~rest).sum()), len(rest), wrong, share["n"]) if len(rest) else 1.0
        worse = bool(p * len(slices) < 0.05)
        found.append({"column": column, "value": name, **share, "worse": worse, "hit": hit})
    found.sort(key=lambda group: (not group["hit"], not group["worse"], group["accuracy"]))
    return found[:GROUPS_KEPT]


def _speed(basis: Basis, remote: Remote, version: Version) -> dict[str, float] | None:
    """The fastest of several answers to one row by each of the two versions, in turns on one host, in milliseconds."""
    suspect = basis.suspect
    if suspect is None or not len(basis.rows):
        return None
    try:
        if not fleet.is_loaded(remote.look(), suspect, read_back=False):
            return None
        one = basis.rows.slice(0, 1)
        times: dict[str, list[float]] = {"candidate": [], "live": []}
        for _ in range(TURNS):
            for name, asked in (("candidate", version), ("live", suspect)):
                times[name].append(remote.infer(live.columns_of(one, asked, "feature."), asked).latency_ms)
    except (ServingError, KeyError):
        return None
    return {f"{name}_ms": round(min(found), 3) for name, found in times.items()}


def sentences(replay: Mapping[str, Any]) -> list[str]:
    """What the replay says of a candidate, for a person."""
    if not replay.get("rows"):
        return ["There was no traffic in the window to replay."]
    if "candidate" not in replay:
        return [f"On {replay['rows']} rows of this incident it would have answered {replay['changed']} differently."]
    was, would = percent(replay["live"]["accuracy"]), percent(replay["candidate"]["accuracy"])
    pairs = replay["paired"]
    said = [f"On {replay['labelled']} labelled rows of this incident it is right in {would}, the live version in {was}"]
    if pairs["p"] < 0.05:
        said[0] += f": {points(pairs['low'])} to {points(pairs['high'])} points."
    else:
        said[0] += "; chance explains the difference."
    said += _of_hit(replay)
    worse = _worse(replay)
    if worse:
        said.append(f"It does worse than the live version for {', '.join(worse)}.")
    return said + _of_holdout(replay.get("holdout", {}))


def _of_hit(replay: Mapping[str, Any]) -> list[str]:
    """What would become of the slice that the incident hit most: on its rows, and on the holdout's."""
    if "hit" not in replay:
        return []
    name = f"{replay['hit']['column']} {replay['hit']['value']}"
    window, holdout = (
        next((one for one in found.get("groups", []) if one["hit"]), None)
        for found in (replay, replay.get("holdout", {}))
    )
    if window is None:
        return [f"Too few labelled rows are of {name}, which the incident hit most, to tell it apart."]
    said = f"For {name}, which the incident hit most, it is right in {percent(window['candidate'])}"
    said += f" ({percent(window['low'])} to {percent(window['high'])}), the live version in {percent(window['live'])}"
    if holdout is not None:
        said += f"; of its holdout's rows of that kind in {percent(holdout['accuracy'])}"
        said += f" ({percent(holdout['low'])} to {percent(holdout['high'])})"
    return [f"{said}."]


def _worse(found: Mapping[str, Any]) -> list[str]:
    return [f"{group['column']} {group['value']}" for group in found.get("groups", []) if group["worse"]]


def _of_holdout(holdout: Mapping[str, Any]) -> list[str]:
    if not holdout:
        return []
    said = f"On {holdout['n']} rows of its holdout it is right in {percent(holdout['accuracy'])}"
    said += f" ({percent(holdout['low'])} to {percent(holdout['high'])})"
    worse = _worse(holdout)
    return [f"{said}, less for {', '.join(worse)} than for the rest." if worse else f"{said}."]


def points(share: float) -> str:
    return f"{100 * share:+.1f}"


def not_learned(version: Version, rows: pa.Table) -> str:
    """What of today's traffic is unlike what the version learned from, in a sentence; "" where nothing can be said."""
    profiles = profiles_of(version)
    if profiles is None or len(rows) < LEAST_ROWS:
        return ""
    inputs = profiles[0]
    columns = {
        name: numpy_column(rows, f"feature.{name}") for name in inputs.columns if f"feature.{name}" in rows.column_names
    }
    drifts = compare(inputs, columns)
    judged = judge(drifts, limits=Limits(0.01, PSI_FLOOR, SHARE_FLOOR, LEAST_ROWS))
    drifted = [verdict.column for verdict in judged if verdict.drifted]
    unseen = [f"{drift.name} {category}" for drift in drifts for category, _ in drift.new_categories]
    if not drifted:
        said = "What is sent now is like what it learned from."
    else:
        said = f"It did not learn from inputs like today's: {', '.join(drifted[:4])} {_are(drifted)} unlike then."
    return said + (f" Codes that it has never seen: {', '.join(unseen[:4])}." if unseen else "")


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def objections(version: Version, suspect: Version) -> list[str]:
    """Why callers of the live version could not be served by this one: inputs that they don't send or that it does not
    take, outputs that they would miss, and datatypes that differ."""
    said = []
    mine, theirs = _signature(version, "inputs"), _signature(suspect, "inputs")
    wanted, refused = sorted(mine.keys() - theirs.keys()), sorted(theirs.keys() - mine.keys())
    if wanted:
        said.append(f"It asks for {', '.join(wanted)}, which callers of version {suspect.number} don't send.")
    if refused:
        said.append(f"It does not take {', '.join(refused)}, which callers send.")
    gave, gives = _signature(suspect, "outputs"), _signature(version, "outputs")
    missed = sorted(gave.keys() - gives.keys())
    if missed:
        said.append(f"It does not answer {', '.join(missed)}, which callers of version {suspect.number} may read.")
    other = [
        f"{name} ({gave_as} there, {mine[name]} here)"
        for name, gave_as in theirs.items()
        if _differs(mine, name, gave_as)
    ]
    other += [
        f"{name} ({gave_as} there, {gives[name]} here)"
        for name, gave_as in gave.items()
        if _differs(gives, name, gave_as)
    ]
    if other:
        said.append(f"The datatype differs of {', '.join(other)}.")
    return [f"Its signature differs from that of the live version. {' '.join(said)}"] if said else []


def _differs(signature: Mapping[str, str], name: str, datatype: str) -> bool:
    return name in signature and signature[name] != datatype


def _signature(version: Version, part: str) -> dict[str, str]:
    return {str(entry["name"]): str(entry["datatype"]) for entry in version.signature.get(part, [])}


def memory_sentence(remote: Remote, version: Version) -> str:
    """What the version takes in a host's memory, as it shows itself, and by what is foretold. Raises ServingError."""
    observation, seen = remote.observe()
    name, held = remote.host.name, fleet.version_on(seen, version)
    need = need_of(version, engine=remote.host.engine, device=observation.device).sentence
    if held is not None and held.memory_bytes:
        holds = filesize_short(held.memory_bytes)
        return f"It holds {holds} of memory on {name}, where it is loaded. A load is expected to take {need}."
    if observation.memory_total <= 0:
        return f"Loading it is expected to take {need}. {name} does not say how much memory is free."
    free = filesize_short(observation.memory_free)
    return f"Loading it is expected to take {need}. {name} has {free} of memory free."
