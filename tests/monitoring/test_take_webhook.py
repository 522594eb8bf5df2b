import itertools
import json
from pathlib import Path

import pytest
from django.test import Client

from audit.models import AuditEvent, AuditPrivate
from monitoring import alerts, intake
from monitoring.models import Alert, Delivery, DeliveryState
from registry.models import Endpoint, Model
from tests.monitoring.world import ingest_token, make_endpoint, send

pytestmark = pytest.mark.django_db
VECTORS = Path(__file__).parent / "vectors"
FIRING, RESOLVED = ((VECTORS / f"alertmanager-{name}.json").read_bytes() for name in ("firing", "resolved"))


@pytest.fixture
def told(monkeypatch):
    tasks = []
    monkeypatch.setattr(alerts, "gather_on_commit", lambda task, args, queue: tasks.append(task))
    return tasks


def take(body: bytes) -> Delivery:
    return send("alertmanager", body, None, sender="prometheus")


def states():
    return list(Alert.objects.values_list("state", flat=True))


def test_a_webhook_comes_through_the_api_and_becomes_an_alert(client: Client, told):
    headers = {"Authorization": f"Bearer {ingest_token()}"}
    url = "/api/v1/ingest/alertmanager/prometheus/"

    response = client.post(url, data=FIRING, content_type="application/json", headers=headers)
    intake.process(Delivery.objects.get().pk)

    assert response.status_code == 202
    alert = Alert.objects.get()
    assert (alert.source, alert.state, alert.severity, alert.version) == ("alertmanager", "firing", 1, "2")
    assert alert.summary == "Model fraud v2 error ratio 0.31"
    assert alert.started_at.isoformat() == "2026-11-21T12:10:03.892000+00:00"
    assert alert.labels["instance"] == "127.0.0.1:28501"
    assert told == ["incidents.take_alert"]
    event = AuditEvent.objects.get(action="alert.fire")
    assert event.target_id == str(alert.pk)
    assert b"error ratio" not in bytes(event.canon)
    assert AuditPrivate.objects.get(event=event).text == "Model fraud v2 error ratio 0.31"


def test_it_is_about_the_production_endpoint_of_the_model_that_it_names(told):
    model = Model.objects.create(slug="fraud", name="Fraud", team="ml")
    production = Endpoint.objects.create(slug="fraud-production", name="Fraud", model=model)
    Endpoint.objects.create(slug="fraud-staging", name="Fraud", model=model, environment="staging")

    take(FIRING)

    assert Alert.objects.get().endpoint == production


def test_an_endpoint_label_names_it_outright(told):
    endpoint = make_endpoint()
    body = json.loads(FIRING)
    body["alerts"][0]["labels"]["endpoint"] = endpoint.slug

    take(json.dumps(body).encode())

    assert Alert.objects.get().endpoint == endpoint


def test_the_resolved_message_resolves_it(told):
    take(FIRING)
    take(RESOLVED)

    alert = Alert.objects.get()
    assert (alert.state, alert.ended_at.isoformat()) == ("resolved", "2026-11-21T12:10:06.892000+00:00")
    assert told == ["incidents.take_alert", "incidents.alert_resolved"]


def test_every_order_and_repetition_comes_to_one_resolved_alert(told):
    repeated = FIRING.replace(b'"truncatedAlerts": 0', b'"truncatedAlerts": 1')
    for number, order in enumerate(itertools.permutations([FIRING, repeated, RESOLVED])):
        sender = f"prometheus-{number}"
        for body in [*order, *order]:
            send("alertmanager", body, None, sender=sender)

        found = Alert.objects.filter(fingerprint=alerts.fingerprint("alertmanager", sender, "f7faa8235e867499"))
        assert [alert.state for alert in found] == ["resolved"], order


def test_resolved_before_firing_opens_nothing(told):
    take(RESOLVED)
    take(FIRING)

    assert states() == ["resolved"]
    assert told == []


def test_the_same_alert_firing_anew_is_a_new_alert(told):
    take(FIRING)
    take(RESOLVED)

    take(FIRING.replace(b"2026-11-21T12:10:03.892Z", b"2026-11-21T13:00:00Z"))

    assert sorted(states()) == ["firing", "resolved"]


def test_two_senders_do_not_share_alerts(told):
    take(FIRING)
    send("alertmanager", FIRING, None, sender="grafana")

    assert Alert.objects.count() == 2


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"{", "The body is not JSON: "),
        (b'{"version": "4"}', 'The body is not a webhook of Alertmanager: it has no list "alerts".'),
        (
            FIRING.replace(b'"status": "firing",\n            "labels"', b'"status": "odd", "labels"'),
            "In alert 1 the status",
        ),
        (FIRING.replace(b"2026-11-21T12:10:03.892Z", b"yesterday"), "In alert 1 the time 'yesterday' is not"),
    ],
)
def test_a_webhook_that_cannot_be_read_is_kept_with_the_reason_and_fires_nothing(body, error, told):
    delivery = take(body)

    assert delivery.state == DeliveryState.UNPARSEABLE
    assert delivery.error.startswith(error)
    assert bytes(delivery.body) == body
    assert not Alert.objects.exists()
    assert told == []
