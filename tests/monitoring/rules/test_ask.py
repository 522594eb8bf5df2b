from datetime import timedelta

import pytest

from audit.models import AuditEvent
from incidents.intake import take_alert
from incidents.models import Incident
from monitoring import alerts
from monitoring.models import Alert
from monitoring.rules import evaluate
from monitoring.rules.actions import change_rule
from monitoring.rules.models import AlertRule, RuleStanding
from registry.models import Placement
from tests.monitoring.rules.world import ACTOR, ask, now, points, rule
from tests.monitoring.stream import play, watch
from tests.monitoring.world import make_endpoint, make_hosts, make_version

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)


@pytest.fixture
def sent(monkeypatch):
    told = []
    monkeypatch.setattr(alerts, "gather_on_commit", lambda task, args, queue: told.append((task, args)))
    return told


@pytest.fixture
def endpoint():
    return make_endpoint()


def test_a_rule_fires_with_its_value_against_its_limit_the_versions_live_and_since_when(endpoint, sent):
    [host] = make_hosts("gpu-1")
    Placement.objects.create(endpoint=endpoint, host=host, observed_version="4")
    at = now()
    points(endpoint, [5, 5, 12.5, 12.5], until=at, version="4")
    asked = rule(endpoint, for_seconds=60)

    ask(asked, since=at - 4 * MINUTE)

    alert = Alert.objects.get()
    assert (alert.state, alert.severity, alert.alert_rule, alert.version) == ("firing", 2, asked, "4")
    assert alert.started_at == at - 2 * MINUTE
    assert alert.summary == "p95 of latency: latency_p95_ms is 12.5, above 10."
    assert (alert.annotations["value"], alert.annotations["high"], alert.annotations["low"]) == (12.5, 10.0, None)
    assert alert.annotations["versions"] == {"gpu-1": "4"}
    assert alert.annotations["link"] == f"/monitoring/rules/{asked.pk}/"
    assert sent == [("incidents.take_alert", [alert.pk])]
    standing = RuleStanding.objects.get()
    assert (standing.phase, standing.value, standing.high) == ("firing", 12.5, 10.0)


def test_it_ends_when_it_was_clear_for_long_enough_and_another_breach_is_another_alert(endpoint, sent):
    at = now()
    points(endpoint, [12, 5, 5, 5, 12], until=at)
    asked = rule(endpoint, clear_seconds=120)

    ask(asked, since=at - 5 * MINUTE)

    assert list(Alert.objects.order_by("pk").values_list("state", "started_at", "ended_at")) == [
        ("resolved", at - 5 * MINUTE, at - MINUTE),
        ("firing", at - MINUTE, None),
    ]
    assert [task for task, _ in sent] == [
        "incidents.take_alert", "incidents.alert_resolved", "incidents.take_alert",
    ]  # fmt: skip


def test_judging_again_or_in_two_pieces_says_nothing_twice(endpoint, sent):
    at = now()
    points(endpoint, [5, 12, 12, 12], until=at)
    asked = rule(endpoint, for_seconds=60)

    ask(asked, since=at - 4 * MINUTE)
    assert evaluate.ask(asked.pk) is False
    ask(asked, since=at - 2 * MINUTE)

    assert Alert.objects.count() == 1
    assert len(sent) == 1
    assert AuditEvent.objects.filter(action="alert.fire").count() == 1


def test_no_data_is_shown_as_such_and_alerts_after_its_time_where_the_rule_says_so(endpoint, sent):
    at = now()
    points(endpoint, [5, None, None, None], until=at)
    points(endpoint, [5], until=at - 3 * MINUTE)
    quiet, loud = rule(endpoint), rule(endpoint, name="heard of", no_data="alert", no_data_seconds=120)

    ask(quiet, since=at - 4 * MINUTE)
    ask(loud, since=at - 4 * MINUTE)

    assert RuleStanding.objects.get(rule=quiet).phase == "no_data"
    assert RuleStanding.objects.get(rule=loud).phase == "unheard"
    alert = Alert.objects.get()
    assert alert.alert_rule == loud
    assert alert.summary.startswith("heard of: no data for latency_p95_ms since ")
    assert alert.summary.endswith("Whether it is well is not known.")
    points(endpoint, [5], until=at)
    ask(loud, since=at - MINUTE)
    alert.refresh_from_db()
    assert (alert.state, alert.ended_at) == ("resolved", at)
    assert RuleStanding.objects.get(rule=loud).phase == "ok"


def test_each_placed_host_is_judged_by_itself_and_one_that_never_sent_anything_stands_at_no_data(endpoint, sent):
    hosts = make_hosts("gpu-1", "gpu-2")
    for host in hosts:
        Placement.objects.create(endpoint=endpoint, host=host)
    at = now()
    points(endpoint, [12, 12], until=at, host=hosts[0])

    ask(rule(endpoint, scope="hosts"), since=at - 2 * MINUTE)

    assert list(RuleStanding.objects.order_by("host__name").values_list("host__name", "phase")) == [
        ("gpu-1", "firing"), ("gpu-2", "no_data"),
    ]  # fmt: skip
    alert = Alert.objects.get()
    assert (alert.host, alert.labels["hosts"]) == (hosts[0], ["gpu-1"])


def test_a_host_that_serves_the_endpoint_no_more_is_forgotten_and_its_alert_ends(endpoint, sent):
    hosts = make_hosts("gpu-1", "gpu-2")
    placements = [Placement.objects.create(endpoint=endpoint, host=host) for host in hosts]
    at = now()
    points(endpoint, [12, 12], until=at, host=hosts[0])
    asked = rule(endpoint, scope="hosts")
    ask(asked, since=at - 2 * MINUTE)

    placements[0].delete()
    ask(asked, since=at - MINUTE)

    assert Alert.objects.get().state == "resolved"
    assert list(RuleStanding.objects.values_list("host__name", flat=True)) == ["gpu-2"]


def test_a_rule_over_a_detectors_findings_holds_their_values_to_its_limit(endpoint, sent):
    hosts = make_hosts("gpu-1")
    make_version(endpoint, 1)
    watch(endpoint)
    window = play(endpoint, hosts, 0, accuracy=0.6)
    asked = rule(endpoint, name="accuracy", subject="finding", metric="accuracy",
                 params={"direction": "below", "limit": 0.7})  # fmt: skip

    AlertRule.objects.filter(pk=asked.pk).update(judged_until=window.start, next_at=window.start)
    assert evaluate.ask(asked.pk) is True

    alert = Alert.objects.filter(alert_rule=asked).first()
    assert alert.summary.startswith("accuracy: accuracy is 0.6")
    assert alert.summary.endswith(", below 0.7.")
    assert alert.version == "1"


def test_a_rule_that_was_not_asked_for_long_is_judged_for_a_week_and_the_rest_is_on_record(endpoint, sent):
    at = now()
    asked = rule(endpoint)

    ask(asked, since=at - timedelta(days=9))

    skip = AuditEvent.objects.get(action="alert_rule.skip")
    assert skip.target_id == str(asked.pk)
    asked.refresh_from_db()
    assert asked.judged_until >= at


def test_a_breach_that_goes_on_when_the_rule_is_changed_fires_again_although_it_began_at_the_same_moment(
    endpoint, sent
):
    at = now()
    points(endpoint, [12], until=at)
    asked = rule(endpoint)
    ask(asked, since=at - MINUTE)
    first = Alert.objects.get()

    changed = change_rule(rule=asked, changes={"params": {"limit": 11.0}}, reason="Too low.", actor=ACTOR)
    ask(changed, since=at - MINUTE)

    second = Alert.objects.get(state="firing")
    assert second.fingerprint == first.fingerprint
    assert second.started_at > first.started_at


def test_an_incident_opens_for_the_alert_of_a_rule(endpoint, sent):
    at = now()
    points(endpoint, [12], until=at)
    ask(rule(endpoint), since=at - MINUTE)

    incident = take_alert(alert_id=Alert.objects.get().pk)

    assert incident == Incident.objects.get()
    assert incident.severity == 2
