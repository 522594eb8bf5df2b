"""The fixed words of a diagnosis, each by the evidence that speaks for it."""

from typing import Any

import pytest

from incidents.diagnosis import diagnose
from incidents.rollback.models import Candidate
from registry.models import Version

Evidence = dict[str, Any]

SAME = {"verdict": "same", "rows": 900, "before": 900, "moved": []}
WORSE = {"n": 900, "before": 900, "share": "0.55", "share_before": "0.8", "drop": "0.25", "dropped": "yes",
         "adjusted": "0.25", "own": {"n": 0, "share": ""}}  # fmt: skip
AS_BEFORE = WORSE | {"share": "0.8", "drop": "0.0", "dropped": "no", "adjusted": "0.0"}
HOSTS: Evidence = {"hosts": {name: {"rows": 300} for name in ("h1", "h2", "h3")}, "odd": []}
FAST = {"p50_ms": "1.0", "before_p50_ms": "1.0", "own_p50_ms": "", "per_second": "50", "before_per_second": "50"}
BROKEN = {"verdict": "upstream", "moved": [{"column": "AGE", "how": "scaled", "because": "AGE is 12 times what it was",
                                            "weight": "0.9"}]}  # fmt: skip
SHIFTED = {
    "verdict": "shift",
    "moved": [{"column": "AGE", "how": "spread", "because": "AGE has median 20", "weight": ""}],
}


def evidence(**pieces: Evidence) -> dict[str, Evidence]:
    """Everything as before but accuracy, unless told otherwise."""
    told = {"quality": WORSE, "inputs": SAME, "odd_hosts": HOSTS, "speed": FAST} | pieces
    return {kind.replace("_", "-"): data for kind, data in told.items()}


def candidate(gain: float, *, spread: float = 0.02, p: float = 1e-9, **replay: Any) -> Candidate:
    """Version 1, right by `gain` more often than the live version on the same 1,500 rows."""
    share = {"accuracy": 0.55 + gain, "low": 0.53 + gain, "high": 0.57 + gain}
    found = {
        "rows": 1500, "labelled": 1500, "candidate": share, "live": {"accuracy": 0.55, "low": 0.53, "high": 0.57},
        "paired": {"difference": gain, "low": gain - spread, "high": gain + spread, "p": p, "gained": 1, "lost": 1},
    }  # fmt: skip
    return Candidate(to_version=Version(number=1), eligible=True, reasons=["It did."], replay=found | replay, rank=1)


def itself(**replay: Any) -> Candidate:
    """The live version, asked its own rows again: each host answered as it answers."""
    found = {"itself": True, "host": "h1", "golden": {"h1": "", "h2": "", "h3": ""},
             "again": {name: {"rows": 300, "same": 300} for name in ("h1", "h2", "h3")}}  # fmt: skip
    return Candidate(to_version=Version(number=2), eligible=False, reasons=[], replay=found | replay, rank=2)


def word(found: dict[str, Evidence], *candidates: Candidate) -> str | None:
    likely = diagnose(found, candidates, from_version="2", soak_seconds=120).likely
    return likely.word if likely else None


BETTER, NO_BETTER = candidate(0.25), candidate(-0.02, p=0.3)
SLOW_HOST = {"host": "h3", "by": "speed", "because": "h3 takes 4 ms"}
SLOW = FAST | {"p50_ms": "10"}


@pytest.mark.parametrize(
    ("found", "candidates", "expected"),
    [
        (evidence(), [BETTER, itself()], "a bad version"),
        (evidence(inputs=BROKEN), [BETTER, itself()], "a bad version"),
        (evidence(), [itself(holdout={"accuracy": 0.5, "high": 0.53, "promised": 0.8})], "a bad version"),
        (evidence(), [itself(golden={"h1": "is wrong", "h2": "is wrong"})], "a bad version"),
        (evidence(quality=AS_BEFORE, speed=SLOW), [itself()], "a bad version"),
        (evidence(), [BETTER, itself(golden={"h1": "", "h3": "is wrong"})], "a bad host"),
        (evidence(), [BETTER, itself(again={"h1": {"rows": 300, "same": 300}, "h3": {"rows": 300, "same": 200}})],
         "a bad host"),
        (evidence(odd_hosts=HOSTS | {"odd": [{"host": "h3", "because": "h3 is slow"}]}), [NO_BETTER], "a bad host"),
        (evidence(odd_hosts=HOSTS | {"odd": [SLOW_HOST]}), [BETTER, itself()], "a bad version"),
        (evidence(quality=AS_BEFORE, odd_hosts=HOSTS | {"odd": [SLOW_HOST]}), [itself()], "a bad host"),
        (evidence(quality=AS_BEFORE, speed=SLOW | {"per_second": "500"}), [itself()], "load"),
        (evidence(quality=AS_BEFORE, speed=SLOW | {"own_p50_ms": "1"}), [itself()], "load"),
        (evidence(inputs=BROKEN), [NO_BETTER, itself()], "upstream data"),
        (evidence(inputs=BROKEN), [candidate(0.05), itself()], "upstream data"),
        (evidence(inputs=SHIFTED), [NO_BETTER, itself()], "a population shift"),
        (evidence(), [NO_BETTER, itself()], "suspect labels"),
        (evidence(odd_hosts=HOSTS | {"odd": [SLOW_HOST]}), [NO_BETTER, itself()], "suspect labels"),
        (evidence(quality=WORSE | {"own": {"n": 900, "share": "0.8"}}), [itself()], "suspect labels"),
        (evidence(quality={"n": 12, "dropped": "open", "late": True}), [itself()], "not enough data"),
        ({}, [], "not enough data"),
    ],
)  # fmt: skip
def test_the_evidence_leads_to_its_word(found: dict[str, Any], candidates: list[Candidate], expected: str) -> None:
    assert word(found, *candidates) == expected


HARDLY_READ = {"verdict": "upstream", "moved": [BROKEN["moved"][0] | {"weight": "0.01"}]}


def test_a_broken_column_that_the_model_reads_is_told_even_where_it_costs_little_yet() -> None:
    assert word(evidence(quality=AS_BEFORE, inputs=BROKEN), NO_BETTER, itself()) == "upstream data"


@pytest.mark.parametrize("inputs", [SAME, HARDLY_READ, SHIFTED])
def test_what_does_no_harm_is_not_accused(inputs: Evidence) -> None:
    found = diagnose(
        evidence(quality=AS_BEFORE, inputs=inputs), [candidate(0.0, p=0.9), itself()], from_version="2", soak_seconds=0
    )
    assert found.likely is None
    assert found.quiet
    assert found.sentence == "Nothing is found to be wrong: the evidence speaks against each cause."
    assert not any(option.suggested for option in found.options)


def test_pairs_that_chance_explains_leave_it_open() -> None:
    found = diagnose(evidence(), [candidate(0.05, spread=0.2, p=0.4)], from_version="2", soak_seconds=120)
    assert found.likely is None
    assert found.sentence == "The evidence does not tell yet what it is."


RIGHT_MORE_OFTEN = AS_BEFORE | {"drop": "-0.01"}
PERHAPS = WORSE | {"drop": "0.03", "dropped": "open"}


@pytest.mark.parametrize(
    ("quality", "stands", "says"),
    [(RIGHT_MORE_OFTEN, "against", "but it is right as often as before"), (PERHAPS, "open", "is not sure")],
)
def test_a_better_version_is_no_cure_where_nothing_surely_fell(quality: Evidence, stands: str, says: str) -> None:
    found = diagnose(evidence(quality=quality), [candidate(0.05), itself()], from_version="2", soak_seconds=120)
    version = next(one for one in found.hypotheses if one.word == "a bad version")
    assert (version.stands, found.likely) == (stands, None)
    assert says in version.because
    assert not any(option.suggested for option in found.options)


def test_where_nothing_says_how_right_it_was_a_surely_better_version_is_enough() -> None:
    quality = {"n": 150, "share": "0.55", "drop": "", "dropped": "open"}
    assert word(evidence(quality=quality), BETTER, itself()) == "a bad version"


@pytest.mark.parametrize(("tried", "expected"), [(1, "a bad version"), (5, None)])
def test_the_best_of_many_versions_has_to_be_the_less_likely_by_chance(tried: int, expected: str | None) -> None:
    others = [candidate(0.0, p=0.9) for _ in range(tried - 1)]
    assert word(evidence(), candidate(0.25, p=0.012), *others, itself()) == expected


def test_a_better_version_that_cures_little_of_an_upstream_fault_is_not_suggested() -> None:
    found = diagnose(evidence(inputs=BROKEN), [candidate(0.05), itself()], from_version="2", soak_seconds=120)
    assert [option.name for option in found.options if option.suggested] == ["Freeze", "Fix forward"]
    version = next(one for one in found.hypotheses if one.word == "a bad version")
    assert version.stands == "against"
    assert "wins back 20.0 % only of what was lost" in version.because


def test_all_hosts_that_fail_alike_are_no_bad_host() -> None:
    found = diagnose(
        evidence(), [itself(golden={"h1": "is wrong", "h2": "is wrong"})], from_version="2", soak_seconds=0
    )
    assert found.hypotheses[0].stands == "against"
    assert found.hypotheses[0].because == "every host fails the golden test, so it is not one of them."


def test_every_option_stands_beside_the_others_and_the_one_that_fits_is_suggested() -> None:
    found = diagnose(evidence(), [candidate(0.25), itself()], from_version="2", soak_seconds=120)
    assert [option.name for option in found.options] == [
        "Roll back to version 1", "Drain a host",
        "Freeze", "Fix forward", "Retrain", "Wait",
    ]  # fmt: skip
    assert [option.name for option in found.options if option.suggested] == ["Roll back to version 1"]
    assert "2 min" in found.options[0].time
    assert found.options[0].expected == "80.0 % right (78.0 % to 82.0 %)"
    assert found.options[0].effect == "+23.0 to +27.0 points on the same rows"


def test_what_goes_on_meanwhile_is_reckoned_by_rate_and_excess() -> None:
    outlook = {
        "per_second": "10", "wrong_beyond_usual": "0.25", "noun": "persons", "rollback_seconds": "40",
        "earlier_runs": 3
    }  # fmt: skip
    found = diagnose(evidence(outlook=outlook), [candidate(0.25), itself()], from_version="2", soak_seconds=120)
    first = found.options[0]
    assert first.time == "about 40 s after the last approval, by 3 earlier runs"
    assert first.affected == "about 100 persons wrongly answered until then"


def test_a_part_that_does_as_well_is_offered_and_never_suggested() -> None:
    part = candidate(0.26)
    part.to_version, part.eligible, part.reasons = Version(number=3), False, ["Version 2 with the config of version 1."]
    found = diagnose(evidence(), [part, candidate(0.25), itself()], from_version="2", soak_seconds=120)
    assert [option.name for option in found.options[:2]] == ["Roll back to version 1", "Roll back a part: version 3"]
    assert [option.suggested for option in found.options[:2]] == [True, False]
    assert "It has never soaked" in found.options[1].effect


def test_without_an_eligible_target_no_rollback_is_offered() -> None:
    bad = Candidate(to_version=Version(number=1), eligible=False, reasons=["It is quarantined."], rank=1)
    found = diagnose(evidence(), [bad], from_version="2", soak_seconds=120)
    assert found.options[0].name == "Drain a host"
