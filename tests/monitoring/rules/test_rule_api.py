from datetime import timedelta

import pytest
from rest_framework.test import APIClient

from incidents.intake import take_alert
from monitoring import alerts
from monitoring.models import Alert
from monitoring.rules.models import AlertRule, Silence
from tests.monitoring.rules.test_rule_pages import person
from tests.monitoring.rules.world import ask, now, points, rule
from tests.monitoring.world import make_endpoint

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)


def api(*roles):
    client = APIClient()
    client.force_login(person("p" + "".join(roles), *roles), backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def endpoint(monkeypatch):
    monkeypatch.setattr(alerts, "gather_on_commit", lambda *_, **__: None)
    return make_endpoint()


def wanted(endpoint, **more):
    return {
        "endpoint": endpoint.slug, "name": "p95", "metric": "latency_p95_ms", "kind": "static",
        "params": {"limit": 10}, "window_seconds": 60, "for_seconds": 60, **more,
    }  # fmt: skip


def test_a_program_previews_makes_changes_and_retires_a_rule(endpoint):
    points(endpoint, [5, 12, 12, 12, 5], until=now() - 5 * MINUTE)
    client = api("administrator")

    seen = client.post("/api/v1/alert-rules/preview/", wanted(endpoint, clear_seconds=0), format="json").json()
    made = client.post("/api/v1/alert-rules/", wanted(endpoint), format="json").json()
    changed = client.patch(
        f"/api/v1/alert-rules/{made['id']}/", {"params": {"limit": 20}, "reason": "It grew."}, format="json"
    ).json()
    retired = client.post(f"/api/v1/alert-rules/{made['id']}/retire/", {"reason": "Not asked."}, format="json").json()
    again = client.post(f"/api/v1/alert-rules/{made['id']}/retire/", {"reason": "Not asked."}, format="json")

    assert [one["what"] for one in seen["firings"]] == ["fire"]
    assert seen["firings"][0]["began"] == (now() - 8 * MINUTE).isoformat().replace("+00:00", "Z")
    assert seen["sentence"].startswith("It would have fired once from ")
    assert (made["delay_seconds"], made["params"]["direction"]) == (60, "above")
    assert (changed["params"]["limit"], changed["revision"]) == (20.0, 2)
    assert retired["retired_at"] is not None
    assert (again.status_code, again.json()["type"]) == (409, "/problems/already-retired")
    assert AlertRule.objects.count() == 1


def test_one_rule_says_how_often_it_raises_false_alarms_and_a_list_and_a_retired_one_do_not(endpoint):
    # given two days of a value that is beyond its limit for a minute, once
    points(endpoint, [5] * 1440 + [12] + [5] * 1440, until=now())
    client, asked = api("administrator"), rule(endpoint)

    one = client.get(f"/api/v1/alert-rules/{asked.pk}/").json()
    [listed] = client.get("/api/v1/alert-rules/").json()["results"]
    client.post(f"/api/v1/alert-rules/{asked.pk}/retire/", {"reason": "Not asked."}, format="json")
    retired = client.get(f"/api/v1/alert-rules/{asked.pk}/").json()

    [said] = one["false_alarms"]
    assert said.startswith(
        "Run over its own past, 2 d 1 min with data and without trouble, it raised 1 alarm: about one"
    )
    assert "false_alarms" not in listed
    assert retired["false_alarms"] == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"window_seconds": 90}, "The window must be whole minutes: metrics are judged by what each minute came to."),
        ({"means_host_down": True}, "Only a rule that judges each host by itself can say that a host is down."),
        (
            {"subject": "finding"},
            "There is no detector latency_p95_ms; there are accuracy, input_drift, output_drift, latency, "
                "joint_drift, concept_drift.",
        ),
        (
            {"kind": "control", "scope": "hosts"},
            "A control chart is of the endpoint as a whole: its limits come from one series.",
        ),
        ({"severity": 9}, "severity must be a whole number from 1 to 4."),
        ({"reduce": "median"}, "reduce must be one of mean, high, low, sum."),
    ],
)  # fmt: skip
def test_a_rule_that_cannot_be_is_refused_with_a_sentence(endpoint, more, said):
    refused = api("administrator").post("/api/v1/alert-rules/", wanted(endpoint, **more), format="json")

    assert (refused.status_code, refused.json()["type"]) == (400, "/problems/alert-rule-refused")
    assert refused.json()["detail"] == said
    assert AlertRule.objects.count() == 0


def test_two_rules_of_an_endpoint_have_two_names(endpoint):
    client = api("administrator")
    client.post("/api/v1/alert-rules/", wanted(endpoint), format="json")

    refused = client.post("/api/v1/alert-rules/", wanted(endpoint), format="json")

    assert refused.json()["detail"] == "employment-production has a rule called p95. Give this one another name."
    assert AlertRule.objects.count() == 1


def test_a_responder_silences_and_sees_what_is_held_back(endpoint):
    client = api("responder")
    body = {"matchers": {"endpoint": endpoint.slug}, "reason": "Moving.", "ends_at": now() + timedelta(hours=1)}
    made = client.post("/api/v1/silences/", body, format="json").json()
    points(endpoint, [12], until=now())
    ask(rule(endpoint), since=now() - MINUTE)

    held = client.get("/api/v1/alerts/", {"suppressed_by": f"silence:{made['id']}"}).json()["results"]
    ended = client.post(f"/api/v1/silences/{made['id']}/end/").json()
    again = client.post(f"/api/v1/silences/{made['id']}/end/")

    assert [one["summary"] for one in held] == ["p95 of latency: latency_p95_ms is 12, above 10."]
    assert ended["ends_at"] < made["ends_at"]
    assert again.json()["type"] == "/problems/silence-over"
    assert Silence.objects.count() == 1


def test_an_incidents_evidence_has_the_value_against_its_limit_and_what_was_live(endpoint):
    points(endpoint, [12], until=now())
    ask(rule(endpoint), since=now() - MINUTE)

    incident = take_alert(alert_id=Alert.objects.get().pk)

    claim = incident.evidence.get(kind="rule")
    assert claim.claim == "p95 of latency: latency_p95_ms is 12, above 10."
    assert (claim.data["value"], claim.data["high"], claim.data["low"]) == ("12.0", "10.0", "")
    assert claim.data["alert"] == Alert.objects.get().pk
