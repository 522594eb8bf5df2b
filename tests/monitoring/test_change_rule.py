import pytest
from django.test import Client

from accounts.actions import create_user, token_digest
from accounts.models import ApiToken
from audit.actions import service_actor
from audit.models import AuditEvent
from monitoring.actions import Refused, change_rule
from monitoring.models import Alert, Rule
from tests.monitoring.stream import watch
from tests.monitoring.world import START, make_endpoint

pytestmark = pytest.mark.django_db
ACTOR = service_actor("test")


@pytest.fixture
def rule():
    watch(make_endpoint())
    return Rule.objects.get(kind="accuracy")


def bearer(role: str, *scopes: str) -> dict[str, str]:
    user = create_user(
        username=role,
        email=f"{role}@example.org",
        full_name=role,
        password="long enough 4711",
        roles=[role],
        actor=ACTOR,
    )
    secret = "lg_0123abcd_" + role.ljust(32, "x")
    ApiToken.objects.create(name="t", owner=user, prefix=role[:8], sha256=token_digest(secret), scopes=list(scopes))
    return {"Authorization": f"Bearer {secret}"}


def test_new_limits_hold_from_then_on_and_the_change_is_on_record_with_its_reason(rule):
    change_rule(rule=rule, changes={"params": {"drop": 0.05}, "for_windows": 3}, reason="Too loud.", actor=ACTOR)

    rule.refresh_from_db()
    assert (rule.params, rule.for_windows) == ({"drop": 0.05, "alpha": 0.001}, 3)
    event = AuditEvent.objects.get(action="rule.change")
    assert event.target_id == str(rule.pk)
    assert b'"drop":"0.05"' in bytes(event.canon)


@pytest.mark.parametrize(
    ("changes", "reason", "sentence"),
    [
        ({"for_windows": 1}, " ", "Say why the rule is changed; the reason goes on record."),
        ({"for_windows": 0}, "r", "for_windows must be a whole number from 1 to 100."),
        ({"severity": 5}, "r", "severity must be a whole number from 1 to 4."),
        ({"enabled": "no"}, "r", "enabled must be true or false."),
        ({"kind": "latency"}, "r", "kind of a rule cannot be changed; "),
        ({"params": {"psi": 0.1}}, "r", "A rule of kind accuracy has no parameter psi; it has alpha, drop."),
        ({"params": {"drop": 0}}, "r", "drop must be a number from 0.001 to 0.5."),
        ({"params": {"drop": float("nan")}}, "r", "drop must be a number from 0.001 to 0.5."),
    ],
)
def test_a_change_that_makes_no_sense_is_refused_and_changes_nothing(rule, changes, reason, sentence):
    before = Rule.objects.filter(pk=rule.pk).values().get()

    with pytest.raises(Refused) as refused:
        change_rule(rule=rule, changes=changes, reason=reason, actor=ACTOR)

    assert str(refused.value).startswith(sentence)
    assert Rule.objects.filter(pk=rule.pk).values().get() == before
    assert not AuditEvent.objects.filter(action="rule.change").exists()


def test_switching_a_rule_off_ends_its_alert_with_the_reason_on_record(rule):
    alert = Alert.objects.create(
        fingerprint="f",
        source="rule",
        rule=rule,
        endpoint=rule.endpoint,
        version="1",
        summary="Worse.",
        started_at=START,
    )

    change_rule(rule=rule, changes={"enabled": False}, reason="Known.", actor=ACTOR)

    alert.refresh_from_db()
    assert alert.state == "resolved"
    assert b"The rule was switched off." in bytes(AuditEvent.objects.get(action="alert.resolve").canon)


def test_an_administrator_changes_a_rule_through_the_api(client: Client, rule):
    headers = bearer("administrator", "admin", "view")

    response = client.patch(
        f"/api/v1/rules/{rule.pk}/",
        data={"min_rows": 500, "reason": "More traffic now."},
        content_type="application/json",
        headers=headers,
    )

    assert response.status_code == 200
    assert response.json()["min_rows"] == 500
    assert response.json()["limits"].startswith("Breach when accuracy on labelled rows lies 3 points or more below")


def test_others_read_rules_and_may_not_change_them(client: Client, rule):
    headers = bearer("responder", "admin", "view")

    listed = client.get("/api/v1/rules/?endpoint=employment-production", headers=headers)
    refused = client.patch(
        f"/api/v1/rules/{rule.pk}/",
        data={"min_rows": 500, "reason": "r"},
        content_type="application/json",
        headers=headers,
    )

    assert listed.json()["count"] == 6
    assert refused.status_code == 403
    rule.refresh_from_db()
    assert rule.min_rows == 200


def test_a_refused_change_is_a_problem_that_says_why(client: Client, rule):
    response = client.patch(
        f"/api/v1/rules/{rule.pk}/",
        data={"for_windows": 0, "reason": "r"},
        content_type="application/json",
        headers=bearer("administrator", "admin"),
    )

    assert response.status_code == 400
    assert response.json()["detail"] == "for_windows must be a whole number from 1 to 100."
