"""The fixed words of a diagnosis, each by the evidence that speaks for it."""

from typing import Any

import pytest

from incidents.diagnosis import diagnose
from incidents.rollback.models import Candidate
from registry.models import Version


def accuracy(share: str, low: str, high: str) -> dict[str, Any]:
    return {"share": share, "low": low, "high": high, "n": 1000}


WORSE = {"accuracy": {"now": accuracy("0.55", "0.52", "0.58"), "before": accuracy("0.80", "0.78", "0.82")}}
ALIKE = {"hosts": {"hosts": {name: accuracy("0.55", "0.50", "0.60") for name in ("h1", "h2", "h3")}}}
ONE_BAD = {"hosts": {"hosts": ALIKE["hosts"]["hosts"] | {"h3": accuracy("0.20", "0.15", "0.25")}}}
DRIFT = {"drift": {"finding": 1}}
SLOW = {"latency": {"n": 900, "p50_ms": "10", "before_p50_ms": "1", "per_second": "50", "before_per_second": "50"}}
BUSY = {"latency": SLOW["latency"] | {"per_second": "500"}}


def candidate(low: float, accuracy: float = 0.8) -> Candidate:
    replay = {
        "labelled": 1500,
        "candidate": {"accuracy": accuracy, "low": low, "high": accuracy + 0.02},
        "live": {"accuracy": 0.55, "low": 0.53, "high": 0.57},
    }
    return Candidate(to_version=Version(number=1), eligible=True, reasons=["It did well."], replay=replay, rank=1)


@pytest.mark.parametrize(
    ("evidence", "candidates", "word"),
    [
        (WORSE | ALIKE, [candidate(0.78)], "a bad version"),
        (WORSE | ALIKE | DRIFT, [candidate(0.78)], "a bad version"),
        (WORSE | ONE_BAD, [], "a bad host"),
        (SLOW, [], "a bad version"),
        (BUSY, [], "load"),
        (WORSE | ALIKE | DRIFT, [candidate(0.50, accuracy=0.52)], "upstream data"),
        (WORSE | ALIKE, [candidate(0.50, accuracy=0.52)], "suspect labels"),
        ({}, [], "not enough data"),
    ],
)
def test_the_evidence_leads_to_its_word(evidence: dict[str, Any], candidates: list[Candidate], word: str) -> None:
    likely = diagnose(evidence, candidates, from_version="2", soak_seconds=120).likely
    assert likely is not None
    assert likely.word == word


def test_an_overlap_of_the_intervals_leaves_it_open() -> None:
    found = diagnose(WORSE | ALIKE, [candidate(0.55, accuracy=0.58)], from_version="2", soak_seconds=120)
    assert found.likely is None
    assert found.sentence == "The evidence does not tell yet what it is."


def test_every_option_stands_beside_the_others_and_the_one_that_fits_is_suggested() -> None:
    found = diagnose(WORSE | ALIKE, [candidate(0.78)], from_version="2", soak_seconds=120)
    assert [option.name for option in found.options] == [
        "Roll back to version 1", "Drain a host",
        "Freeze", "Fix forward", "Retrain", "Wait",
    ]  # fmt: skip
    assert [option.name for option in found.options if option.suggested] == ["Roll back to version 1"]
    assert "2 min" in found.options[0].time


def test_without_an_eligible_target_no_rollback_is_offered() -> None:
    bad = Candidate(to_version=Version(number=1), eligible=False, reasons=["It is quarantined."], rank=1)
    found = diagnose(WORSE | ALIKE, [bad], from_version="2", soak_seconds=120)
    assert found.options[0].name == "Drain a host"
