"""The registered gates of a plan: as its document holds them, and in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from incidents.rollback.gating.bodies import patience
from incidents.rollback.gating.models import GateDefinition
from incidents.rollback.gating.words import expected_of, sentence_of
from registry.models import Endpoint

WHEN = {
    "wave": _("asked after each wave"),
    "watch": _("asked in the watch"),
    "both": _("asked after each wave and in the watch"),
}


@dataclass(frozen=True)
class Planned:
    """A registered gate as a plan's document holds it: what people approved is what is asked."""

    name: str
    kind: str
    question: str
    digest: str
    body: dict[str, Any]
    when: str = "wave"

    @property
    def expected(self) -> str:
        return expected_of(self.kind, self.body)

    @property
    def patience_seconds(self) -> int:
        return patience(self.kind, self.body)


def entries_for(endpoint: Endpoint, plan_kind: str) -> list[dict[str, Any]]:
    """What a document's `gates` hold of the gates registered for the endpoint's model, for a plan of that kind."""
    found = GateDefinition.objects.filter(model=endpoint.model_id, retired_at=None).order_by("name")
    return [
        {"name": one.name, "kind": one.kind, "question": one.question, "digest": one.digest, "body": one.body}
        | {"when": one.asked_when}
        for one in found
        if plan_kind in one.plan_kinds and one.environment in ("any", endpoint.environment)
    ]


def registered(gates: Sequence[Mapping[str, Any]]) -> list[Planned]:
    """The registered ones among the gates of a document."""
    return [
        Planned(
            gate["name"], gate["kind"], gate["question"], gate["digest"], dict(gate["body"]), gate.get("when", "wave")
        )
        for gate in gates
        if "body" in gate
    ]


def asked_at(gates: Sequence[Mapping[str, Any]], moment: str) -> list[Planned]:
    """The registered ones that are asked then: `wave` or `watch`."""
    return [gate for gate in registered(gates) if gate.when in (moment, "both")]


def longest_patience(gates: Sequence[Mapping[str, Any]]) -> int:
    """Seconds for which the most patient of those asked in waves may be asked; 0 without any."""
    return max((gate.patience_seconds for gate in asked_at(gates, "wave")), default=0)


def terms(gates: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """A line for each of them, for a plan's page and its approvers."""
    return [
        {
            "label": gate.question,
            "value": gettext("Gate %(gate)s, %(when)s: %(kind)s.")
            % {"gate": gate.name, "when": WHEN[gate.when], "kind": sentence_of(gate.kind, gate.body)},
        }
        for gate in registered(gates)
    ]
