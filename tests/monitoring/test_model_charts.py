"""A model's page draws its versions over time, on whichever endpoint they answered."""

import csv
import io
import re
from html import unescape

import pytest
from django.urls import reverse

from monitoring.model_charts import CHARTS, model_span
from monitoring.models import Alert, MetricPoint
from monitoring.reading import PointRow
from monitoring.series import keep_points
from registry.models import Endpoint, Host, Model
from tests.monitoring.standing import standing
from tests.monitoring.stream import play, watch
from tests.monitoring.test_pages import sign_in
from tests.monitoring.world import START, WINDOW, make_endpoint, make_hosts, make_version

MINUTES = "%Y-%m-%dT%H:%M"
SPAN = {"since": f"{START:{MINUTES}}", "until": f"{START + 6 * WINDOW:{MINUTES}}"}


@pytest.fixture(scope="module")
def made(django_db_setup, django_db_blocker, tmp_path_factory):
    """Version 1 for three windows, version 2 for two, in production; version 2 alone in staging."""
    with standing(django_db_blocker, tmp_path_factory):
        endpoint, hosts = make_endpoint(), make_hosts("h1", "h2")
        make_version(endpoint, 1)
        make_version(endpoint, 2)
        staging = make_endpoint("employment-staging")
        Endpoint.objects.filter(pk=staging.pk).update(environment="staging")
        for one in (endpoint, staging):
            watch(one)
        for index in range(3):
            play(endpoint, hosts[:1], index, rows=400, accuracy=0.9)
        for index in range(3, 5):
            play(endpoint, hosts[:1], index, rows=400, version=2, accuracy=0.6)
        play(staging, hosts[1:], 4, rows=400, version=2, accuracy=0.7)
        yield endpoint.model


@pytest.fixture
def model(made, db):
    return Model.objects.get(pk=made.pk)


@pytest.fixture
def over(model):
    return model_span(model, START, START + 6 * WINDOW)


def test_each_version_has_a_line_on_each_of_its_endpoints_and_a_row_with_its_interval(over):
    chart = CHARTS["model-accuracy"](over)

    lines = [trace["name"] for trace in chart.figure["data"] if trace["name"]]
    assert lines == [
        "version 1, employment-production",
        "version 2, employment-production",
        "version 2, employment-staging",
    ]
    modes = [trace["mode"] for trace in chart.figure["data"] if trace["name"]]
    assert modes == ["lines", "lines", "lines+markers"], "a line of one point would not be seen"
    rows = {tuple(row[:2]): row for row in chart.table["rows"]}
    points = MetricPoint.objects.filter(series__name="accuracy", series__host=None, series__version="1")
    share = sum(point.value * point.n for point in points) / 1200
    assert rows["1", "employment-production"][4:] == [f"{share:.1%}", rows["1", "employment-production"][5], "1,200"]
    assert rows["2", "employment-production"][6] == "800"
    assert chart.title.startswith(
        f"Right of labelled answers over the span: version 1, employment-production {share:.1%};"
    )


def test_bands_are_what_production_served_and_markers_name_their_endpoint(over):
    Alert.objects.filter(rule__kind="accuracy").update(fired_at=START + 5 * WINDOW)

    extras = CHARTS["model-accuracy"](over).figure["lastgood"]

    assert [band["label"] for band in extras["bands"]] == ["version 1", "version 2"]
    assert [one["label"] for one in extras["markers"] if one["kind"] == "alert"] == [
        "alert: accuracy (employment-production)"
    ]


def test_the_largest_drift_names_its_input(over):
    chart = CHARTS["model-drift"](over)

    top = max(MetricPoint.objects.filter(series__name="psi").select_related("series"), key=lambda one: one.value)
    assert f"{top.series.column}, PSI {top.value:.2f}, of version {top.series.version}" in chart.title
    assert len(chart.figure["data"][0]["x"]) == 3


def test_every_trace_is_small(over, monkeypatch):
    for make in CHARTS.values():
        for trace in make(over).figure["data"]:
            assert len(trace["x"]) == len(trace["y"]) <= 4000


def test_the_models_page_holds_the_charts_and_the_address_names_the_span(model, client):
    sign_in(client, "viewer")
    address = reverse("model-charts", args=[model.slug])

    Model.objects.create(slug="new", name="New", team="ml")
    page = unescape(client.get(reverse("model-detail", args=["new"]), SPAN).content.decode())
    assert f'hx-get="/monitoring/models/new/charts/?since={SPAN["since"].replace(":", "%3A")}' in page
    assert "js/charts.js" in page

    part = unescape(client.get(address, SPAN, HTTP_HX_REQUEST="true").content.decode())
    assert "<html" not in part
    assert 'id="model-accuracy"' in part
    assert f'data-query="since={SPAN["since"].replace(":", "%3A")}' in part
    for name in ("model-drift", "model-latency", "model-answers"):
        alone = client.get(address, {**SPAN, "chart": name}, HTTP_HX_REQUEST="true").content.decode()
        assert f'id="{name}-figure"' in alone or f'id="{name}"' in alone
        assert "<figure" in alone
        assert "<html" in client.get(address, {**SPAN, "chart": name}).content.decode()


def test_each_chart_is_taken_away_as_json_and_as_csv(model, client):
    sign_in(client, "viewer")

    figure = client.get(reverse("model-figure", args=[model.slug, "model-accuracy"]), SPAN).json()
    answer = client.get(reverse("model-numbers", args=[model.slug, "model-accuracy"]), SPAN)

    assert answer["Content-Disposition"] == 'attachment; filename="employment-model-accuracy.csv"'
    rows = list(csv.reader(io.StringIO(answer.content.decode())))
    assert rows[0] == ["line", "x", "y"]
    assert len(rows) - 1 == sum(len(trace["x"]) for trace in figure["data"])
    assert client.get(reverse("model-numbers", args=[model.slug, "model-nothing"]), SPAN).status_code == 404
    assert client.get(reverse("model-charts", args=[model.slug]), {"chart": "nothing"}).status_code == 404
    assert client.get(reverse("model-charts", args=["nobody"])).status_code == 404


def test_the_page_shows_hosts_and_inputs_of_one_endpoint_and_leads_to_those_of_the_others(model, client):
    sign_in(client, "viewer")
    address = reverse("model-charts", args=[model.slug])
    staging = {**SPAN, "endpoint": "employment-staging"}

    def figure(name, asked):
        return client.get(reverse("model-figure", args=[model.slug, name]), asked)

    part = unescape(client.get(address, SPAN, HTTP_HX_REQUEST="true").content.decode())
    other = unescape(client.get(address, staging, HTTP_HX_REQUEST="true").content.decode())

    places = re.findall(r'<div class="chart" id="([^"]+)"', part)
    assert places == ["model-drift", "model-latency", "model-answers", "heat", "latency-fan", "distribution"]
    assert "Hosts and inputs of employment-production" in part
    assert f"{reverse('monitoring-compare', args=['employment-production'])}?a_since=" in part
    assert "&endpoint=employment-staging" in part
    assert "Hosts and inputs of employment-staging" in other
    # three windows of version 1 and two of version 2 in production, one window in staging
    assert [len(figure("heat", asked).json()["data"][0]["x"]) for asked in (SPAN, staging)] == [5, 1]
    alone = client.get(address, {**SPAN, "chart": "latency-fan"}, HTTP_HX_REQUEST="true").content.decode()
    assert f'href="/monitoring/models/{model.slug}/figures/latency-fan.csv?since=' in alone
    assert f'data-group="{model.slug}"' in alone
    assert figure("accuracy-control", SPAN).status_code == 404
    Model.objects.create(slug="new", name="New", team="ml")
    assert client.get(reverse("model-figure", args=["new", "heat"])).status_code == 404


def test_the_gpus_of_its_hosts_are_on_the_models_page(model, client):
    sign_in(client, "viewer")
    endpoint, host = Endpoint.objects.get(slug="employment-production"), Host.objects.get(name="h1")
    rows = [
        PointRow("gpu_memory_used_bytes", START + step * WINDOW, 2.0**36, 1, "h1", "", "gpu=0", "bytes")
        for step in (1, 2)
    ]
    keep_points(endpoint, host, rows)

    chart = client.get(reverse("model-charts", args=[model.slug]), {**SPAN, "chart": "metric-gpu_memory_used_bytes"})

    assert "GPU memory used: 64 GiB at the latest, h1 gpu=0." in unescape(chart.content.decode())


def test_a_span_without_data_and_a_model_without_an_endpoint_say_so(model, client):
    sign_in(client, "viewer")
    Model.objects.create(slug="new", name="New", team="ml")

    empty = client.get(reverse("model-charts", args=[model.slug]), {"hours": 1}).content.decode()
    new = client.get(reverse("model-charts", args=["new"])).content.decode()
    crooked = client.get(reverse("model-charts", args=[model.slug]), {"since": "x", "until": "y"}).content.decode()

    assert "Accuracy by version: nothing was measured in this span." in empty
    assert "This model has no endpoint yet: nothing was measured of its versions." in new
    assert "A span needs a beginning and an end" in crooked
    assert client.get(reverse("model-figure", args=["new", "model-accuracy"])).status_code == 404


def test_the_part_asks_a_bounded_number_of_queries(model, client, django_assert_max_num_queries):
    sign_in(client, "viewer")
    address = reverse("model-charts", args=[model.slug])
    client.get(address, SPAN)
    with django_assert_max_num_queries(30):
        client.get(address, SPAN, HTTP_HX_REQUEST="true")
