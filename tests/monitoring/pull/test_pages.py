"""Administrators name sources and what is pulled from them by page and by API; responders ask once for a chart."""

import pytest
from django.core.cache import cache

from accounts.models import User
from monitoring.pull.models import Query, Scrape, Source
from registry.models import Endpoint, Host
from tests.accounts.people import person, recorded
from tests.accounts.test_approval_pages import browser, text_of
from tests.api.programs import Program
from tests.monitoring.pull.prometheus import Server
from tests.monitoring.world import make_endpoint, make_hosts

pytestmark = pytest.mark.django_db
PAGE = "/monitoring/sources/"


@pytest.fixture
def ada() -> User:
    cache.clear()
    return person("ada", "administrator")


@pytest.fixture
def endpoint() -> Endpoint:
    make_hosts("gpu-a1")
    return make_endpoint()


def test_a_source_is_named_a_metric_pulled_and_both_ended(ada: User, server: Server, endpoint: Endpoint) -> None:
    client = browser(ada)
    server.series = [({"job": "triton"}, lambda at: 4.0)]
    named = client.post(
        PAGE, {"name": "prom", "address": server.url, "credential": "bearer", "secret": "tok-4711"}, follow=True
    )
    assert "0 metrics are pulled from prom." in text_of(named)
    wanted = {"endpoint": endpoint.slug, "name": "queue", "promql": "sum(queue)", "step_seconds": "60", "unit": ""}
    assert "1 metric is pulled from prom." in text_of(client.post(f"{PAGE}prom/query/", wanted, follow=True))
    assert "pulls queue already" in text_of(client.post(f"{PAGE}prom/query/", wanted, follow=True))
    [query] = Query.objects.all()
    client.post(f"/monitoring/queries/{query.pk}/end/")
    client.post(f"{PAGE}prom/end/")
    source = Source.objects.get()
    assert (source.ended_at is not None, bytes(source.secret_sealed)) == (True, b"")
    assert "tok-4711" not in text_of(client.get(f"{PAGE}prom/")) + text_of(client.get(PAGE))
    assert [len(recorded(f"metric_{what}")) for what in ("source.create", "query.create", "query.end")] == [1, 1, 1]
    assert "A credential" not in text_of(client.post(PAGE, {"name": "a b"}))
    assert Source.objects.count() == 1


def test_an_expression_is_asked_once_for_a_chart_with_a_step_that_fits_it(server: Server) -> None:
    cache.clear()
    Source.objects.create(name="prom", address=server.url)
    server.series = [({"gpu": "0"}, lambda at: 0.5), ({"gpu": "1"}, lambda at: 0.25)]
    client = browser(person("rosa", "responder"))
    page = client.get(f"{PAGE}prom/?query=gpu_util&hours=24")
    assert "gpu=0 is the highest: 0.5, and 0.5 at the latest." in text_of(page)
    assert [asked["step"] for asked in server.asked] == ["216.000"]
    server.broken = "unknown function"
    assert "refused the query (status 400): unknown function" in text_of(client.get(f"{PAGE}prom/?query=f()&hours=1"))
    server.asked.clear()
    client = browser(person("vera", "viewer"))
    assert client.get(f"{PAGE}prom/?query=gpu_util&hours=24").status_code == 200
    assert server.asked == []


def test_pages_of_figures_are_read_and_left_by_page(ada: User, server: Server, endpoint: Endpoint) -> None:
    client, host = browser(ada), Host.objects.get()
    wanted = {"host": host.name, "exporter": "dcgm", "address": f"{server.url}/metrics", "every_seconds": "30"}
    assert "gpu-a1 DCGM exporter" in text_of(client.post("/monitoring/scrapes/", wanted, follow=True))
    refused = client.post("/monitoring/scrapes/", wanted | {"address": "http://8.8.8.8/metrics"}, follow=True)
    assert "LASTGOOD_PULL_NETWORKS" in text_of(refused)
    scrape = Scrape.objects.get()
    assert (scrape.address, scrape.every_seconds) == (f"{server.url}/metrics", 30)
    client.post(f"/monitoring/scrapes/{scrape.pk}/end/")
    assert Scrape.objects.filter(ended_at=None).count() == 0


def test_programs_do_the_same(ada: User, server: Server, endpoint: Endpoint) -> None:
    program = Program(ada, "view", "admin")
    made = program.ask("POST", "/api/v1/metric-sources/", {"name": "prom", "address": server.url})
    assert (made.status_code, made.json()["credential"]) == (201, "none")
    wanted = {"source": "prom", "endpoint": endpoint.slug, "name": "queue", "promql": "queue"}
    query = program.ask("POST", "/api/v1/metric-queries/", wanted).json()
    refused = program.ask("POST", "/api/v1/metric-queries/", wanted)
    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/pull-refused")
    secret = {"credential": "bearer", "secret": "tok"}
    changed = program.ask("POST", "/api/v1/metric-sources/prom/credential/", secret).json()
    assert (changed["credential"], "secret" in changed) == ("bearer", False)
    page = {"host": "gpu-a1", "exporter": "node", "address": f"{server.url}/metrics"}
    scrape = program.ask("POST", "/api/v1/scrapes/", page).json()
    assert program.ask("POST", f"/api/v1/scrapes/{scrape['id']}/end/", {}).json()["ended_at"]
    assert program.ask("POST", f"/api/v1/metric-queries/{query['id']}/end/", {}).json()["ended_at"]
    assert program.ask("POST", "/api/v1/metric-sources/prom/end/", {}).json()["ended_at"]
    assert program.ask("GET", "/api/v1/metric-queries/").json()["results"][0]["name"] == "queue"
