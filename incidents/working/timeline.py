"""An incident's timeline as people read it: filtered, a page at a time, repeats together, corrections beside events."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from audit import names
from audit.queries import timeline
from incidents.models import Incident
from incidents.narrative import Told, tell
from incidents.working.models import Pin
from incidents.working.notes import AMEND

PAGE = 100
TOGETHER = 3
"""From how many events of one kind in a row they are shown as one."""

ALERTS = ("incident.open", "incident.join_alert", "incident.alert_resolved", "incident.evidence.")
KINDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "people": (_("What people did"), ("incident.",)),
    "notes": (_("Notes and corrections"), ("incident.note", AMEND, "incident.post_update")),
    "alerts": (_("Alerts and evidence"), ALERTS),
    "decisions": (_("Plans and decisions"), ("approval.", "rollback.plan.", "rollback.preflight.", "act.")),
    "run": (
        _("What was carried out"),
        (
            "rollback.run.",
            "rollback.step.",
            "rollback.wave.",
            "rollback.gate.",
            "rollback.shadow.",
            "rollback.watch.",
            "deployment.",
        ),
    ),
    "told": (_("What was told"), ("status.", "duty.", "oncall.", "maintenance.")),
    "learned": ("Review", ("review.",)),
}


@dataclass(frozen=True)
class Asked:
    """What the reader wants to see; empty means all. `who` is a pseudonym or a part of a name; `by` people or
    programs; `amiss` only what failed or was denied."""

    kind: str = ""
    who: str = ""
    by: str = ""
    amiss: bool = False
    before: int | None = None
    at: int | None = None

    def condition(self) -> Q:
        """On AuditEvent."""
        found = Q()
        if self.kind in KINDS:
            found &= _begins(KINDS[self.kind][1])
            if self.kind == "people":
                found &= ~_begins(ALERTS)
        if self.who:
            found &= Q(actor__in=names.find(self.who))
        if self.by in ("people", "programs"):
            programs = Q(actor_kind="service")
            found &= programs if self.by == "programs" else ~programs
        if self.amiss:
            found &= Q(outcome__in=["denied", "failed"])
        return found


def _begins(beginnings: Iterable[str]) -> Q:
    found = Q()
    for beginning in beginnings:
        found |= Q(action__startswith=beginning)
    return found


@dataclass
class Line:
    """One event, or several of a kind in a row: `told` is the newest of them, `more` the others, newest first."""

    told: Told
    pinned: bool = False
    amendments: list[Told] = field(default_factory=list)
    more: list[Told] = field(default_factory=list)
    open: bool = False

    @property
    def since(self) -> datetime:
        return self.more[-1].entry.occurred_at


@dataclass(frozen=True)
class Page:
    """`older` is what `before` must be for the next page; None on the last one."""

    lines: list[Line]
    pins: list[Told]
    older: int | None


def page(incident: Incident, asked: Asked) -> Page:
    """A page of the timeline, newest first. It is cut by the number of its oldest event, so it costs the same at any
    depth: five queries."""
    before = asked.at + PAGE // 2 if asked.at else asked.before
    entries = timeline(incident.ref, newest=PAGE + 1, before=before, only=asked.condition())
    shown = entries[-PAGE:]
    pinned = set(Pin.objects.filter(incident=incident).values_list("seq", flat=True))
    amends = timeline(incident.ref, only=Q(action=AMEND))
    pins = timeline(incident.ref, only=Q(incident_seq__in=pinned)) if pinned else []
    told = {one.entry.seq: one for one in tell([*shown, *amends, *pins])}
    beside: dict[int, list[Told]] = {}
    for one in amends:
        beside.setdefault(int(one.data["amends"]), []).append(told[one.seq])
    lines = _lines([told[entry.seq] for entry in reversed(shown)], pinned, beside, asked.at)
    older = shown[0].seq if len(entries) > PAGE else None
    return Page(lines, [told[entry.seq] for entry in pins], older)


def _lines(newest_first: list[Told], pinned: set[int], beside: dict[int, list[Told]], at: int | None) -> list[Line]:
    lines: list[Line] = []
    for told in newest_first:
        seq = told.entry.seq
        alone = seq in pinned or seq in beside or bool(told.entry.reason)
        last = lines[-1] if lines else None
        if last is not None and not alone and _kind(last.told) == _kind(told) and not _stands_alone(last):
            last.more.append(told)
        else:
            lines.append(Line(told, seq in pinned, beside.get(seq, [])))
    return [part for line in lines for part in _folded(line, at)]


def _kind(told: Told) -> tuple[str, str, str, str]:
    entry = told.entry
    return entry.action, entry.actor, entry.outcome, str(entry.data.get("step") or entry.data.get("kind") or "")


def _stands_alone(line: Line) -> bool:
    return line.pinned or bool(line.amendments) or bool(line.told.entry.reason)


def _folded(line: Line, at: int | None) -> list[Line]:
    """Few in a row are shown one by one; more of them as one, open where the reader asked for one of them."""
    if len(line.more) + 1 < TOGETHER:
        apart = [Line(told) for told in line.more]
        line.more = []
        return [line, *apart]
    line.open = at is not None and any(told.entry.seq == at for told in line.more)
    return [line]
