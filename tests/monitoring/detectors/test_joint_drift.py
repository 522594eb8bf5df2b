"""Inputs taken together: what no column shows alone is found, and healthy traffic is left in peace."""

import numpy as np
import pytest
from django.utils import timezone

from audit.actions import service_actor
from monitoring import fleet, partials
from monitoring.actions import change_rule
from monitoring.importance.models import Importance, ImportanceState
from monitoring.models import Answer, Finding, MetricPoint, Rule, RuleKind
from tests.monitoring.stream import alerts_of, play, watch
from tests.monitoring.world import FEATURES, make_endpoint, make_hosts, make_version

pytestmark = pytest.mark.django_db


def found(kind: str = RuleKind.JOINT_DRIFT) -> Finding:
    return Finding.objects.filter(rule__kind=kind, host=None).order_by("-window__start")[0]


def ages_of_others(columns: dict) -> None:
    """Everybody gets the age of somebody else: each column is as it was, and what hangs together is not."""
    columns["AGEP"] = np.random.default_rng(4).permutation(columns["AGEP"])


def test_columns_that_no_longer_hang_together_are_found_where_no_column_has_changed():
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1")
    make_version(endpoint, 1, held_out=True)
    watch(endpoint)

    play(endpoint, hosts, 0, rows=800, change=ages_of_others)

    assert found(RuleKind.INPUT_DRIFT).answer == Answer.OK
    joint = found()
    assert (joint.answer, joint.limit, joint.rows) == (Answer.BREACH, 0.6, 800)
    assert 0.65 < joint.value < 0.8
    assert joint.data["by"] == ["classifier"]
    assert any("AGEP" in one["column"] for one in joint.data["telling"][:2])
    assert joint.sentence.startswith(
        f"The inputs of version 1, taken together, are unlike its holdout set: a classifier tells 800 rows of the "
        f"window from 800 of the holdout set with AUC {joint.value:.2f} (limit 0.6), most by "
    )
    assert MetricPoint.objects.get(series__name="joint_auc").value == joint.value


def test_people_of_later_years_are_like_the_holdout_set_and_its_splits_add_up_over_windows():
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1")
    make_version(endpoint, 1, held_out=True)
    watch(endpoint)

    tried = []
    for index in range(3):
        play(endpoint, hosts, index, rows=400)
        tried.append((found().answer, found().data["tried"]["splits"], found().data["tried"]["alarms"]))

    assert tried == [(Answer.OK, 1, 0), (Answer.OK, 2, 0), (Answer.OK, 3, 0)]
    assert found().data["false_alarms"] == (
        "Split against itself 3 times, 256 rows at a time, the reference raised 0 alarms: too few splits so far to say "
        "how often."
    )

    rule = Rule.objects.get(kind=RuleKind.JOINT_DRIFT)
    change_rule(rule=rule, changes={"params": {"auc": 0.7}}, reason="too eager", actor=service_actor("test"))
    play(endpoint, hosts, 3, rows=400)
    assert found().data["tried"]["splits"] == 1


def test_a_fleets_window_is_judged_from_a_sample_of_its_rows(monkeypatch):
    monkeypatch.setattr(partials, "FLEET_ROWS", 1)
    monkeypatch.setattr(fleet, "SAMPLE_ROWS", 900)
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1", "gpu-2", "gpu-3")
    make_version(endpoint, 1, held_out=True)
    watch(endpoint)

    play(endpoint, hosts, 0, rows=500, change=ages_of_others)

    assert (found().answer, found().rows, found().data["rows_compared"]) == (Answer.BREACH, 1500, 800)


def test_what_a_version_without_a_profile_hardly_reads_is_left_out_once_its_importance_is_measured():
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1")
    version = make_version(endpoint, 1, profiled=False, held_out=True)
    watch(endpoint)
    play(endpoint, hosts, 0, rows=400, change=ages_of_others)
    before = found()

    weights = {"AGEP": 0.01, **{name: 1.0 for name in FEATURES if name != "AGEP"}}
    measured = {"state": ImportanceState.DONE, "weights": weights, "baseline": 0.8, "done_at": timezone.now()}
    Importance.objects.create(version=version, **measured)
    play(endpoint, hosts, 1, rows=400, change=ages_of_others)

    assert (before.answer, before.data["columns_compared"]) == (Answer.BREACH, 16)
    assert (found().answer, found().data["columns_compared"]) == (Answer.OK, 15)
    assert "AGEP" not in {name for one in found().data["telling"] for name in one["column"].split()}
    assert (before.data["tried"]["splits"], found().data["tried"]["splits"]) == (1, 1)


def test_a_version_without_a_holdout_set_is_not_called_alike():
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1")
    make_version(endpoint, 1)
    watch(endpoint)

    play(endpoint, hosts, 0, change=ages_of_others)

    assert found().answer == Answer.NOT_ENOUGH
    assert found().sentence == "Version 1 came without a holdout set to hold its inputs to."


def test_a_window_of_too_few_rows_says_so():
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1")
    make_version(endpoint, 1, held_out=True)
    watch(endpoint)

    play(endpoint, hosts, 0, rows=150, change=ages_of_others)

    assert found().answer == Answer.NOT_ENOUGH
    assert found().sentence == (
        "150 rows of version 1 and 800 of its holdout set; 200 of each are needed to compare inputs taken together."
    )


def test_two_windows_beyond_the_limit_raise_an_alert():
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1")
    make_version(endpoint, 1, held_out=True)
    watch(endpoint)

    play(endpoint, hosts, 0, rows=400, change=ages_of_others)
    assert alerts_of(endpoint) == []
    play(endpoint, hosts, 1, rows=400, change=ages_of_others)

    assert alerts_of(endpoint) == [("joint_drift", "1", "firing")]
