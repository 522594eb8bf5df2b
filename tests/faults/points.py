"""Named points of the engine's work at which a test's own program stops or dies by its own hand.

A point is an edge with a moment. Edges are what the engine persists: `step:golden_ok>switched` (a row's move),
`intent:switch` (a call that is committed to), `event:approval.consume` (an entry of the log; those of preparing a host
say what is called as well: `event:rollback.prepare.intent/load`), `trial:done` (what a trial has come to), `load:left`
(what became of a version that it brought). Moments:

- `before_call`: before the edge's call to a host, its intent committed; before the first statement where it calls none
- `before_commit`: after the call, all statements sent, before COMMIT
- `in_commit`: COMMIT is sent and its answer not waited for
- `after_commit`: after COMMIT, before anybody is told

The product knows nothing of this: its functions are wrapped from outside, in the test's program alone.
"""

import json
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

MOMENTS = ("before_call", "before_commit", "after_commit")
ACTS = ("stage", "load", "switch", "unload", "set_service", "share", "mirror", "end_mirror")
PREPARING = ("stage", "load", "unload")
OUTCOMES = ("event:rollback.unload.outcome", "event:rollback.prepare.outcome")
"""Events of which the call comes before: that is where their `before_call` is."""
SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
AFTER = {
    "pending": "loaded",
    "locked": "preflight",
    "preflight": "staged",
    "staged": "loaded",
    "emptied": "loaded",
    "loaded": "golden_ok",
    "golden_ok": "switched",
    "switched": "postcheck_ok",
    "postcheck_ok": "done",
    "compensating": "restored",
}
ACTING = (
    "step:preflight>staged",
    "step:staged>loaded",
    "step:staged>drained",
    "step:drained>emptied",
    "step:emptied>loaded",
    "step:golden_ok>shadowed",
    "step:golden_ok>shared",
    "step:golden_ok>switched",
    "step:compensating>restored",
)
WITHOUT_CALL = ("step:locked>preflight", "step:postcheck_ok>done")
"""Edges that use what the edge before has just observed."""


@dataclass(frozen=True)
class Point:
    """Where, when, on which host ("" for any), and whether the process dies or stops there."""

    edge: str
    moment: str
    host: str = ""
    act: str = "kill"

    def dump(self) -> str:
        return json.dumps(asdict(self))


def read_point(text: str) -> Point | None:
    return Point(**json.loads(text)) if text else None


class Here(threading.local):
    """What this thread has in hand: the step's edge and host, and what its open transaction will persist."""

    def __init__(self) -> None:
        self.edge = ""
        self.host = ""
        self.edges: list[tuple[str, str]] = []
        self.events: list[str] = []


class Points:
    """Watches one process. Appends to `ledger` each event that a COMMIT has acknowledged, and to `visited` (where it is
    given) each edge that was committed; acts at `point`."""

    def __init__(self, point: Point | None, ledger: str, visited: str = "") -> None:
        self.point = point
        self.ledger = self._open(ledger)
        self.visited = self._open(visited)
        self.here = Here()

    @staticmethod
    def _open(path: str) -> int | None:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644) if path else None

    @staticmethod
    def _write(handle: int | None, lines: list[str]) -> None:
        if handle is not None and lines:
            os.write(handle, "".join(f"{line}\n" for line in lines).encode())

    def hit(self, edge: str, moment: str, host: str = "") -> None:
        at = self.point
        if at is not None and (at.edge, at.moment) == (edge, moment) and at.host in ("", host):
            self.point = None
            os.kill(os.getpid(), SIGNALS[at.act])

    def install(self) -> None:
        self._wrap_moves()
        self._wrap_trials()
        self._wrap_steps()
        self._wrap_calls()
        self._wrap_events()
        self._wrap_transactions()

    def persists(self, edge: str, host: str = "") -> None:
        """A statement of the open transaction will persist this edge."""
        self.here.edges.append((edge, host))

    def _carried_out(self, edge: str, host: str, statement: Callable[[], Any]) -> Any:
        """Persist the edge by this statement, which commits by itself where no transaction is open."""
        from django.db import connection

        self.persists(edge, host)
        alone = not connection.in_atomic_block
        if alone:
            self._about_to_commit()
        found = statement()
        if found == 0:
            self.here.edges.remove((edge, host))
        if alone:
            self._committed()
        return found

    def _wrap_moves(self) -> None:
        from incidents.rollback import state

        original = state._set

        def set_(row: Any, **fields: Any) -> None:
            edge = _edge_of(row, fields)
            host = row.host.name if hasattr(row, "host_id") else ""
            if edge and (self.here.edge != edge or edge in WITHOUT_CALL):
                self.hit(edge, "before_call", host)
            if edge:
                self._carried_out(edge, host, lambda: original(row, **fields))
            else:
                original(row, **fields)

        state._set = set_

    def _wrap_trials(self) -> None:
        """Their rows are moved by plain conditional updates."""
        from django.db.models import QuerySet

        from incidents.rollback.models import TrialLoad

        update, save = QuerySet.update, TrialLoad.save

        def updated(rows: Any, /, **fields: Any) -> Any:
            edge = _edge_of_trial(rows.model.__name__, fields)
            if not edge:
                return update(rows, **fields)
            self.hit(edge, "before_call")
            return self._carried_out(edge, "", lambda: update(rows, **fields))

        def saved(load: Any, *args: Any, **named: Any) -> None:
            self.hit("load:booked", "before_call")
            self._carried_out("load:booked", "", lambda: save(load, *args, **named))

        QuerySet.update, TrialLoad.save = updated, saved

    def _wrap_steps(self) -> None:
        from incidents.rollback import advance, gates, steps

        for before, act in list(steps.EDGES.items()):
            steps.EDGES[before] = self._within(act, before, AFTER[before])
        for (before, after), act in list(steps.TURNS.items()):
            steps.TURNS[before, after] = self._within(act, before, "restored" if before == "compensating" else after)
        judge = gates.judge

        def judged(*args: Any) -> Any:
            self.here.edge = "wave:soaking>done"
            try:
                return judge(*args)
            finally:
                self.here.edge = ""

        advance.gates.judge = judged

    def _within(self, act: Callable[..., None], before: str, after: str) -> Callable[..., None]:
        def acted(work: Any, step: Any) -> None:
            self.here.edge, self.here.host = f"step:{before}>{after}", step.host.name
            try:
                act(work, step)
            finally:
                self.here.edge = self.here.host = ""

        return acted

    def _wrap_calls(self) -> None:
        from registry.serving.bundled import BundledDriver

        for name in (*ACTS, "observe", "infer"):
            setattr(BundledDriver, name, self._called(getattr(BundledDriver, name), name))

    def _called(self, original: Callable[..., Any], name: str) -> Callable[..., Any]:
        def called(*args: Any, **named: Any) -> Any:
            here = self.here
            if name in PREPARING and not here.edge:
                self.hit(f"event:rollback.prepare.outcome/{name}", "before_call")
            if name == "unload" and here.edge not in ACTING:
                self.hit("event:rollback.unload.outcome", "before_call")
            elif here.edge not in ACTING or name in ACTS:
                self.hit(here.edge, "before_call", here.host)
            return original(*args, **named)

        return called

    def _wrap_events(self) -> None:
        from audit import actions

        original = actions._insert

        def insert(events: Any) -> None:
            edges = [_edge_of_event(event) for event in events]
            for edge in edges:
                if not edge.startswith(OUTCOMES):
                    self.hit(edge, "before_call")
            original(events)
            for edge, event in zip(edges, events, strict=True):
                self.persists(edge)
                self.here.events.append(str(event.event_uuid))

        actions._insert = insert

    def _wrap_transactions(self) -> None:
        from django.db.backends.base.base import BaseDatabaseWrapper as Wrapper

        commit, rollback = Wrapper._commit, Wrapper._rollback

        def committed(connection: Any) -> None:
            if connection.alias != "default":
                commit(connection)
                return
            self._about_to_commit()
            at = self.point
            if at is not None and at.moment == "in_commit" and at.edge in [edge for edge, _ in self.here.edges]:
                connection.connection.pgconn.send_query(b"COMMIT")
                connection.connection.pgconn.flush()
                self.hit(at.edge, "in_commit", at.host)
            commit(connection)
            self._committed()

        def rolled_back(connection: Any) -> None:
            if connection.alias == "default":
                self._take()
            rollback(connection)

        Wrapper._commit, Wrapper._rollback = committed, rolled_back

    def _take(self) -> tuple[list[tuple[str, str]], list[str]]:
        taken = self.here.edges, self.here.events
        self.here.edges, self.here.events = [], []
        return taken

    def _about_to_commit(self) -> None:
        for edge, host in self.here.edges:
            self.hit(edge, "before_commit", host)

    def _committed(self) -> None:
        edges, events = self._take()
        self._write(self.ledger, events)
        self._write(self.visited, [edge for edge, _ in edges])
        for edge, host in edges:
            self.hit(edge, "after_commit", host)


def _edge_of(row: Any, fields: dict[str, Any]) -> str:
    name = {"HostStep": "step"}.get(type(row).__name__, type(row).__name__.lower())
    if "state" in fields:
        return f"{name}:{row.state}>{fields['state']}"
    return f"intent:{fields['intent']}" if fields.get("intent") else ""


def _edge_of_event(event: Any) -> str:
    edge = f"event:{event.action}"
    if event.action.startswith("rollback.prepare."):
        edge += f"/{json.loads(bytes(event.canon))['data']['step']}"
    return edge


def _edge_of_trial(table: str, fields: dict[str, Any]) -> str:
    """The edge that an update of these fields persists; "" where it is none, or of another table."""
    if table == "Trial" and "state" in fields:
        return f"trial:{fields['state']}"
    if table == "TrialLoad" and "left_at" in fields:
        return "load:left"
    return "load:leaving" if table == "TrialLoad" and fields.get("left_because") else ""
