"""The verbs of the registry: the only place that writes to its tables."""

from registry.actions.compared import ask_comparison, compute_comparison
from registry.actions.composed import ask_composition, compose, record_rehearsal
from registry.actions.known import (
    complete_adopted,
    give_holdout,
    lift_quarantine,
    mark_soaked,
    move_alias,
    quarantine,
    register_model,
    register_version,
)
from registry.actions.served import (
    bring_back,
    check_host,
    drain,
    enter_host,
    freeze,
    hold,
    lift,
    name_fallback,
    place,
    record_switch,
    register_endpoint,
    register_host,
    release,
    replace_token,
)
from registry.errors import AlreadyThere, RegistryError

__all__ = [
    "AlreadyThere",
    "RegistryError",
    "ask_comparison",
    "ask_composition",
    "bring_back",
    "check_host",
    "complete_adopted",
    "compose",
    "compute_comparison",
    "drain",
    "enter_host",
    "freeze",
    "give_holdout",
    "hold",
    "lift",
    "lift_quarantine",
    "mark_soaked",
    "move_alias",
    "name_fallback",
    "place",
    "quarantine",
    "record_rehearsal",
    "record_switch",
    "register_endpoint",
    "register_host",
    "register_model",
    "register_version",
    "release",
    "replace_token",
]
