"""A comparison as bytes that stay as they are: what was computed once is kept with its digest and shown again."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from monitoring.comparing.columns import Column, Columns
from monitoring.comparing.comparison import Comparison, assembled
from monitoring.comparing.differences import Difference
from monitoring.comparing.sides import Asked, Side
from monitoring.drift.compare import ColumnDrift
from monitoring.drift.judge import ColumnVerdict, Verdict
from monitoring.drift.measures import TestResult
from monitoring.sketches import Counted
from registry.models import Endpoint, Version

FORMAT = "lastgood-comparison/1"
FACTS = ("rows", "windows", "versions", "hosts")


class Altered(Exception):
    """A kept comparison is no longer what was computed. The message says what to do."""


def told(asked: Asked) -> dict[str, Any]:
    """Both sides as JSON values, their spans fixed."""
    return {
        "against": asked.against,
        "now": _side(asked.now),
        "before": _side(asked.before) if asked.before else None,
    }


def asked_of(endpoint: Endpoint, kept: Mapping[str, Any], column: str = "") -> Asked:
    """What `told` was given."""
    before = kept["before"]
    sides = _side_of(kept["now"]), _side_of(before) if before else None
    return Asked(endpoint, *sides, kept["against"], column=column)


def _side(side: Side) -> dict[str, str]:
    span = {"since": side.since.isoformat(), "until": side.until.isoformat()}
    return span | {"version": side.version, "host": side.host}


def _side_of(kept: Mapping[str, str]) -> Side:
    since, until = (datetime.fromisoformat(kept[name]) for name in ("since", "until"))
    return Side(since, until, kept["version"], kept["host"])


def packed(comparison: Comparison, files: str) -> bytes:
    """The comparison as JSON, keys in order; `files` is the SHA-256 over what it was computed from."""
    found = comparison.found
    kept = {
        "format": FORMAT,
        "endpoint": comparison.asked.endpoint.slug,
        "asked": told(comparison.asked),
        "sentence": comparison.sentence,
        "files_sha256": files,
        "training": {"number": found.training.number, "digest": found.training.digest} if found.training else None,
        "now": _counted(found.now),
        "before": _counted(found.before) if found.before else None,
        "overall": asdict(found.overall) if found.overall else None,
        "columns": [
            {
                "name": one.name, "drift": one.drift.to_json(), "verdict": asdict(one.verdict), "weight": one.weight,
                "error": one.error, "cells": one.cells,
            }
            for one in found.columns
        ],
        "left_out": found.left_out,
        "figures": [asdict(one) for one in comparison.figures],
        "quantiles": comparison.quantiles,
    }  # fmt: skip
    return json.dumps(_finite(kept), sort_keys=True, separators=(",", ":"), allow_nan=False, default=str).encode()


def _counted(found: Counted) -> dict[str, Any]:
    ends = {"since": found.since, "until": found.until}
    return {name: getattr(found, name) for name in FACTS} | {k: v.isoformat() if v else None for k, v in ends.items()}


def _finite(value: Any) -> Any:
    """JSON knows no infinite numbers and no NaN: they become null."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def unpacked(endpoint: Endpoint, content: bytes, sha256: str, column: str = "") -> Comparison:
    """What `packed` was given, drawn with the distribution of `column`. Raises Altered where the digest is another."""
    if hashlib.sha256(content).hexdigest() != sha256:
        raise Altered("This comparison is not what was computed: its SHA-256 differs. Have it computed again.")
    kept = json.loads(content)
    overall = Verdict(**kept["overall"]) if kept["overall"] else None
    found = Columns(
        _counted_of(kept["now"]), _counted_of(kept["before"]) if kept["before"] else None,
        _training_of(endpoint, kept["training"]), exact=True, overall=overall,
        columns=[_column(one) for one in kept["columns"]], left_out=kept["left_out"],
    )  # fmt: skip
    figures = [Difference(**one) for one in kept["figures"]]
    return assembled(asked_of(endpoint, kept["asked"], column), found, figures, kept["quantiles"])


def _counted_of(kept: Mapping[str, Any]) -> Counted:
    ends = {name: datetime.fromisoformat(kept[name]) if kept[name] else None for name in ("since", "until")}
    return Counted(**{name: kept[name] for name in FACTS}, **ends)


def _training_of(endpoint: Endpoint, kept: Mapping[str, Any] | None) -> Version | None:
    return Version(model_id=endpoint.model_id, number=kept["number"], digest=kept["digest"]) if kept else None


def _column(kept: Mapping[str, Any]) -> Column:
    drift = dict(kept["drift"])
    for name in ("ks", "chi_square"):
        drift[name] = TestResult(**drift[name]) if drift[name] else None
    for name in ("new_categories", "vanished_categories"):
        drift[name] = [tuple(one) for one in drift[name]]
    cells = [(name, before, now) for name, before, now in kept["cells"]]
    return Column(
        kept["name"], ColumnDrift(**drift), ColumnVerdict(**kept["verdict"]), kept["error"], kept["weight"], cells
    )
