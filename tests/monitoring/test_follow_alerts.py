from datetime import timedelta

import pytest
from django.utils import timezone

from audit.models import AuditEvent
from monitoring import alerts
from monitoring.models import Alert, Finding, Rule, RuleKind, Window
from tests.monitoring.stream import alerts_of, judge, play, watch
from tests.monitoring.world import START, WINDOW, make_endpoint, make_hosts, make_version

pytestmark = pytest.mark.django_db


@pytest.fixture
def sent(monkeypatch):
    """What was told to the floor above, without a broker."""
    told = []
    monkeypatch.setattr(alerts, "gather_on_commit", lambda task, args, queue: told.append((task, args, queue)))
    return told


@pytest.fixture
def world():
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1", "gpu-2", "gpu-3")
    make_version(endpoint, 1)
    make_version(endpoint, 2)
    watch(endpoint, for_windows=2, clear_windows=3)
    # It finds the same errors as accuracy does, and one rule's alerts are what is followed here.
    Rule.objects.filter(kind="concept_drift").update(enabled=False)
    return endpoint, hosts


def test_one_breach_is_not_an_alert(world, sent):
    endpoint, hosts = world
    play(endpoint, hosts, 0, accuracy=0.6)

    play(endpoint, hosts, 1)
    play(endpoint, hosts, 2, accuracy=0.6)

    assert alerts_of(endpoint) == []
    assert sent == []


def test_breaches_in_a_row_fire_one_alert_that_began_with_the_first_of_them(world, sent):
    endpoint, hosts = world
    play(endpoint, hosts, 0, version=2)
    play(endpoint, hosts, 1, version=2, accuracy=0.6)

    play(endpoint, hosts, 2, version=2, accuracy=0.6)
    play(endpoint, hosts, 3, version=2, accuracy=0.6)

    alert = Alert.objects.get()
    assert (alert.rule.kind, alert.version, alert.state, alert.severity) == ("accuracy", "2", "firing", 1)
    assert alert.started_at == START + WINDOW
    assert alert.labels == {"rule": "accuracy", "hosts": ["gpu-1", "gpu-2", "gpu-3"]}
    assert alert.summary.startswith("Version 2 is right in ")
    assert alert.summary.endswith(" Since 2026-11-21 12:01:00 UTC on gpu-1, gpu-2, gpu-3, 1,800 rows.")
    assert sent == [("incidents.take_alert", [alert.pk], "intake")]
    event = AuditEvent.objects.get(action="alert.fire")
    assert (event.target_kind, event.target_id, event.actor) == ("alert", str(alert.pk), "svc:monitoring")


def test_a_fault_on_one_host_names_that_host(world, sent):
    endpoint, hosts = world
    for index in range(2):
        play(endpoint, hosts, index, rows=600, on={"gpu-3": {"accuracy": 0.62}})

    assert "gpu-3" in Alert.objects.get(rule__kind="accuracy").labels["hosts"]


def test_it_resolves_after_enough_windows_within_the_limit_and_not_before(world, sent):
    endpoint, hosts = world
    for index in range(2):
        play(endpoint, hosts, index, accuracy=0.6)
    for index in range(2, 4):
        play(endpoint, hosts, index)
    assert alerts_of(endpoint) == [("accuracy", "1", "firing")]

    play(endpoint, hosts, 4)

    alert = Alert.objects.get()
    assert (alert.state, alert.ended_at) == ("resolved", START + 5 * WINDOW)
    assert sent[1:] == [("incidents.alert_resolved", [alert.pk], "intake")]
    assert AuditEvent.objects.filter(action="alert.resolve").count() == 1


def test_it_resolves_when_its_version_answers_no_more(world, sent):
    endpoint, hosts = world
    for index in range(2):
        play(endpoint, hosts, index, version=2, accuracy=0.6)
    for index in range(2, 5):
        play(endpoint, hosts, index, version=1)

    assert alerts_of(endpoint) == [("accuracy", "2", "resolved")]


def test_windows_without_labels_or_traffic_neither_resolve_nor_add(world, sent):
    endpoint, hosts = world
    play(endpoint, hosts, 0, accuracy=0.6)
    play(endpoint, hosts, 1, labelled=False)
    judge(endpoint, 2)
    assert alerts_of(endpoint) == []

    play(endpoint, hosts, 3, accuracy=0.6)

    assert alerts_of(endpoint) == [("accuracy", "1", "firing")]
    assert Alert.objects.get().started_at == START
    for index in range(4, 10):
        play(endpoint, hosts, index, labelled=False)
    assert alerts_of(endpoint) == [("accuracy", "1", "firing")]


def test_a_second_fault_after_the_first_was_resolved_is_a_second_alert(world, sent):
    endpoint, hosts = world
    for index, accuracy in enumerate([0.6, 0.6, 0.8, 0.8, 0.8, 0.6, 0.6]):
        play(endpoint, hosts, index, accuracy=accuracy)

    assert alerts_of(endpoint) == [("accuracy", "1", "resolved"), ("accuracy", "1", "firing")]


def test_following_a_rule_again_changes_nothing(world, sent):
    endpoint, hosts = world
    for index in range(2):
        play(endpoint, hosts, index, accuracy=0.6)
    before = list(Alert.objects.values_list("pk", "state", "started_at"))

    changed = [alerts.follow(rule, ["1"]) for rule in Rule.objects.all() for _ in range(3)]

    assert changed == [[]] * 3 * len(RuleKind)
    assert list(Alert.objects.values_list("pk", "state", "started_at")) == before
    assert len(sent) == 1


def test_windows_judged_in_another_order_come_to_the_same_alert(sent):
    endpoint = make_endpoint()
    watch(endpoint)
    rule = Rule.objects.get(kind="accuracy")

    for index in (2, 0, 1):
        start = START + WINDOW * index
        window = Window.objects.create(
            endpoint=endpoint, start=start, end=start + WINDOW, due_at=timezone.now(), state="judged", rows=500
        )
        answer = "breach" if index else "ok"
        Finding.objects.create(rule=rule, window=window, version="1", answer=answer, rows=500, sentence="Worse.")
        alerts.follow(rule, ["1"])

    alert = Alert.objects.get()
    assert alert.state == "firing"
    assert START + timedelta(0) <= alert.started_at <= START + WINDOW


def test_two_endpoints_with_the_same_fault_have_an_alert_each(world, sent):
    endpoint, hosts = world
    staging = make_endpoint("employment-staging")
    watch(staging, for_windows=2)
    for index in range(2):
        play(endpoint, hosts, index, accuracy=0.6)
        play(staging, hosts, index, accuracy=0.6)

    assert Alert.objects.values("fingerprint").distinct().count() == 2


def test_a_rule_that_was_switched_off_and_on_again_fires_again_for_what_never_stopped(world, sent):
    endpoint, hosts = world
    for index in range(2):
        play(endpoint, hosts, index, accuracy=0.6)
    rule = Rule.objects.get(kind="accuracy")
    alerts.end_all([rule], "The rule was switched off.")

    play(endpoint, hosts, 2, accuracy=0.6)

    told = Alert.objects.filter(rule=rule).order_by("pk").values_list("state", "started_at")
    assert list(told) == [("resolved", START), ("firing", START + 2 * WINDOW)]
