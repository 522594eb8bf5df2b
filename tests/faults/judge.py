"""Judges what was done from the hosts' own logs and the exported bundle alone: neither the database nor the product's
word is asked. What was acknowledged is read from the ledger that the test's programs wrote."""

import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from audit.verify import verify_bundle
from tests.audit.log import unzip

LINE = re.compile(r"INFO lastgood\.host (switch|switch-refused|load|unload) (\{.*\})$")
ENDS = {
    "rollback.run.switched": "switched",
    "rollback.run.compensated": "compensated",
    "rollback.run.stop": "stopped",
    "rollback.run.halt": "halted",
}
ACTING = ("switch", "restore")


@dataclass(frozen=True)
class Deed:
    """A line of a host's log: what it did, or refused."""

    host: str
    what: str
    model: str
    digest: str
    fence: int
    was: str | None


def deeds_of(host: str, log: Path) -> list[Deed]:
    found = []
    for line in log.read_text(errors="replace").splitlines():
        if match := LINE.search(line):
            said = json.loads(match[2])
            found.append(Deed(host, match[1], said["model"], said["digest"], said.get("fence", 0), said.get("was")))
    return found


@dataclass
class Story:
    """A run, as the log tells it."""

    id: str
    model: str
    source: str
    target: str
    hosts: list[str]
    fences: set[int] = field(default_factory=set)
    intents: set[tuple[str, int, str]] = field(default_factory=set)
    absent: set[str] = field(default_factory=set)
    ended: str = ""


class Judgement:
    """Everything that went wrong, in sentences. `models` maps endpoints to their models' names, `names` a host's
    process and a model to the host's name in the registry, `told` holds the ids of the acknowledged events."""

    def __init__(
        self,
        bundle: Path,
        key: str,
        logs: dict[str, Path],
        told: set[str],
        models: dict[str, str],
        names: dict[tuple[str, str], str],
    ) -> None:
        self.records = [json.loads(line)["record"] for line in unzip(bundle)["events.jsonl"].splitlines()]
        self.verdict = verify_bundle(str(bundle), key)
        deeds = [deed for host, log in logs.items() for deed in deeds_of(host, log)]
        self.deeds = [replace(deed, host=names.get((deed.host, deed.model), deed.host)) for deed in deeds]
        self.told = told
        self.models = models
        self.stories = self._stories()
        self.rehearsals = Counter(self._told("rollback.rehearsal.order"))

    def _stories(self) -> dict[str, Story]:
        stories: dict[str, Story] = {}
        for record in self.records:
            action, data = record["action"], record["data"]
            if action == "rollback.run.start" and record["outcome"] == "success":
                model = self.models[data["endpoint"]]
                story = Story(data["run"], model, data["from"], data["to"], data["hosts"])
                stories[story.id] = story
                story.fences.add(data["fence"])
            elif action in ("rollback.run.compensate", "rollback.run.resume"):
                stories[data["run"]].ended = ""
                stories[data["run"]].fences |= {data["fence"]} if "fence" in data else set()
            elif action in ENDS:
                stories[data["run"]].ended = ENDS[action]
            elif action == "rollback.step.intent" and data["step"] in ACTING:
                stories[data["run"]].intents.add((data["host"], data["fence"], data["version"]))
            elif action == "rollback.step.outcome" and data.get("state") == "unreachable":
                stories[data["run"]].absent.add(data["host"])
        return stories

    def wrong(self) -> list[str]:
        log = [*self._log(), *self._acknowledged(), *self._lost()]
        return [*log, *self._doubled(), *self._unapproved(), *self._left(), *self._rehearsed()]

    def _log(self) -> list[str]:
        return [sentence for _, sentence in self.verdict.bad] + self.verdict.lacking

    def _acknowledged(self) -> list[str]:
        known = {record["event_id"] for record in self.records}
        return [f"event {event} was acknowledged and is not in the log" for event in sorted(self.told - known)]

    def _lost(self) -> list[str]:
        return [f"run {story.id} came to no end" for story in self.stories.values() if not story.ended]

    def _doubled(self) -> list[str]:
        """A host moved twice under one fence; the fence is the run's, so this is one run switching a host twice."""
        moved: dict[tuple[str, str, int], int] = defaultdict(int)
        for deed in self._switches():
            moved[deed.host, deed.model, deed.fence] += deed.was != deed.digest
        return [
            f"{host} was switched {n} times under fence {fence} of {model}"
            for (host, model, fence), n in moved.items()
            if n > 1
        ]

    def _unapproved(self) -> list[str]:
        """Each switch belongs to a started run, whose intent names its fence, its host and its version."""
        wrong = []
        for deed in self._switches():
            stories = [s for s in self.stories.values() if s.model == deed.model and deed.fence in s.fences]
            if not stories:
                wrong.append(f"{deed.host} was switched under fence {deed.fence} of {deed.model}, which no run had")
            elif not any((deed.host, deed.fence, deed.digest) in story.intents for story in stories):
                wrong.append(f"{deed.host} was switched to {deed.digest[:12]} without an intent on record")
        return wrong

    def _left(self) -> list[str]:
        """After its last run each host answers with what the run went to, or with what it went back to."""
        now: dict[tuple[str, str], str] = {}
        for deed in self.deeds:
            if deed.what == "switch":
                now[deed.host, deed.model] = deed.digest
        # A convergence that did not come to its end leaves a host as it found it.
        told = [story for story in self.stories.values() if story.source or story.ended == "switched"]
        last = {(host, story.model): story for story in told for host in story.hosts}
        wrong = []
        for (host, model), story in last.items():
            either = {story.source, story.target}
            allowed = {"switched": {story.target}, "compensated": {story.source}}
            may_be = either if host in story.absent else allowed.get(story.ended, either)
            serves = now.get((host, model), "")
            if serves not in may_be:
                wrong.append(f"{host} was left on {serves[:12] or 'nothing'} by run {story.id}, which {story.ended}")
        return wrong

    def _rehearsed(self) -> list[str]:
        """What was rehearsed is on record once, was loaded where that was intended, and has left all memory again
        unless a run went to it."""
        ordered = self.rehearsals
        told = Counter([*self._told("version.rehearse"), *self._told("rollback.rehearsal.fail")])
        wrong = [f"{version[:12]} was rehearsed {told[version]} times" for version in ordered if told[version] != 1]
        acts = [r["data"] for r in self.records if r["action"] == "rollback.prepare.intent"]
        intended = {(data["host"], data["step"], data["version"]) for data in acts}
        served = {story.target for story in self.stories.values()}
        held: dict[tuple[str, str], bool] = {}
        for deed in self.deeds:
            if deed.digest in ordered and deed.digest not in served and deed.what in ("load", "unload"):
                held[deed.host, deed.digest] = deed.what == "load"
                if (deed.host, deed.what, deed.digest) not in intended:
                    wrong.append(f"{deed.host} was told to {deed.what} {deed.digest[:12]} without an intent on record")
        return wrong + [f"{host} keeps {version[:12]} in memory" for (host, version), there in held.items() if there]

    def _told(self, action: str) -> list[str]:
        return [record["data"]["digest"] for record in self.records if record["action"] == action]

    def _switches(self) -> list[Deed]:
        """What runs did: the first fences of each model are those of the setting up, before any run."""
        first = {s.model: min(s.fences) for s in reversed(list(self.stories.values()))}
        return [d for d in self.deeds if d.what == "switch" and d.model in first and d.fence >= first[d.model]]

    def refused(self) -> list[Deed]:
        return [deed for deed in self.deeds if deed.what == "switch-refused"]


def final_defaults(states: dict[str, dict[str, Any]], model: str) -> dict[str, str]:
    """What hosts' own /state say of a model: host -> digest read back from the memory of its default."""
    found = {}
    for host, state in states.items():
        view = state["models"][model]
        version = (view["default"] or {}).get("version", "")
        found[host] = view["versions"][version]["loaded_digest"] if version else ""
    return found
