from datetime import timedelta

import pytest
from django.test import Client

from accounts.actions import create_user, token_digest
from accounts.models import ApiToken
from audit.actions import service_actor
from tests.monitoring.stream import play, watch
from tests.monitoring.world import START, make_endpoint, make_hosts, make_version

pytestmark = pytest.mark.django_db


@pytest.fixture
def bearer():
    owner = create_user(
        username="vera",
        email="vera@example.org",
        full_name="Vera",
        password="long enough 4711",
        roles=["viewer"],
        actor=service_actor("test"),
    )
    secret = "lg_0123abcd_" + "v" * 32
    ApiToken.objects.create(name="t", owner=owner, prefix="0123abcd", sha256=token_digest(secret), scopes=["view"])
    return {"Authorization": f"Bearer {secret}"}


@pytest.fixture
def endpoint():
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1", "gpu-2")
    make_version(endpoint, 1)
    watch(endpoint)
    for index, accuracy in enumerate([0.8, 0.6, 0.6]):
        play(endpoint, hosts, index, accuracy=accuracy)
    return endpoint


def read(client: Client, path: str, bearer) -> list[dict]:
    response = client.get(f"/api/v1/{path}", headers=bearer)
    assert response.status_code == 200
    return response.json()["results"]


def test_windows_come_newest_first_and_by_span(client, bearer, endpoint):
    everything = read(client, "windows/?endpoint=employment-production", bearer)
    since = (START + timedelta(seconds=60)).strftime("%Y-%m-%dT%H:%M:%SZ")
    later = read(client, f"windows/?since={since}", bearer)

    assert [window["start"] for window in everything] == [f"2026-11-21T12:0{minute}:00Z" for minute in (2, 1, 0)]
    assert everything[0] | {"id": 0, "judged_at": "", "due_at": ""} == {
        "id": 0,
        "endpoint": "employment-production",
        "start": "2026-11-21T12:02:00Z",
        "end": "2026-11-21T12:03:00Z",
        "state": "judged",
        "rows": 600,
        "labelled": 600,
        "due_at": "",
        "judged_at": "",
    }
    assert len(later) == 2


def test_findings_can_be_asked_for_by_rule_and_answer(client, bearer, endpoint):
    found = read(client, "findings/?rule=accuracy&answer=breach", bearer)

    assert {finding["start"] for finding in found} == {"2026-11-21T12:01:00Z", "2026-11-21T12:02:00Z"}
    assert {finding["host"] for finding in found} == {None, "gpu-1", "gpu-2"}
    assert all(finding["sentence"].startswith("Version 1 ") for finding in found)


def test_alerts_say_since_when_and_where(client, bearer, endpoint):
    found = {alert["rule"]: alert for alert in read(client, "alerts/?state=firing", bearer)}

    assert set(found) == {"accuracy", "concept_drift"}
    alert = found["accuracy"]

    assert (alert["rule"], alert["endpoint"], alert["version"]) == ("accuracy", "employment-production", "1")
    assert alert["started_at"] == "2026-11-21T12:01:00Z"
    assert alert["labels"]["hosts"] == ["gpu-1", "gpu-2"]


def test_metric_points_can_be_asked_for_by_name_and_host(client, bearer, endpoint):
    points = read(client, "metrics/?name=rows&host=gpu-2", bearer)

    assert [point["value"] for point in points] == [300.0, 300.0, 300.0]
    assert points[0]["at"] == "2026-11-21T12:03:00Z"


@pytest.mark.parametrize(("name", "ends"), [("minute", ["12:03", "12:02", "12:01"]), ("hour", ["13:00"])])
def test_what_minutes_and_hours_come_to_can_be_asked_for_with_quantiles(client, bearer, endpoint, name, ends):
    found = read(client, f"metrics-by-{name}/?name=rows&host=gpu-2&since=2026-11-21T12:00:00Z", bearer)

    assert [one["end"] for one in found] == [f"2026-11-21T{end}:00Z" for end in ends]
    assert sum(one["count"] for one in found) == 3
    assert {(one["low"], one["high"], one["last"], one["host"]) for one in found} == {(300.0, 300.0, 300.0, "gpu-2")}
    assert found[0]["p95"] == pytest.approx(300, rel=0.01)


def test_a_token_without_the_scope_reads_nothing(client, bearer, endpoint):
    ApiToken.objects.update(scopes=["ingest"])

    statuses = [client.get(f"/api/v1/{name}/", headers=bearer).status_code for name in ("windows", "alerts", "metrics")]

    assert statuses == [403, 403, 403]
