"""Pages of endpoints, models and versions, as signed-in people get them."""

import re
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.actions import create_user
from accounts.models import User
from audit.actions import service_actor
from registry import actions
from registry.models import Deployment, Endpoint, Health, Placement, Version
from tests.registry.world import (
    ALICE,
    events,
    make_endpoint,
    make_placement,
    make_registered_model,
    make_version,
    switched,
)

pytestmark = pytest.mark.django_db


def person(*roles: str, name: str = "mara") -> User:
    return create_user(
        username=name,
        email=f"{name}@example.org",
        full_name="Mara Lindqvist",
        password="correct horse battery",
        roles=roles,
        actor=service_actor("test"),
    )


@pytest.fixture
def viewer(client: Client) -> Client:
    client.force_login(person("viewer"), backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def commander(client: Client) -> Client:
    client.force_login(person("commander"), backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def endpoint(tmp_path: Path) -> Endpoint:
    """Version 2 is live on three hosts, one of which is unreachable; version 1 was live before."""
    model = make_registered_model()
    first, _ = make_version(model, tmp_path, seed=1, metrics={"holdout": {"accuracy": 0.8125}})
    second, _ = make_version(
        model, tmp_path, seed=2, metrics={"holdout": {"accuracy": 0.79}}, parents=[(first, "retrained")]
    )
    endpoint = make_endpoint(model)
    for name in ("gpu-a1", "gpu-b1", "gpu-b2"):
        placement = make_placement(endpoint, name=name)
        switched(placement, first)
        switched(placement, second)
    Placement.objects.update(health=Health.SERVING, observed_version="2", observed_digest=second.digest)
    Placement.objects.filter(host__name="gpu-b2").update(health=Health.UNREACHABLE, health_reason="No connection.")
    endpoint.refresh_from_db()
    return endpoint


def headline(html: str) -> str:
    found = re.search(r"<h1[^>]*>(.*?)</h1>", html, re.DOTALL)
    assert found is not None
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", found[1])).strip()


def test_the_endpoints_page_says_first_which_endpoint_does_not_serve_as_it_should(
    viewer: Client, endpoint: Endpoint
) -> None:
    html = viewer.get("/endpoints/").content.decode()

    assert headline(html) == "toy-production serves version 2 on 2 of 3 hosts; gpu-b2 is unreachable."


def test_the_endpoint_page_shows_each_host_with_what_it_shall_and_does_serve(
    viewer: Client, endpoint: Endpoint
) -> None:
    response = viewer.get("/endpoints/toy-production/")
    html = response.content.decode()

    assert response.status_code == 200
    assert headline(html) == "toy-production serves version 2 on 2 of 3 hosts; gpu-b2 is unreachable."
    assert html.count('<th scope="row">gpu-') == 3
    assert "No connection." in html
    assert 'hx-get="/monitoring/endpoints/toy-production/charts/"' in html
    assert html.count(">live</span>") == 3
    assert "Freeze" not in html


@pytest.mark.parametrize("hosts", [3, 8])
def test_the_endpoint_page_costs_the_same_queries_for_three_hosts_as_for_eight(
    viewer: Client, endpoint: Endpoint, hosts: int
) -> None:
    version = Version.objects.get(number=2)
    for number in range(hosts - 3):
        switched(make_placement(endpoint, name=f"gpu-c{number}"), version)

    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert viewer.get("/endpoints/toy-production/").status_code == 200

    assert len(captured) == 9


def test_the_models_page_costs_the_same_queries_for_one_model_as_for_four(viewer: Client, endpoint: Endpoint) -> None:
    viewer.get("/models/")
    with CaptureQueriesContext(connection) as one:
        viewer.get("/models/")
    for slug in ("pay", "fraud", "churn"):
        make_registered_model(slug)

    with CaptureQueriesContext(connection) as four:
        assert viewer.get("/models/").status_code == 200

    assert len(four) == len(one)


def test_the_placements_part_is_a_304_until_something_changes(viewer: Client, endpoint: Endpoint) -> None:
    first = viewer.get("/endpoints/toy-production/placements/")
    etag = first.headers["ETag"]

    same = viewer.get("/endpoints/toy-production/placements/", headers={"If-None-Match": etag})
    switched(Placement.objects.first(), Version.objects.get(number=1))
    changed = viewer.get("/endpoints/toy-production/placements/", headers={"If-None-Match": etag})

    assert (same.status_code, same.content) == (304, b"")
    assert changed.status_code == 200
    assert changed.headers["ETag"] != etag
    assert 'data-live="1"' in changed.content.decode()


def test_a_changed_role_changes_the_etag(viewer: Client, endpoint: Endpoint) -> None:
    from accounts.actions import grant_role

    etag = viewer.get("/endpoints/toy-production/placements/").headers["ETag"]
    grant_role(user=User.objects.get(username="mara"), role="commander", granted_by=None, actor=service_actor("test"))

    answer = viewer.get("/endpoints/toy-production/placements/", headers={"If-None-Match": etag})

    assert answer.status_code == 200


def test_what_was_live_at_a_moment_is_one_question(viewer: Client, endpoint: Endpoint) -> None:
    span = Deployment.objects.filter(version__number=1).first()
    moment = span.since.strftime("%Y-%m-%dT%H:%M:%S")

    html = viewer.get("/endpoints/toy-production/", {"at": "2020-01-01T00:00"}).content.decode()
    now = viewer.get("/endpoints/toy-production/", {"at": moment})

    assert "Nothing was live at that moment." in html
    assert now.status_code == 200


def test_the_model_page_says_what_is_live_and_compares_the_two_newest_versions(
    viewer: Client, endpoint: Endpoint
) -> None:
    html = viewer.get("/models/toy/").content.decode()

    assert headline(html) == "Toy is live with version 2; no version is last-good yet."
    assert "81.2\u202f%" in html or "81.3\u202f%" in html
    assert "retrained from version 1" in html
    assert "Versions 1 and 2 differ in 2 things" in html
    assert "weights/weights.safetensors" in html
    assert "toy-production</a> (3 hosts)" in html


def test_a_version_page_shows_its_files_and_renders_documentation_without_what_could_act(
    viewer: Client, tmp_path: Path
) -> None:
    model = make_registered_model()
    make_version(model, tmp_path, documentation="# Card\n\n<script>alert(1)</script> [x](javascript:alert(1)) *fine*")

    html = viewer.get("/models/toy/1/").content.decode()

    assert "<h2>Card</h2>" in html
    assert "<em>fine</em>" in html
    assert "<script>alert" not in html
    assert 'href="javascript' not in html
    assert "weights.safetensors" in html


def test_a_quarantined_version_says_so_first(viewer: Client, tmp_path: Path) -> None:
    version, _ = make_version(make_registered_model(), tmp_path)
    actions.quarantine(version=version, reason="It swaps two codes.", actor=ALICE)

    html = viewer.get("/models/toy/1/").content.decode()

    assert headline(html) == "Version 1 of Toy is quarantined: It swaps two codes."


def test_a_commander_freezes_an_endpoint_and_lifts_the_freeze(commander: Client, endpoint: Endpoint) -> None:
    answer = commander.post(
        "/endpoints/toy-production/freeze/", {"hours": 2, "reason": "Under investigation."}, follow=True
    )
    window = endpoint.freezes.get()

    assert window.reason == "Under investigation."
    assert "Changes of this endpoint are frozen." in answer.content.decode()

    commander.post("/endpoints/toy-production/lift/", {"window": window.pk, "reason": "Found it."})

    assert endpoint.freeze_at(timezone.now()) is None
    assert [len(events(name)) for name in ("endpoint.freeze", "endpoint.lift")] == [1, 1]


def test_each_freeze_is_listed_with_who_and_why_and_lifted_by_its_own_button(
    commander: Client, endpoint: Endpoint
) -> None:
    for hours, reason in ((0, "Under investigation."), (3, "The fair.")):
        commander.post("/endpoints/toy-production/freeze/", {"hours": 2, "in_hours": hours, "reason": reason})
    first, second = endpoint.freezes.order_by("pk")

    html = commander.get("/endpoints/toy-production/").content.decode()
    commander.post("/endpoints/toy-production/lift/", {"window": first.pk, "reason": "Found it."})

    rows = html.partition('id="freezes"')[2].partition("</table>")[0].partition("<tbody>")[2].split("<tr>")[1:]
    assert [re.search(r'<th scope="row">(.*?)</th><td>(.*?)</td>', row).groups() for row in rows] == [
        ("Under investigation.", "Mara Lindqvist"), ("The fair.", "Mara Lindqvist"),
    ]  # fmt: skip
    assert [re.findall(r'name="window" value="(\d+)"', row) for row in rows] == [[str(first.pk)], [str(second.pk)]]
    assert endpoint.freezes.get(lifted_at=None) == second
    after = commander.get("/endpoints/toy-production/").content.decode()
    assert "Changes of this endpoint are frozen." not in after
    assert f"Changes will be frozen from {second.starts:%Y-%m-%d %H:%M} UTC on." in after


def test_a_viewer_may_not_freeze_and_the_attempt_is_on_record(viewer: Client, endpoint: Endpoint) -> None:
    answer = viewer.post("/endpoints/toy-production/freeze/", {"hours": 2, "reason": "I want to."})

    assert answer.status_code == 403
    assert not endpoint.freezes.exists()
    assert [event["target"]["id"] for event in events("access.deny")] == ["incident.command"]


def test_a_commander_drains_a_host_and_the_sentence_no_longer_counts_it(commander: Client, endpoint: Endpoint) -> None:
    commander.post("/endpoints/toy-production/hosts/gpu-b2/drain/", {"reason": "Its network card fails."})

    html = commander.get("/endpoints/toy-production/").content.decode()

    assert headline(html) == "toy-production serves version 2 on 2 of 2 hosts."
    assert ">drained</span>" in html


def test_nothing_changes_without_a_reason(commander: Client, endpoint: Endpoint) -> None:
    answer = commander.post("/endpoints/toy-production/hosts/gpu-b2/drain/", {"reason": ""}, follow=True)

    assert "Nothing was changed." in answer.content.decode()
    assert events("host.drain") == []


def test_somebody_without_a_role_sees_no_endpoint(client: Client, endpoint: Endpoint) -> None:
    client.force_login(person(), backend="django.contrib.auth.backends.ModelBackend")

    assert client.get("/endpoints/toy-production/").status_code == 403


def test_somebody_not_signed_in_is_sent_to_sign_in(client: Client, endpoint: Endpoint) -> None:
    answer = client.get("/endpoints/toy-production/")

    assert answer.status_code == 302
    assert answer.headers["Location"].startswith("/accounts/login/")


@pytest.mark.parametrize("address", ["/endpoints/", "/models/"])
def test_with_nothing_registered_the_page_says_what_would_be_here(viewer: Client, address: str) -> None:
    answer = viewer.get(address)

    assert answer.status_code == 200
    assert "through the API" in answer.content.decode()
