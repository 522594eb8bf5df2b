"""Candidates are weighed, and replayed on the incident's own traffic."""

import datetime
import hashlib
import json
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.utils import timezone

from incidents.rollback import candidates
from incidents.rollback.models import Candidate
from incidents.rollback.slices import Hit
from monitoring import store
from monitoring.models import Delivery, Label, PredictionBatch
from registry.actions import mark_soaked, quarantine
from registry.store import path
from tests.incidents.rollback.fleet import SETUP, Fleet, events

ROWS = 400


def traffic(fleet: Fleet) -> tuple[datetime.datetime, datetime.datetime]:
    """Rows that version 2 answered with 0 throughout, while the truth is 1 for three in four."""
    end = timezone.now()
    start = end - datetime.timedelta(minutes=5)
    ids = [uuid.uuid4().hex for _ in range(ROWS)]
    table = pa.table(
        {
            "id": ids,
            "ts": pa.array(
                [start + datetime.timedelta(milliseconds=i) for i in range(ROWS)], pa.timestamp("us", "UTC")
            ),
            "version": ["2"] * ROWS,
            "digest": [fleet.bad.digest] * ROWS,
            "latency_ms": pa.array([1.0] * ROWS, pa.float32()),
            "output": pa.array([0] * ROWS, pa.int64()),
            "score": pa.array([0.1] * ROWS, pa.float32()),
            "feature.AGE": pa.array([20 + i % 60 for i in range(ROWS)], pa.int64()),
            "feature.COLOR": pa.array([1 + i % 3 for i in range(ROWS)], pa.int64()),
            "feature.SHAPE": pa.array([5 * (i % 2) for i in range(ROWS)], pa.int64()),
        }
    )
    name = f"{fleet.endpoint.slug}/2/test.parquet"
    target: Path = store.root() / name
    target.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, target)
    sha256 = hashlib.sha256(target.read_bytes()).hexdigest()
    delivery = Delivery.objects.create(source="predictions", key="k", content_type="x", sha256=sha256, size=1)
    PredictionBatch.objects.create(
        delivery=delivery, endpoint=fleet.endpoint, version="2", digest=fleet.bad.digest, first_at=start,
        last_at=start + datetime.timedelta(seconds=1), rows=ROWS, path=name, sha256=sha256,
    )  # fmt: skip
    Label.objects.bulk_create(
        Label(endpoint=fleet.endpoint, prediction_id=key, label=float(i % 4 != 0), at=end) for i, key in enumerate(ids)
    )
    return start, end


def test_the_last_good_version_is_replayed_and_ranked_first(make_fleet: Any) -> None:
    fleet = make_fleet()
    fleet.good = fleet.add_version(7, bias=100.0)
    fleet.serve(fleet.good)
    mark_soaked(version=fleet.good, endpoint=fleet.endpoint, actor=SETUP)
    fleet.serve(fleet.bad)
    window = traffic(fleet)

    ranked = candidates.rank(
        endpoint=fleet.endpoint, incident_ref="INC-1", window=window, hit=Hit("SHAPE", "5"), actor=SETUP
    )

    best = ranked[0]
    assert (best.to_version, best.eligible, best.rank) == (fleet.good, True, 1)
    assert best.replay["labelled"] == best.replay["changed"] == ROWS
    assert best.replay["candidate"]["accuracy"] == 0.75
    assert best.replay["live"]["accuracy"] == 0.25
    assert [(g["value"], g["hit"], g["n"]) for g in best.replay["groups"]] == [("5", True, 200), ("0", False, 200)]
    assert any("For SHAPE 5, which the incident hit most, it is right in 100.0 %" in said for said in best.reasons)
    assert fleet.serving() == [fleet.bad.digest] * 3
    others = {row.to_version.number: row.reasons[0] for row in ranked[1:]}
    assert others == {
        2: "It is the version that the endpoint serves.",
        1: "It has never soaked in production.",
    }
    assert [e["data"]["rows"] for e in events("rollback.ranking.answer")] == [ROWS]


@pytest.mark.parametrize("case", ["quarantined", "never_soaked", "damaged"])
def test_an_ineligible_version_says_why_and_is_not_loaded(make_fleet: Any, case: str) -> None:
    fleet = make_fleet()
    fleet.serve(fleet.good)
    if case != "never_soaked":
        mark_soaked(version=fleet.good, endpoint=fleet.endpoint, actor=SETUP)
    if case == "quarantined":
        quarantine(version=fleet.good, reason="Known to be wrong.", actor=SETUP)
    fleet.serve(fleet.bad)
    if case == "damaged":
        weights = path(fleet.good.files.get(component="weights").artifact_id)
        weights.chmod(0o644)
        weights.write_bytes(b"other")
    now = timezone.now()

    ranked = candidates.rank(endpoint=fleet.endpoint, incident_ref="INC-2", window=(now, now), actor=SETUP)

    row = next(row for row in ranked if row.to_version == fleet.good)
    expected = {"quarantined": "quarantined", "never_soaked": "never soaked", "damaged": "missing or damaged"}[case]
    assert not row.eligible
    assert any(expected in reason for reason in row.reasons)
    assert events("rollback.prepare.intent") == []


def test_a_new_ranking_replaces_the_incidents_earlier_one(fleet: Fleet) -> None:
    now = timezone.now()
    for _ in range(2):
        candidates.rank(endpoint=fleet.endpoint, incident_ref="INC-3", window=(now, now), actor=SETUP)

    assert Candidate.objects.filter(incident_ref="INC-3").count() == 2
    assert json.loads(json.dumps(list(Candidate.objects.values_list("rank", flat=True)))) == [1, 2]
