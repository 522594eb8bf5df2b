from datetime import timedelta

import pytest

from accounts.actions import create_user
from audit.models import AuditEvent
from incidents.due import untaken_alerts
from incidents.intake import take_alert
from incidents.models import Incident
from monitoring import alerts
from monitoring.models import Alert
from monitoring.rules import suppress
from monitoring.rules.actions import end_silence, make_silence
from monitoring.rules.fields import UnfitRule
from monitoring.rules.models import Silence
from registry.models import Placement
from tests.monitoring.rules.world import ACTOR, ask, now, points, rule
from tests.monitoring.world import make_endpoint, make_hosts

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)


@pytest.fixture
def sent(monkeypatch):
    told = []
    for module in (alerts, suppress):
        monkeypatch.setattr(module, "gather_on_commit", lambda task, args, queue: told.append((task, args)))
    return told


@pytest.fixture
def endpoint():
    return make_endpoint()


@pytest.fixture
def user():
    return create_user(
        username="rita", email="rita@example.org", full_name="Rita Responder", password="a long enough secret 4711",
        roles=["responder"], actor=ACTOR,
    )  # fmt: skip


def silence(user, hours=1, **matchers):
    return make_silence(
        matchers=matchers,
        reason="We replace the disks.",
        ends_at=now() + timedelta(hours=hours),
        user=user,
        actor=ACTOR,
    )


def fire(endpoint, **fields):
    at = now()
    points(endpoint, [12], until=at, host=fields.pop("host", None))
    asked = rule(endpoint, **fields)
    ask(asked, since=at - MINUTE)
    return Alert.objects.get(alert_rule=asked)


def test_a_silenced_alert_fires_and_is_shown_and_nobody_is_told(endpoint, user, sent):
    made, count = silence(user, endpoint=endpoint.slug)

    alert = fire(endpoint)

    assert count == 0
    assert (alert.state, alert.suppressed_by) == ("firing", f"silence:{made.pk}")
    assert sent == []
    assert take_alert(alert_id=alert.pk) is None
    assert untaken_alerts(now() + timedelta(hours=1)) == []
    assert Incident.objects.count() == 0


def test_a_silence_matches_only_alerts_that_have_every_label_it_names(endpoint, user, sent):
    silence(user, endpoint=endpoint.slug, rule="another rule")
    silence(user, endpoint="another-endpoint")

    assert fire(endpoint).suppressed_by == ""


def test_a_silence_marks_what_fires_already(endpoint, user, sent):
    alert = fire(endpoint)

    made, count = silence(user, rule="p95 of latency")

    alert.refresh_from_db()
    assert (count, alert.suppressed_by) == (1, f"silence:{made.pk}")
    assert AuditEvent.objects.filter(action="alert.suppress", target_id=str(alert.pk)).count() == 1


def test_when_a_silence_is_over_what_still_fires_is_told_once(endpoint, user, sent):
    made, _ = silence(user, endpoint=endpoint.slug)
    alert = fire(endpoint)
    suppress.ask_again(alert.pk)
    assert sent == []

    assert end_silence(silence=made, actor=ACTOR) is True
    assert suppress.due(now()) == [alert.pk]
    suppress.ask_again(alert.pk)
    suppress.ask_again(alert.pk)

    alert.refresh_from_db()
    assert alert.suppressed_by == ""
    assert sent == [("incidents.take_alert", [alert.pk])]
    assert end_silence(silence=made, actor=ACTOR) is False


def test_where_very_many_are_held_each_is_asked_again_within_some_minutes(db, monkeypatch):
    monkeypatch.setattr(suppress, "AT_ONCE", 3)
    start = now()
    held = Alert.objects.bulk_create(
        Alert(fingerprint=f"held-{number}", source="json", summary="x", started_at=start, suppressed_by="silence:1")
        for number in range(11)
    )
    asked = [suppress.due(start + MINUTE * minute) for minute in range(4)]

    assert sorted(pk for some in asked for pk in some) == sorted(alert.pk for alert in held)
    assert max(len(some) for some in asked) == 3


@pytest.mark.parametrize(
    ("matchers", "reason", "hours", "said"),
    [
        ({}, "why", 1, "Say which alerts are meant: name at least one label and its value, such as endpoint or host."),
        (
            {"host": "a"},
            " ",
            1,
            "Say why nobody should be told; the reason is shown beside each alert and goes on record.",
        ),
        ({"host": "a"}, "why", -1, "A silence ends in the future."),
        ({"host": "a"}, "why", 721 + 24, "A silence lasts at most 30 days. Make it anew when it is over."),
    ],
)
def test_a_silence_that_cannot_be_is_refused_with_a_sentence(user, matchers, reason, hours, said):
    with pytest.raises(UnfitRule) as refused:
        make_silence(matchers=matchers, reason=reason, ends_at=now() + timedelta(hours=hours), user=user, actor=ACTOR)

    assert str(refused.value) == said
    assert Silence.objects.count() == 0


@pytest.fixture
def host(endpoint):
    [host] = make_hosts("gpu-1")
    Placement.objects.create(endpoint=endpoint, host=host)
    return host


def down(endpoint, host):
    return fire(endpoint, host=host, name="host is up", scope="hosts", means_host_down=True)


def test_alerts_of_a_host_that_is_down_hang_below_the_one_that_says_so(endpoint, host, sent):
    parent = down(endpoint, host)

    child = fire(endpoint, host=host, name="disk", scope="hosts")
    whole = fire(endpoint, name="the endpoint")

    assert child.suppressed_by == f"alert:{parent.pk}"
    assert suppress.children(parent) == [child]
    assert (parent.suppressed_by, whole.suppressed_by) == ("", "")
    assert sent == [("incidents.take_alert", [parent.pk]), ("incidents.take_alert", [whole.pk])]


def test_what_fired_for_the_host_before_hangs_below_it_too(endpoint, host, sent):
    child = fire(endpoint, host=host, name="disk", scope="hosts")

    parent = down(endpoint, host)

    child.refresh_from_db()
    assert child.suppressed_by == f"alert:{parent.pk}"


def test_an_alert_of_a_host_that_is_down_is_told_where_nobody_is_told_of_the_host(endpoint, host, user, sent):
    made, _ = silence(user, rule="host is up")
    parent = down(endpoint, host)
    child = fire(endpoint, host=host, name="disk", scope="hosts")

    assert (parent.suppressed_by, child.suppressed_by) == (f"silence:{made.pk}", "")
    assert sent == [("incidents.take_alert", [child.pk])]


def test_what_a_held_back_alert_of_the_host_held_is_told_at_the_next_look(endpoint, host, user, sent):
    parent = down(endpoint, host)
    child = fire(endpoint, host=host, name="disk", scope="hosts")
    silence(user, rule="host is up")
    sent.clear()

    suppress.ask_again(child.pk)

    child.refresh_from_db()
    assert child.suppressed_by == ""
    assert sent == [("incidents.take_alert", [child.pk])]
    assert Alert.objects.get(pk=parent.pk).suppressed_by.startswith("silence:")


def test_of_two_alerts_that_say_that_the_host_is_down_one_hangs_below_the_other(endpoint, host, sent):
    first = down(endpoint, host)
    second = fire(endpoint, host=host, name="host answers", scope="hosts", means_host_down=True)

    for alert in (first, second):
        suppress.ask_again(alert.pk)

    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.suppressed_by, second.suppressed_by) == ("", f"alert:{first.pk}")


def test_when_the_host_is_back_its_alerts_have_a_while_to_end_by_themselves_and_then_are_told(endpoint, host, sent):
    parent = down(endpoint, host)
    child = fire(endpoint, host=host, name="disk", scope="hosts")
    alerts.resolve_alert(parent, ended_at=now(), why="Back.")
    sent.clear()

    suppress.ask_again(child.pk)
    assert sent == []
    Alert.objects.filter(pk=parent.pk).update(ended_at=now() - timedelta(minutes=6))
    suppress.ask_again(child.pk)

    assert sent == [("incidents.take_alert", [child.pk])]


def test_a_floor_above_can_hold_an_alert_back_and_one_that_fails_holds_nothing_back(endpoint, sent, monkeypatch):
    def broken(alert):
        raise RuntimeError("no answer")

    monkeypatch.setattr(suppress, "_providers", [broken, lambda alert: "maintenance:7"])

    assert fire(endpoint).suppressed_by == "maintenance:7"
