"""What an alert carries beside its sentence: the versions that were live, and the inputs that moved most."""

from typing import Any

from monitoring.models import Finding, RuleKind
from registry.models import Endpoint, Host, Placement

TOP = 3
"""Columns that an alert names."""


def carried(endpoint: Endpoint, version: str, host: Host | None) -> dict[str, Any]:
    """`versions`: what each host was last seen to serve; `features`: the inputs that moved most in the newest judged
    window, as {"column", "psi", "sentence", "drifted"}; empty where the version has no profile."""
    placed = Placement.objects.filter(endpoint=endpoint).exclude(observed_version="").order_by("host__name")
    if host is not None:
        placed = placed.filter(host=host)
    return {
        "versions": dict(placed.values_list("host__name", "observed_version")),
        "features": _features(endpoint, version),
    }


def _features(endpoint: Endpoint, version: str) -> list[dict[str, Any]]:
    found = Finding.objects.filter(rule__endpoint=endpoint, rule__kind=RuleKind.INPUT_DRIFT, host=None)
    if version:
        found = found.filter(version=version)
    newest = found.order_by("-window__start").first()
    columns = newest.data.get("columns", []) if newest is not None else []
    return [{name: column.get(name) for name in ("column", "psi", "sentence", "drifted")} for column in columns[:TOP]]
