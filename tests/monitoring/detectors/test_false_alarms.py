"""How often each rule would cry wolf is measured on what it holds windows against, split against itself."""

import numpy as np
import pyarrow as pa
import pytest

from monitoring.asked import Asked
from monitoring.detectors import false_alarms as measured
from monitoring.detectors.false_alarms import false_alarms
from monitoring.drift.concept import accuracy_false_alarms
from monitoring.drift.latency import latency_false_alarms
from monitoring.drift.profile import Profile, build_profile
from monitoring.models import Finding, Monitor, Rule, RuleKind
from monitoring.questions import checked_params
from tests.monitoring.stream import play, watch
from tests.monitoring.world import make_endpoint, make_hosts, make_version

RNG = np.random.default_rng(8)
DOCUMENT = build_profile({"age": RNG.normal(40, 10, 4000)}, {"age": "numeric"})
MONITOR = Monitor(window_seconds=300)


def rule(kind):
    return Rule(kind=kind, min_rows=200, for_windows=2, params={})


def asked(kind, rows, **known):
    table = pa.table({"host": ["a"] * rows, "label": [1.0] * rows, "latency_ms": [1.0] * rows})
    return Asked(version="7", table=table, min_rows=200, params=checked_params(kind, {}), **known)


@pytest.mark.parametrize("rows", [300, 511])
def test_a_profile_is_split_once_for_windows_of_about_one_size(rows):
    kind = RuleKind.INPUT_DRIFT
    sentence, _ = false_alarms(rule(kind), MONITOR, asked(kind, rows, inputs=Profile.from_json(DOCUMENT)))
    assert sentence == (
        "Split against itself 400 times, 256 rows at a time, the reference raised 0 alarms: with 2 in a row, at most "
        "about one false alarm in 38 days."
    )
    hits = measured._of_profile.cache_info().hits
    assert false_alarms(rule(kind), MONITOR, asked(kind, 256, inputs=Profile.from_json(DOCUMENT)))[0] == sentence
    assert measured._of_profile.cache_info().hits == hits + 1


@pytest.mark.parametrize(
    ("kind", "rows", "known"),
    [
        (RuleKind.INPUT_DRIFT, 150, {"inputs": Profile.from_json(DOCUMENT)}),
        (RuleKind.INPUT_DRIFT, 500, {}),
        (RuleKind.OUTPUT_DRIFT, 500, {}),
        (RuleKind.ACCURACY, 500, {"promised": 0.8}),
        (RuleKind.ACCURACY, 150, {"promised": 0.8, "promised_rows": 10_000}),
        (RuleKind.ACCURACY, 500, {"promised": 0.8, "promised_rows": 300}),
        (RuleKind.LATENCY, 500, {}),
        (RuleKind.LATENCY, 500, {"latencies": pa.table({"latency_ms": [1.0] * 300})}),
        (RuleKind.CONCEPT_DRIFT, 500, {"errors_before": np.zeros(300)}),
        (RuleKind.JOINT_DRIFT, 500, {}),
    ],
)
def test_where_they_cannot_be_measured_nothing_is_said(kind, rows, known):
    assert false_alarms(rule(kind), MONITOR, asked(kind, rows, **known)) == ("", {})


def test_limits_that_are_too_tight_are_seen_to_cry_wolf():
    # A fifth of the splits lie below by chance alone, and half of these by a point or more.
    eager = accuracy_false_alarms(0.8, 10_000, 256, alpha=0.2, drop_floor=0.001, minimum_rows=200)
    assert 40 <= eager.alarms <= 120
    assert accuracy_false_alarms(0.8, 10_000, 256, alpha=0.001, drop_floor=0.03, minimum_rows=200).alarms <= 3

    latencies = np.random.default_rng(3).gamma(2.0, 1.0, 2_000)
    jumpy = latency_false_alarms(latencies, 256, tests=[(0.5, 1.0, 0.0)], alpha=0.2, minimum_rows=200)
    assert 10 <= jumpy.alarms <= 120
    calm = latency_false_alarms(latencies, 256, tests=[(0.5, 2.0, 1.0)], alpha=0.001, minimum_rows=200)
    assert (calm.splits, calm.rows, calm.alarms) == (400, 256, 0)


@pytest.mark.django_db
def test_the_finding_of_every_rule_says_it_beside_its_result():
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1")
    make_version(endpoint, 1, held_out=True)
    watch(endpoint)
    for index in range(6):
        play(endpoint, hosts, index, rows=300)

    newest = Finding.objects.filter(window=Finding.objects.latest("window__start").window, host=None)

    assert set(newest.values_list("rule__kind", flat=True)) == set(RuleKind.values)
    for one in newest.select_related("rule"):
        assert one.data["false_alarms"].startswith("Split against itself "), one.rule.kind
