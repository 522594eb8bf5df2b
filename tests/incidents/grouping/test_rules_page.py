"""The rules by which alerts become incidents: read by everybody, made and changed by administrators."""

from typing import Any

import pytest
from django.test import Client

from audit.models import AuditEvent
from incidents.errors import Conflict, IncidentError
from incidents.grouping import actions
from incidents.grouping.actions import Terms
from incidents.grouping.models import GroupingRule
from incidents.models import Incident
from tests.accounts.people import person
from tests.accounts.test_approval_pages import browser
from tests.incidents.grouping.made import TEST, fired, rule

TYPED = {
    "name": "Slow", "matchers": "alertname = Slow*\nregion != south", "by": "region, tier", "window_minutes": "2",
    "at_least": "2", "within_minutes": "10", "severity_label": "tier", "severities": "gold = 1\n* = 3",
}  # fmt: skip


@pytest.fixture
def admin(db: Any) -> Client:
    return browser(person("admi", "administrator"))


def test_a_rule_that_was_typed_in_counts_and_is_on_record(admin: Client) -> None:
    answer = admin.post("/grouping-rules/", TYPED)
    assert answer.status_code == 302
    made = GroupingRule.objects.get()
    assert made.matchers == [["alertname", "=", "Slow*"], ["region", "!=", "south"]]
    assert (made.by, made.window_seconds, made.at_least, made.within_seconds) == (["region", "tier"], 120, 2, 600)
    assert (made.severity_label, made.severities) == ("tier", {"gold": 1, "*": 3})
    assert AuditEvent.objects.filter(action="grouping_rule.add").count() == 1
    page = admin.get("/grouping-rules/").content.decode()
    assert "1 rule says which alerts are one incident" in page
    assert "2 alerts within 600 s" in page


def test_what_is_no_matcher_is_refused_with_a_sentence_and_nothing_is_made(admin: Client) -> None:
    for wrong in ({"matchers": "severity is bad"}, {"severities": "gold = 9"}, {"at_least": "0"}):
        answer = admin.post("/grouping-rules/", TYPED | wrong)
        assert answer.status_code == 400
    assert (
        "write a value, = and 1, 2, 3 or 4"
        in admin.post("/grouping-rules/", TYPED | {"severities": "gold = 9"}).content.decode()
    )
    assert not GroupingRule.objects.exists()


def test_a_preview_says_how_many_incidents_the_last_alerts_would_have_made_and_changes_nothing(admin: Client) -> None:
    for region in ("north", "north", "east", "south"):
        fired(region=region, tier="gold")
    fired("Broken")
    page = admin.post("/grouping-rules/", TYPED | {"preview": "1"}).content.decode()
    assert (
        "Of the last 5 alerts this rule matches 3: they would have made 1 incident, 1 alert would have waited." in page
    )
    assert "All alerts together would have made 3 incidents with it and 2 without it." in page
    assert not GroupingRule.objects.exists()
    assert not Incident.objects.exists()


def test_rules_are_asked_in_the_order_that_was_given(admin: Client) -> None:
    first, second, third = (rule(name) for name in ("First", "Second", "Third"))
    admin.post(f"/grouping-rules/{third.pk}/move/", {"place": "1"})
    assert list(GroupingRule.objects.values_list("name", flat=True)) == ["Third", "First", "Second"]
    admin.post(f"/grouping-rules/{first.pk}/retire/")
    live = GroupingRule.objects.filter(retired_at=None)
    assert list(live.values_list("name", flat=True)) == ["Third", "Second"]
    with pytest.raises(IncidentError, match="retired"):
        actions.move_rule(rule=first, place=1, actor=TEST)


def test_a_change_of_what_somebody_else_changed_is_refused(admin: Client) -> None:
    made = rule()
    actions.change_rule(rule=made, terms=Terms("By zone", [], ["zone"]), seen_revision=1, actor=TEST)
    answer = admin.post(f"/grouping-rules/{made.pk}/", TYPED | {"revision": "1"})
    assert answer.status_code == 409
    made.refresh_from_db()
    assert (made.name, made.revision) == ("By zone", 2)
    with pytest.raises(Conflict):
        actions.change_rule(rule=made, terms=Terms("Other", [], []), seen_revision=1, actor=TEST)


def test_a_name_is_given_once(db: Any) -> None:
    rule()
    with pytest.raises(IncidentError, match="already"):
        rule()
    assert GroupingRule.objects.count() == 1


def test_the_api_makes_changes_previews_and_retires_as_the_page_does(admin: Client) -> None:
    fired(region="north")
    terms = {"name": "Slow", "matchers": ["alertname = Slow*"], "by": ["region"]}
    tried = admin.post("/api/v1/grouping-rules/preview/", terms, "application/json").json()
    assert (tried["matched"], tried["with_it"], tried["without_it"]) == (1, 1, 1)
    assert tried["incidents"][0]["labels"] == {"region": "north"}
    made = admin.post("/api/v1/grouping-rules/", terms, "application/json")
    assert made.status_code == 201
    assert made.json()["matchers"] == ["alertname = Slow*"]
    place = f"/api/v1/grouping-rules/{made.json()['id']}/"
    stale = admin.patch(place, terms | {"at_least": 3, "revision": 7}, "application/json")
    assert (stale.status_code, stale.json()["type"]) == (412, "/problems/changed")
    changed = admin.patch(place, terms | {"at_least": 3, "revision": 1}, "application/json").json()
    assert (changed["at_least"], changed["revision"]) == (3, 2)
    assert admin.delete(place).status_code == 204
    assert admin.get("/api/v1/grouping-rules/").json()["results"] == []


def test_others_read_the_rules_and_change_none(db: Any) -> None:
    rule()
    commander = browser(person("comm", "commander"))
    page = commander.get("/grouping-rules/")
    assert page.status_code == 200
    assert "Retire" not in page.content.decode()
    assert commander.post("/grouping-rules/", TYPED).status_code == 403
    assert GroupingRule.objects.count() == 1
