"""Reads for pages and the API: registered gates, and what became of them in a run."""

from typing import Any

from django.db.models import QuerySet

from accounts.models import User
from incidents.rollback.document import PlanDocument
from incidents.rollback.gating.models import Asking, AskingState, GateDefinition, GateKind
from incidents.rollback.gating.planned import registered
from incidents.rollback.gating.words import sentence_of
from incidents.rollback.models import Run, RunState, WatchState


def gates(model: str = "") -> QuerySet[GateDefinition]:
    """All gates that were ever registered, of one model where its slug is given; those that count first."""
    found = GateDefinition.objects.select_related("model").order_by("model__slug", "-retired_at", "name", "-pk")
    return found.filter(model__slug=model) if model else found


def gate_rows(model: str = "") -> list[dict[str, Any]]:
    """Each gate that counts, with how it finds its answer."""
    found = gates(model).filter(retired_at=None).order_by("model__slug", "name")
    return [{"gate": one, "sentence": sentence_of(one.kind, one.body)} for one in found]


def askings() -> QuerySet[Asking]:
    related = ("run__endpoint__model", "run__plan__to_version", "wave", "definition__model")
    return Asking.objects.select_related(*related).prefetch_related("acceptances__user").defer("report")


def askings_of(run: Run, document: PlanDocument | None, user: User) -> list[dict[str, Any]]:
    """The registered gates that were asked in a run, oldest first, each with whether the user may accept there now. No
    query where the plan has none."""
    if document is None or not registered(document.body["gates"]):
        return []
    return [
        {
            "asking": row,
            "gate": row.definition,
            "may_accept": may_accept(row, run, user),
            "has_page": row.definition.kind in (GateKind.SUITE, GateKind.ACCEPTANCE),
        }
        for row in askings().filter(run=run).order_by("wave__index", "asked_at")
    ]


def may_accept(row: Asking, run: Run, user: User) -> bool:
    """Whether the user is named, has not spoken yet, and it still matters."""
    return (
        row.definition.kind == GateKind.ACCEPTANCE
        and row.state != AskingState.ENDED
        and _waits(row, run)
        and user.pseudonym in row.definition.body["people"]
        and all(said.pseudonym != user.pseudonym for said in row.acceptances.all())
    )


def _waits(row: Asking, run: Run) -> bool:
    if row.wave_id is not None:
        return run.state in (RunState.RUNNING, RunState.HALTED)
    watch = getattr(run, "watch", None)
    return watch is not None and watch.state == WatchState.WATCHING
