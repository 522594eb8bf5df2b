import json
import re

import pytest
from django.test import Client

from accounts.actions import create_user
from audit.actions import service_actor
from monitoring import markers
from monitoring.models import Finding, Window
from monitoring.pull.models import Query, Source
from tests.monitoring.stream import play, watch
from tests.monitoring.world import START, WINDOW, make_endpoint, make_hosts, make_version, send, swap_codes

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}


def sign_in(client: Client, *roles: str) -> Client:
    user = create_user(
        username="vera",
        email="vera@example.org",
        full_name="Vera Viewer",
        password="a long enough secret 4711",
        roles=roles,
        actor=service_actor("test"),
    )
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def viewer(client: Client) -> Client:
    return sign_in(client, "viewer")


@pytest.fixture
def endpoint():
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1", "gpu-2", "gpu-3")
    make_version(endpoint, 1)
    make_version(endpoint, 2)
    watch(endpoint)
    for index in range(4):
        play(endpoint, hosts, index)

    for index in range(4, 6):
        play(endpoint, hosts, index, version=2, accuracy=0.7, change=swap_codes)
    return endpoint


def charts_url(endpoint, query=""):
    return f"/monitoring/endpoints/{endpoint.slug}/charts/{query}"


def figure(client, endpoint, name, query=""):
    return client.get(f"/monitoring/endpoints/{endpoint.slug}/figures/{name}.json{query}")


def test_the_part_holds_findings_limits_and_its_first_chart_and_the_places_of_the_others(viewer, endpoint):
    html = viewer.get(charts_url(endpoint), headers=HTMX).content.decode()

    assert "<html" not in html
    assert "Version 2 is right in " in html
    assert "The inputs of version 2 are unlike its training data in DIS, 1 of 16 columns." in html
    assert "Breach when a column&#x27;s PSI, less its sampling noise, reaches 0.2" in html
    assert "the reference raised" in html
    assert "in a row, at most about one false alarm in" in html
    assert 'id="accuracy-table"' in html
    places = re.findall(r'hx-get="[^"]*chart=([^"&]+)', html)
    assert places == re.findall(r'<a href="[^"]*chart=([^"&]+)', html)
    assert places == [
        "drift", "heat", "latency", "latency-fan", "hosts-latency", "hosts-accuracy", "accuracy-control",
        "distribution",
    ]  # fmt: skip


def test_a_chart_comes_alone_with_its_finding_and_table_as_a_part_and_as_a_page(viewer, endpoint):
    findings = {
        "drift": "DIS is unlike the training data of version 2.",
        "accuracy-control": "Accuracy of version 2 is out of control: 2 of 2 windows beyond 3 sigma.",
        "latency": "Time to answer inside of the host",
        "distribution": "beside the training data of version 2",
    }
    for name, finding in findings.items():
        address = charts_url(endpoint, f"?chart={name}")
        part, page = (viewer.get(address, headers=of).content.decode() for of in (HTMX, {}))
        assert page.startswith("<!doctype html>")
        assert "<html" not in part
        for html in (part, page):
            assert finding in html
            assert f'id="{name}-table"' in html
            assert html.count(f'id="{name}-figure"') == 1


def test_a_chart_without_data_in_the_span_says_so_and_an_unknown_one_is_404(viewer, endpoint):
    query = "?since=2020-01-01T00:00&until=2020-01-02T00:00&chart="

    html = viewer.get(charts_url(endpoint, f"{query}latency")).content.decode()

    assert "Latency by host: nothing was measured in this span." in html
    assert viewer.get(charts_url(endpoint, f"{query}metric-nonsense")).status_code == 404


def test_the_same_address_without_htmx_is_a_whole_page(viewer, endpoint):
    html = viewer.get(charts_url(endpoint)).content.decode()

    assert html.startswith("<!doctype html>")
    assert "plotly" in html


def test_nothing_new_is_answered_with_304_and_a_new_window_is_not(viewer, endpoint):
    first = viewer.get(charts_url(endpoint), headers=HTMX)

    again = viewer.get(charts_url(endpoint), headers={**HTMX, "If-None-Match": first["ETag"]})
    source = Source.objects.create(name="prometheus", address="http://127.0.0.1:1")
    Query.objects.create(source=source, endpoint=endpoint, name="errors", promql="errors", problem="It is away.")
    told = viewer.get(charts_url(endpoint), headers={**HTMX, "If-None-Match": first["ETag"]})
    play(endpoint, [], 6)
    later = viewer.get(charts_url(endpoint), headers={**HTMX, "If-None-Match": first["ETag"]})

    assert (first.status_code, again.status_code, later.status_code) == (200, 304, 200)
    assert "errors can&#x27;t be pulled: It is away." in told.content.decode()


def test_accuracy_has_a_trace_per_version_its_limit_and_the_versions_as_bands(viewer, endpoint):
    body = figure(viewer, endpoint, "accuracy").json()

    named = {trace["name"]: trace for trace in body["data"] if trace["name"]}
    assert sorted(named) == ["version 1", "version 2"]
    assert named["version 2"]["x"] == ["2026-11-21T12:05:00", "2026-11-21T12:06:00"]
    assert body["lastgood"]["limits"] == [{"y": 0.77, "label": "limit 77.0% (version 2)"}]
    assert [band["label"] for band in body["lastgood"]["bands"]] == ["version 1", "version 2"]


def test_the_distribution_of_a_column_stands_beside_its_training_data(viewer, endpoint):
    swapped = figure(viewer, endpoint, "distribution").json()["data"]
    age = figure(viewer, endpoint, "distribution", "?column=AGEP").json()["data"]

    reference, window = swapped
    assert reference["x"] == ["1", "2"]
    assert reference["y"][1] > 0.8
    assert window["y"][0] > 0.8
    assert sum(age[0]["y"]) == pytest.approx(1.0)
    assert sum(age[1]["y"]) == pytest.approx(1.0)


def test_latency_has_a_median_and_a_p95_for_each_host(viewer, endpoint):
    body = figure(viewer, endpoint, "latency").json()

    assert [t["name"] for t in body["data"]] == [f"gpu-{n} {q}" for n in (1, 2, 3) for q in ("p95", "median")]


def test_markers_of_floors_above_are_on_every_chart_over_time(viewer, endpoint, monkeypatch):
    monkeypatch.setattr(markers, "_providers", [])
    markers.register(lambda *_: [markers.Marker(START + 4 * WINDOW, "INC-1", "incident")])

    shown = [figure(viewer, endpoint, name).json()["lastgood"]["markers"] for name in ("accuracy", "drift", "latency")]

    assert shown == [[{"x": "2026-11-21T12:04:00", "label": "INC-1", "kind": "incident"}]] * 3


def test_an_endpoint_that_is_not_watched_says_so(viewer):
    html = viewer.get(charts_url(make_endpoint()), headers=HTMX).content.decode()

    assert "This endpoint is not watched." in html


def test_without_a_role_nothing_is_shown(client, endpoint):
    assert client.get(charts_url(endpoint)).status_code == 302
    sign_in(client)

    statuses = [
        client.get(url).status_code
        for url in (
            charts_url(endpoint),
            f"/monitoring/windows/{Window.objects.first().pk}/",
            "/monitoring/deliveries/",
        )
    ]

    assert statuses == [403, 403, 403]


def test_an_unknown_chart_or_endpoint_is_404(viewer, endpoint):
    assert figure(viewer, endpoint, "nonsense").status_code == 404
    assert viewer.get("/monitoring/endpoints/nowhere/charts/").status_code == 404


def test_the_windows_are_listed_with_what_was_found(viewer, endpoint):
    html = viewer.get(f"/monitoring/endpoints/{endpoint.slug}/windows/").content.decode()

    assert html.count("nothing beyond its limit") == 4
    assert html.count("The inputs of version 2 are unlike its training data in DIS") == 2


def test_a_window_shows_every_column_behind_its_answer(viewer, endpoint):
    window = Window.objects.first()

    html = viewer.get(f"/monitoring/windows/{window.pk}/").content.decode()

    assert "DIS drifted: PSI " in html
    assert "SEX has not drifted" in html
    assert "Importance" not in html


def test_a_window_shows_how_much_each_column_matters_where_that_is_known(viewer, endpoint):
    finding = Finding.objects.filter(rule__kind="input_drift").order_by("-window__start").first()
    columns = [{**column, "importance": 0.25} for column in finding.data["columns"]]
    Finding.objects.filter(pk=finding.pk).update(data={**finding.data, "columns": columns, "weighed": True})

    html = viewer.get(f"/monitoring/windows/{finding.window_id}/").content.decode()

    assert ">Importance</th>" in html
    assert html.count('<td class="num">0.25</td>') == 16


def test_deliveries_that_could_not_be_read_are_shown_with_the_reason(viewer):
    send("labels", json.dumps({"label": 1}).encode(), make_endpoint())

    html = viewer.get("/monitoring/deliveries/").content.decode()

    assert "Line 1 has no &quot;id&quot; of 1 to 64 characters." in html


def test_pages_ask_a_bounded_number_of_queries(viewer, endpoint, django_assert_max_num_queries):
    with django_assert_max_num_queries(60):
        viewer.get(charts_url(endpoint), headers=HTMX)
    with django_assert_max_num_queries(14):
        viewer.get(f"/monitoring/endpoints/{endpoint.slug}/windows/")
