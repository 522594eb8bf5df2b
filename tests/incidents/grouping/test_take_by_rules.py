"""Which incident an alert opens or joins, by the rules of people."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from incidents.due import untaken_alerts
from incidents.grouping import actions
from incidents.grouping.actions import Terms
from incidents.grouping.models import AlertGroup, GroupMember
from incidents.models import Incident, IncidentAlert, IncidentState
from monitoring.models import Alert
from tests.incidents.grouping.made import TEST, ended, fired, refs, rule, taken


def test_alerts_with_the_same_values_of_the_rules_labels_are_one_incident(db: Any) -> None:
    rule()
    north = taken(fired(region="north"))
    assert taken(fired("SlowQueue", region="north")) == north
    assert taken(fired(region="south")) != north
    assert taken(fired("Broken", region="north")) not in ("", north)
    assert len(refs()) == 3


def test_the_first_rule_that_matches_decides(db: Any) -> None:
    one = rule("All slow", by=[])
    rule("By region")
    assert taken(fired(region="north")) == taken(fired(region="south"))
    actions.retire_rule(rule=one, actor=TEST)
    assert taken(fired(region="north")) != taken(fired(region="south"))


def test_an_alert_that_comes_after_the_window_opens_another_incident(db: Any) -> None:
    rule(window_seconds=60)
    first = taken(fired(ago=300, region="north"))
    assert taken(fired(ago=250, region="north")) == first
    second = taken(fired(region="north"))
    assert second not in ("", first)
    assert taken(fired(region="north")) == second
    assert AlertGroup.objects.filter(closed_at=None).count() == 1


def test_a_resolved_incident_takes_no_new_alert_of_its_group(db: Any) -> None:
    rule()
    first = taken(fired(region="north"))
    Incident.objects.filter(ref=first).update(state=IncidentState.RESOLVED)
    second = taken(fired(region="north"))
    assert second not in ("", first)
    assert IncidentAlert.objects.filter(incident__ref=first).count() == 1


def test_fewer_than_n_within_t_open_nothing_and_the_nth_opens_one_for_all(db: Any) -> None:
    rule(at_least=3, within_seconds=120)
    old, waiting = fired(ago=500, region="north"), fired(ago=60, region="north")
    assert [taken(old), taken(waiting)] == ["", ""]
    assert not Incident.objects.exists()
    assert untaken_alerts(timezone.now()) == []
    second = fired(ago=30, region="north")
    assert taken(second) == ""
    ref = taken(fired(region="north"))
    assert ref == "INC-1"
    # those that waited are found by the clock where their message was lost
    assert set(untaken_alerts(timezone.now())) == {old.pk, waiting.pk, second.pk}
    assert {taken(Alert.objects.get(pk=pk)) for pk in untaken_alerts(timezone.now())} == {ref}


@pytest.mark.parametrize("change", ["fewer", "retired"])
def test_what_waits_is_placed_anew_when_its_rule_is_changed_or_retired(db: Any, change: str) -> None:
    made = rule(at_least=5, within_seconds=600)
    waiting = [fired(ago=60, region="north"), fired(ago=30, region="north")]
    over = fired(ago=20, region="north")
    assert [taken(alert) for alert in (*waiting, over)] == ["", "", ""]
    ended(over)
    assert untaken_alerts(timezone.now()) == []
    if change == "fewer":
        terms = Terms(name="Two", matchers=made.matchers, by=made.by, at_least=2, within_seconds=600)
        actions.change_rule(rule=made, terms=terms, seen_revision=1, actor=TEST)
    else:
        actions.retire_rule(rule=made, actor=TEST)
    found = untaken_alerts(timezone.now())
    assert set(found) == {alert.pk for alert in waiting}
    for _ in range(2):
        opened = {taken(Alert.objects.get(pk=pk)) for pk in found}
    assert opened == {"INC-1"}


def test_n_within_t_counts_by_when_they_fired_and_not_by_when_they_were_placed(db: Any) -> None:
    rule(at_least=2, within_seconds=10)
    early, late = fired(ago=60, region="north"), fired(ago=45, region="north")
    assert [taken(late), taken(early)] == ["", ""]
    # two that are near each other are enough, although the newest is far from them
    assert taken(fired(ago=58, region="north")) == "INC-1"


def test_a_rule_gives_severities_by_a_label_and_the_alerts_own_where_it_says_nothing(db: Any) -> None:
    rule(severity_label="tier", severities={"gold": 1, "*": 4})
    rule("Broken", matchers=[["alertname", "=", "Broken"]], severity_label="tier", severities={"gold": 1})
    for name, tier, severity in [("SlowAnswers", "gold", 1), ("SlowAnswers", "tin", 4), ("Broken", "tin", 3)]:
        ref = taken(fired(name, tier=tier, region=tier))
        assert Incident.objects.get(ref=ref).severity == severity
    # one that joins raises it
    assert taken(fired("Broken", tier="gold", region="tin")) == ref
    assert Incident.objects.get(ref=ref).severity == 1


def test_an_alert_that_was_over_before_it_was_taken_opens_nothing(db: Any) -> None:
    rule()
    alert = fired(region="north")
    ended(alert)
    assert taken(alert) == ""
    assert not Incident.objects.exists()


def test_a_changed_rule_leaves_alerts_that_were_placed_where_they_are(db: Any) -> None:
    made = rule()
    alert = fired(region="north")
    ref = taken(alert)
    terms = Terms(name="By zone", matchers=[["alertname", "=", "Slow*"]], by=["zone"])
    actions.change_rule(rule=made, terms=terms, seen_revision=1, actor=TEST)
    assert taken(alert) == ref
    assert taken(fired(region="north")) not in ("", ref)


@pytest.mark.django_db
@settings(max_examples=15)
@given(data=st.data())
def test_any_order_and_number_of_takings_comes_to_the_same(data: st.DataObject) -> None:
    """Alerts of some regions, of which some are over; each is taken at least once, in any order."""
    tag = uuid.uuid4().hex
    rule(tag, matchers=[["run", "=", tag]], at_least=data.draw(st.integers(1, 2)))
    regions = data.draw(st.lists(st.sampled_from(["north", "south"]), min_size=1, max_size=5))
    alerts = [fired(region=region, run=tag) for region in regions]
    for alert in data.draw(st.lists(st.sampled_from(alerts), max_size=2, unique_by=lambda one: one.pk)):
        ended(alert)
    often = [alert for alert in alerts for _ in range(data.draw(st.integers(1, 3)))]
    for alert in [*data.draw(st.permutations(often)), *alerts]:
        taken(alert)
    links = IncidentAlert.objects.filter(alert__in=alerts).select_related("incident", "alert")
    by_region = {link.alert.labels["region"]: link.incident_id for link in links}
    assert all(by_region[link.alert.labels["region"]] == link.incident_id for link in links)
    assert len(set(by_region.values())) == len(by_region)
    assert GroupMember.objects.filter(alert__in=alerts).count() == len(alerts)
    enough = AlertGroup.objects.filter(rule__name=tag, ready_at__isnull=False)
    for group in enough:
        firing = group.members.filter(alert__state="firing").count()
        opened = Incident.objects.filter(group_key=group.group_key)
        assert opened.count() == 1 if firing else opened.count() <= 1
        assert links.filter(incident__in=opened, alert__state="firing").count() == firing


def test_two_workers_with_alerts_of_one_group_open_one_incident(committed_db: Any) -> None:
    rule(at_least=2)
    pks = [fired(region="north").pk for _ in range(8)]

    def take(pk: int) -> str:
        try:
            return taken(Alert.objects.get(pk=pk))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(take, [*pks, *pks]))
        found = set(pool.map(take, pks))
    assert found == {"INC-1"}
    assert AlertGroup.objects.count() == 1
    assert IncidentAlert.objects.count() == 8
