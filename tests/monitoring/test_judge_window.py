from datetime import timedelta

import pytest
from django.utils import timezone

from audit.models import AuditEvent
from monitoring import detect, fleet
from monitoring.models import Answer, Finding, MetricPoint, RuleKind, Window, WindowState
from monitoring.queries import accuracy_between
from tests.monitoring.stream import judge, play, watch
from tests.monitoring.world import (
    START,
    WINDOW,
    answers,
    log,
    make_endpoint,
    make_hosts,
    make_version,
    part,
    swap_codes,
)

pytestmark = pytest.mark.django_db


def finding(kind, version="1", host=None):
    return Finding.objects.get(rule__kind=kind, version=version, host__name=host)


def point(name, host=None, column="", version="1"):
    return MetricPoint.objects.get(
        series__name=name, series__host__name=host, series__column=column, series__version=version
    )


def test_a_quiet_window_is_measured_and_every_rule_answers():
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1", "gpu-2", "gpu-3")
    make_version(endpoint, 1)
    watch(endpoint)

    window = play(endpoint, hosts, 0)

    assert (window.state, window.rows, window.labelled) == (WindowState.JUDGED, 900, 900)
    accuracy = accuracy_between(endpoint, START, START + WINDOW)
    assert (point("accuracy").value, point("accuracy").n) == (accuracy.share, 900)
    assert (point("accuracy_low").value, point("accuracy_high").value) == (accuracy.low, accuracy.high)
    assert point("rows", host="gpu-2").value == 300.0
    assert point("latency_p50_ms").at == START + WINDOW
    assert 0 <= point("psi", column="DIS").value < 0.2
    assert finding("accuracy").answer == Answer.OK
    assert finding("input_drift").answer == Answer.OK
    assert finding("output_drift").answer == Answer.OK
    assert finding("latency").sentence.startswith("There is no reference for latency yet")
    assert not AuditEvent.objects.filter(action="window.judge").exists()


def test_lower_accuracy_is_a_breach_that_says_how_much_and_against_what():
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1")
    make_version(endpoint, 1, accuracy=0.8)
    watch(endpoint)

    play(endpoint, hosts, 0, rows=600, accuracy=0.65)

    found = finding("accuracy")
    right = accuracy_between(endpoint, START, START + WINDOW)
    assert found.answer == Answer.BREACH
    assert (found.value, found.limit, found.rows) == (right.share, 0.77, 600)
    assert found.sentence == (
        f"Version 1 is right in {right.share:.1%} of 600 labelled rows ({right.low:.1%} to {right.high:.1%}), "
        f"{100 * (0.8 - right.share):.1f} points below the 80.0% it promised (limit 3 points)."
    )
    event = AuditEvent.objects.get(action="window.judge")
    assert event.target_id == "employment-production"


def test_one_bad_host_among_three_is_named():
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1", "gpu-2", "gpu-3")
    make_version(endpoint, 1)
    watch(endpoint)

    play(endpoint, hosts, 0, rows=600, on={"gpu-2": {"accuracy": 0.6}})

    assert finding("accuracy", host="gpu-1").answer == Answer.OK
    assert finding("accuracy", host="gpu-2").answer == Answer.BREACH
    assert finding("accuracy", host="gpu-2").sentence.startswith("Version 1 on gpu-2 is right in ")


def years_to_months(columns):
    columns["AGEP"] = columns["AGEP"] * 12


def months_to_years(columns):
    columns["AGEP"] = columns["AGEP"] // 12


@pytest.mark.parametrize(
    ("change", "column"), [(swap_codes, "DIS"), (years_to_months, "AGEP"), (months_to_years, "AGEP")]
)
def test_a_changed_codebook_is_found_in_the_column_that_changed_and_in_no_other(change, column):
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1")
    make_version(endpoint, 1)
    watch(endpoint)

    play(endpoint, hosts, 0, rows=300, change=change)

    found = finding("input_drift")
    assert found.answer == Answer.BREACH
    assert found.data["drifted"] == [column]
    assert found.data["columns"][0]["column"] == column
    assert found.sentence.startswith(
        f"The inputs of version 1 are unlike its training data in {column}, 1 of 16 columns."
    )


def test_answers_that_are_all_the_same_are_output_drift():
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1")
    make_version(endpoint, 1)
    watch(endpoint)

    def only_employed(columns):
        columns["employed"] = columns["employed"] * 0 + 1

    play(endpoint, hosts, 0, accuracy=1.0, change=only_employed)

    assert finding("output_drift").answer == Answer.BREACH
    assert "output" in finding("output_drift").data["drifted"]


def test_ten_times_slower_is_a_breach_against_the_first_windows():
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1", "gpu-2")
    make_version(endpoint, 1)
    watch(endpoint)
    for index in range(3):
        play(endpoint, hosts, index)

    window = play(endpoint, hosts, 3, on={"gpu-2": {"latency_ms": 10.0}})

    of_window = Finding.objects.filter(window=window, rule__kind="latency")
    assert of_window.get(host__name="gpu-1").answer == Answer.OK
    slow = of_window.get(host__name="gpu-2")
    assert slow.answer == Answer.BREACH
    assert 8 < slow.value < 12
    assert slow.sentence.startswith("Version 1 on gpu-2 is slower than the endpoint's first windows: median ")


def test_too_few_rows_are_not_enough_data_and_never_ok():
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1")
    make_version(endpoint, 1)
    watch(endpoint)

    play(endpoint, hosts, 0, rows=150, accuracy=0.2, change=swap_codes)

    answers_given = dict(Finding.objects.filter(host=None).values_list("rule__kind", "answer"))
    assert answers_given == dict.fromkeys(RuleKind.values, Answer.NOT_ENOUGH)


def test_a_version_without_promise_or_profile_is_said_to_have_none():
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1")
    make_version(endpoint, 1, accuracy=None, profiled=False)
    watch(endpoint)

    play(endpoint, hosts, 0)

    assert finding("accuracy").sentence == "Version 1 came without a holdout accuracy to hold it to."
    assert finding("input_drift").sentence == "Version 1 came without a profile of its training data."
    assert finding("input_drift").answer == Answer.NOT_ENOUGH


def test_two_versions_in_one_window_are_judged_apart():
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1", "gpu-2")
    make_version(endpoint, 1)
    make_version(endpoint, 2)
    watch(endpoint)
    log(endpoint, hosts[0], answers(part(2017, 0, 400), version=1))
    log(endpoint, hosts[1], answers(part(2017, 400, 400), version=2, accuracy=0.6, seed=1))

    judge(endpoint, 0)

    assert finding("accuracy", "1").answer == Answer.OK
    assert finding("accuracy", "2").answer == Answer.BREACH


def test_a_window_without_traffic_is_judged_and_finds_nothing():
    endpoint = make_endpoint()
    watch(endpoint)

    window = judge(endpoint, 0)

    assert (window.state, window.rows) == (WindowState.JUDGED, 0)
    assert not Finding.objects.exists()


def test_a_window_that_is_not_due_or_was_judged_is_left_alone():
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1")
    make_version(endpoint, 1)
    watch(endpoint)
    window = play(endpoint, hosts, 0)
    later = Window.objects.create(
        endpoint=endpoint, start=START + WINDOW, end=START + 2 * WINDOW, due_at=timezone.now() + timedelta(hours=1)
    )

    assert detect.judge(window.pk) is False
    assert detect.judge(later.pk) is False
    later.refresh_from_db()
    assert (later.state, later.attempts) == (WindowState.OPEN, 0)


def test_a_window_whose_worker_died_is_judged_again_after_its_lease(monkeypatch):
    endpoint = make_endpoint()
    watch(endpoint)
    window = Window.objects.create(endpoint=endpoint, start=START, end=START + WINDOW, due_at=START + WINDOW)

    def dies(*args):
        raise MemoryError

    monkeypatch.setattr(fleet, "load_predictions", dies)
    with pytest.raises(MemoryError):
        detect.judge(window.pk)
    monkeypatch.undo()

    assert detect.judge(window.pk) is False
    Window.objects.filter(pk=window.pk).update(due_at=timezone.now() - timedelta(seconds=1))
    assert detect.judge(window.pk) is True
    window.refresh_from_db()
    assert (window.state, window.attempts) == (WindowState.JUDGED, 2)


def test_a_worker_that_lost_its_claim_writes_nothing(monkeypatch):
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1")
    make_version(endpoint, 1, profiled=False)
    watch(endpoint)
    log(endpoint, hosts[0], answers(part(2017, 0, 300)))
    window = Window.objects.create(endpoint=endpoint, start=START, end=START + WINDOW, due_at=START + WINDOW)
    load = fleet.load_predictions

    def slow(*args):
        Window.objects.filter(pk=window.pk).update(attempts=7)
        return load(*args)

    monkeypatch.setattr(fleet, "load_predictions", slow)

    assert detect.judge(window.pk) is False
    assert not Finding.objects.exists()
    assert not MetricPoint.objects.exists()
