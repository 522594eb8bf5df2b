"""Errors in the order of time: a rise is found and dated, and is held against windows that were good."""

from datetime import datetime

import pytest

from monitoring import store
from monitoring.detectors import concept
from monitoring.models import Answer, Finding, PredictionBatch, Rule, RuleKind
from tests.monitoring.stream import alerts_of, play, watch
from tests.monitoring.world import START, WINDOW, make_endpoint, make_hosts, make_version

pytestmark = pytest.mark.django_db
GOOD = 5


def found() -> Finding:
    return Finding.objects.filter(rule__kind=RuleKind.CONCEPT_DRIFT, host=None).order_by("-window__start")[0]


def good_windows(endpoint, hosts, *, rows: int = 300) -> list[str]:
    answers = []
    for index in range(GOOD):
        play(endpoint, hosts, index, rows=rows, accuracy=0.85)
        answers.append(found().answer)
    return answers


def test_more_errors_than_in_good_windows_are_found_and_dated():
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1")
    make_version(endpoint, 1)
    watch(endpoint)
    assert good_windows(endpoint, hosts) == [Answer.NOT_ENOUGH, *[Answer.OK] * 4]

    play(endpoint, hosts, GOOD, rows=600, accuracy=0.65)

    one = found()
    assert (one.answer, one.rows, one.data["rows_before"]) == (Answer.BREACH, 600, 1000)
    assert one.limit == one.data["before"] + 0.05
    assert 0.3 < one.value < 0.4
    signals = {name: signal for name, signal in one.data["signals"].items() if signal["at"]}
    assert set(one.data["signals"]) == {"adwin", "ddm", "hddm-a", "hddm-w", "page-hinkley"}
    assert len(signals) >= 2
    first = min(signals.values(), key=lambda signal: signal["row"])
    start = START + WINDOW * GOOD
    assert datetime.fromisoformat(first["at"]) == start + WINDOW * first["row"] / 600
    assert one.sentence.startswith(f"{one.value:.1%} of 600 labelled answers of version 1 are wrong (")
    assert f"in its good windows before {one.data['before']:.1%} of 1,000 (limit {one.limit:.1%})" in one.sentence
    assert "say that they became more, " in one.sentence


def test_windows_in_breach_are_no_reference_so_that_the_alert_does_not_end_by_getting_used_to_it():
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1")
    make_version(endpoint, 1, accuracy=None)
    watch(endpoint)
    good_windows(endpoint, hosts)

    for index in range(GOOD, GOOD + 6):
        play(endpoint, hosts, index, rows=400, accuracy=0.65)

    assert found().answer == Answer.BREACH
    assert found().data["before"] == pytest.approx(0.15, abs=0.03)
    assert alerts_of(endpoint) == [("concept_drift", "1", "firing")]


def test_what_was_good_is_read_from_the_newest_good_windows_alone():
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1")
    make_version(endpoint, 1)
    watch(endpoint)
    good_windows(endpoint, hosts, rows=100)
    window = play(endpoint, hosts, GOOD, rows=400)
    rule = Rule.objects.get(kind=RuleKind.CONCEPT_DRIFT)

    before = concept.errors_before(rule, window, "1")

    assert len(before) == GOOD * 100
    assert set(before.tolist()) == {0.0, 1.0}
    assert len(concept.errors_before(rule, window, "2")) == 0


def test_its_false_alarms_are_measured_on_the_good_windows_split_against_themselves():
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1")
    make_version(endpoint, 1)
    watch(endpoint)

    good_windows(endpoint, hosts)

    assert (
        found()
        .data["false_alarms"]
        .startswith(
            "Split against itself 400 times, 256 rows at a time, the reference raised 0 alarms: with 2 in a row, at "
            "most about one false alarm in"
        )
    )


def test_a_good_window_whose_file_is_damaged_stops_no_other_rule():
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1")
    make_version(endpoint, 1)
    watch(endpoint)
    good_windows(endpoint, hosts)
    damaged = PredictionBatch.objects.latest("last_at")
    (store.root() / damaged.path).write_bytes(b"PAR1 no more PAR1")

    play(endpoint, hosts, GOOD, rows=400)

    assert found().answer == Answer.NOT_ENOUGH
    assert found().sentence.startswith("Version 1 can't be judged for concept drift: ")
    assert Finding.objects.get(rule__kind=RuleKind.ACCURACY, host=None, window__rows=400).answer == Answer.OK


def test_without_labels_nothing_is_said_of_errors():
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1")
    make_version(endpoint, 1)
    watch(endpoint)

    play(endpoint, hosts, 0, labelled=False)

    assert (found().answer, found().rows) == (Answer.NOT_ENOUGH, 0)
    assert found().sentence.startswith("0 labelled answers of version 1 and 0 of its windows before; 200 of each")
