import pytest

from audit.actions import service_actor
from audit.models import AuditEvent
from monitoring.actions import Refused, unwatch_endpoint, watch_endpoint
from monitoring.models import Monitor, Rule, RuleKind
from monitoring.questions import DEFAULTS
from tests.monitoring.world import make_endpoint

pytestmark = pytest.mark.django_db
ACTOR = service_actor("test")


def test_watching_begins_with_the_present_window_and_a_rule_of_each_kind():
    endpoint = make_endpoint()

    monitor = watch_endpoint(endpoint=endpoint, window_seconds=30, min_rows=100, actor=ACTOR)

    assert monitor.next_window_at.timestamp() % 30 == 0
    rules = {rule.kind: rule for rule in Rule.objects.filter(endpoint=endpoint)}
    assert {kind: rule.params for kind, rule in rules.items()} == {kind.value: DEFAULTS[kind] for kind in RuleKind}
    assert {rule.min_rows for rule in rules.values()} == {100}
    assert AuditEvent.objects.get(action="monitor.watch").target_id == endpoint.slug


def test_watching_again_keeps_the_rules_as_people_left_them():
    endpoint = make_endpoint()
    watch_endpoint(endpoint=endpoint, actor=ACTOR)
    Rule.objects.filter(kind="latency").update(enabled=False, min_rows=999)

    watch_endpoint(endpoint=endpoint, window_seconds=60, actor=ACTOR)

    assert Monitor.objects.get().window_seconds == 60
    assert Rule.objects.filter(kind="latency", enabled=False, min_rows=999).exists()
    assert Rule.objects.count() == len(RuleKind)


@pytest.mark.parametrize(
    ("lengths", "sentence"),
    [
        ({"window_seconds": 0}, "window_seconds must be a whole number from 1 to 86,400."),
        ({"min_rows": 5}, "min_rows must be a whole number from 30 to 10,000,000."),
        ({"grace_seconds": -1}, "grace_seconds must be a whole number from 0 to 86,400."),
    ],
)
def test_lengths_that_make_no_sense_are_refused(lengths, sentence):
    with pytest.raises(Refused) as refused:
        watch_endpoint(endpoint=make_endpoint(), actor=ACTOR, **lengths)

    assert str(refused.value) == sentence
    assert not Monitor.objects.exists()
    assert not Rule.objects.exists()


def test_an_endpoint_is_watched_no_longer_once():
    endpoint = make_endpoint()
    watch_endpoint(endpoint=endpoint, actor=ACTOR)

    done = [unwatch_endpoint(endpoint=endpoint, reason="Retired.", actor=ACTOR) for _ in range(2)]

    assert done == [True, False]
    assert Monitor.objects.get().enabled is False
    assert AuditEvent.objects.filter(action="monitor.unwatch").count() == 1
