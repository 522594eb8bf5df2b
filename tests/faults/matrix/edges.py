"""Every edge that plans, runs, waves, steps, watches and trials persist, each with the story in which it is met.

`CASES` is the product of these edges and the three moments. `NOT_ENUMERATED` says of every legal move that no case
kills at why that is; tests/faults/matrix/test_edges.py holds both against the tables of moves.
"""

from dataclasses import dataclass

from tests.faults.points import MOMENTS, Point

FORWARD = (
    "wave:pending>running",
    "step:pending>loaded",
    "step:loaded>golden_ok",
    "intent:switch",
    "step:golden_ok>switched",
    "step:switched>postcheck_ok",
    "step:postcheck_ok>done",
    "wave:running>soaking",
    "wave:soaking>done",
    "run:running>switched",
)
STORIES: dict[str, tuple[str, ...]] = {
    "start": ("plan:awaiting_approval>started",),
    "run": FORWARD,
    "run with a version that no host holds": ("step:pending>preflight", "intent:stage", "step:preflight>staged"),
    "run with a version that is not in memory": ("step:pending>staged", "intent:load", "step:staged>loaded"),
    "run that takes its hosts out of service": (
        "intent:drain",
        "step:staged>drained",
        "intent:unload",
        "step:drained>emptied",
        "step:emptied>loaded",
    ),
    "run whose canary takes shares": ("intent:share", "step:golden_ok>shared", "step:shared>switched"),
    "release whose version is compared first": (
        "intent:shadow",
        "step:golden_ok>shadowed",
        "step:shadowed>compared",
        "step:compared>switched",
    ),
    "release whose version does not compare": (
        "run:running>compensating",
        "step:shadowed>compensating",
        "intent:end_shadow",
        "step:compensating>restored",
        "run:compensating>compensated",
    ),
    "turning back": ("run:running>compensating",),
    "compensation": (
        "step:done>compensating",
        "intent:restore",
        "step:compensating>restored",
        "run:compensating>compensated",
    ),
    "compensation that loads the old version again": (
        "intent:load",
        "event:rollback.step.outcome",
        "intent:restore",
        "step:compensating>restored",
        "run:compensating>compensated",
    ),
    "compensation that takes its hosts out of service": (
        "intent:drain",
        "event:rollback.step.outcome",
        "intent:unload",
        "intent:load",
        "intent:restore",
        "step:compensating>restored",
    ),
    "release with a host that is gone": ("step:pending>unreachable", "wave:running>failed", "run:running>compensating"),
    "run that halts": ("run:running>halted",),
    "resuming": ("run:halted>running", "wave:failed>running", "step:unreachable>pending"),
    "stopping": ("run:running>stopped",),
    "watch": ("watch:watching>passed",),
    "asking for an undo": ("event:rollback.plan.propose",),
    "preflight of an undo": ("plan:draft>preflighted", "plan:preflighted>awaiting_approval"),
    "preflight of an undo that loads the old version again": (
        "event:rollback.prepare.intent/load",
        "event:rollback.prepare.outcome/load",
    ),
    "start of an undo": ("plan:awaiting_approval>started",),
    "undo": FORWARD,
    "asking for a rehearsal": ("event:rollback.rehearsal.order",),
    "rehearsal": (
        "trial:running",
        "load:booked",
        "event:rollback.prepare.intent/stage",
        "event:rollback.prepare.outcome/stage",
        "event:rollback.prepare.intent/load",
        "event:rollback.prepare.outcome/load",
        "event:version.rehearse",
        "trial:done",
        "load:leaving",
        "event:rollback.prepare.intent/unload",
        "event:rollback.prepare.outcome/unload",
        "load:left",
    ),
    "end of the undo window": ("event:rollback.unload.intent", "event:rollback.unload.outcome"),
}
"""Story -> the edges at which its worker, or the web process that a person used, is killed."""

SECOND_HOST = frozenset({"step:golden_ok>switched", "intent:switch", "step:postcheck_ok>done"})
"""Edges at which the worker dies on the second wave's first host after the commit, with the canary done."""

ON_THE_WAY = (
    "pending", "locked", "preflight", "staged", "drained", "emptied", "loaded", "golden_ok", "shadowed",
    "compared", "shared", "in_service", "switched", "postcheck_ok",
)  # fmt: skip
FAILING = "the same statement as step:pending>unreachable, reached from another state (steps.end)"
BY_PERSON = "one statement by a person's request, as in the stories of stopping and resuming"
GIVEN_UP = "one transaction with its event; nothing follows on any host (plan.void)"
NOT_ENUMERATED: dict[str, str] = {
    **{
        f"step:{before}>{after}": FAILING
        for before in (*ON_THE_WAY, "compensating")
        for after in ("failed", "unreachable")
        if (before, after) != ("pending", "unreachable")
    },
    **{
        f"step:{before}>compensating": "the same statement as step:done>compensating (advance._go_back)"
        for before in (*ON_THE_WAY, "failed", "unreachable")
        if before != "shadowed"
    },
    "step:failed>pending": "the same statement as step:unreachable>pending",
    "step:pending>locked": "the same statement as step:pending>loaded, of a host that leaves service (steps._lock)",
    "step:locked>preflight": "of a host that served what the plan does not know, and no longer does (steps._preflight)",
    "step:locked>drained": "the same statement as step:staged>drained, of a plan that drains (steps._outcome)",
    "step:drained>done": "the same statement as step:postcheck_ok>done, of a plan that drains (steps._advance)",
    "step:golden_ok>in_service": "the same statement as step:golden_ok>switched, of a host that comes back",
    "step:in_service>done": "the same statement as step:postcheck_ok>done, of a host that comes back",
    "step:compared>shared": "the same statement as step:golden_ok>shared, of a host whose version was compared first",
    "run:running>failed": "no program makes this move",
    "run:halted>failed": "no program makes this move",
    "run:compensating>failed": "no program makes this move",
    "run:halted>stopped": BY_PERSON,
    "run:halted>compensating": BY_PERSON,
    "run:compensating>stopped": BY_PERSON,
    "run:compensating>halted": "the same statement as run:running>halted",
    "wave:soaking>failed": "the same statement as wave:running>failed (advance._wave_failed)",
    "wave:failed>soaking": "the same statement as wave:failed>running",
    "watch:watching>failed": "the same statement as watch:watching>passed (watch._end)",
    "watch:watching>inconclusive": "the same statement as watch:watching>passed (watch._end)",
    "watch:inconclusive>passed": BY_PERSON,
    "watch:inconclusive>failed": BY_PERSON,
    "plan:draft>void": GIVEN_UP,
    "plan:preflighted>void": GIVEN_UP,
    "plan:awaiting_approval>void": GIVEN_UP,
    "trial:waiting": "with plan:awaiting_approval>started, whose run takes the endpoint from a trial",
    "trial:failed": "the same statement as trial:done (trials.TrialLease.end)",
}


@dataclass(frozen=True)
class Case:
    """One death."""

    story: str
    edge: str
    moment: str

    @property
    def name(self) -> str:
        return f"{self.story}: {self.edge}, {self.moment.replace('_', ' ')}"

    def point(self, host: str = "") -> Point:
        return Point(self.edge, self.moment, host)


CASES = [Case(story, edge, moment) for story, edges in STORIES.items() for edge in edges for moment in MOMENTS]
