"""A stored query is asked by the clock, and its answers become points of an endpoint's metric, each once."""

from datetime import datetime, timedelta

import pytest
from django.db.models import F

from audit.clock import database_now
from audit.models import AuditEvent
from monitoring.models import MetricPoint, MetricSeries
from monitoring.pull import asking, due
from monitoring.pull.actions import PullRefused, create_query, create_source, end_query, end_source, set_credential
from monitoring.pull.models import Query, Source
from monitoring.pull.pulling import LATE, MOST_BACK, SETTLED, pull
from registry.models import Endpoint
from tests.accounts.people import SETUP
from tests.monitoring.pull.prometheus import Server, basic
from tests.monitoring.world import make_endpoint, make_hosts

pytestmark = pytest.mark.django_db
STEP = timedelta(seconds=60)


@pytest.fixture
def endpoint() -> Endpoint:
    make_hosts("gpu-a1", "gpu-b1")
    return make_endpoint()


@pytest.fixture
def source(server: Server) -> Source:
    return create_source(name="prometheus", address=server.url, actor=SETUP)


def query_of(source: Source, endpoint: Endpoint, *, back: timedelta = timedelta(minutes=20)) -> Query:
    query = create_query(source=source, endpoint=endpoint, name="queue_length", promql="sum(queue)", actor=SETUP)
    Query.objects.filter(pk=query.pk).update(done_until=database_now() - back)
    return query


def points() -> dict[datetime, float]:
    return dict(MetricPoint.objects.order_by("at").values_list("at", "value"))


def again(query: Query) -> int:
    Query.objects.filter(pk=query.pk).update(next_at=F("created_at"))
    return pull(query.pk)


def test_each_step_up_to_what_has_settled_is_kept_once(server: Server, source: Source, endpoint: Endpoint) -> None:
    server.series = [({"instance": "127.0.0.1:9000", "job": "triton"}, lambda at: at % 3600)]
    query = query_of(source, endpoint)
    now = database_now()
    assert due.queries(now) == [query.pk]

    kept = pull(query.pk)

    series = MetricSeries.objects.get()
    assert (series.name, series.host.name, series.column) == ("queue_length", "gpu-a1", "job=triton")
    found = points()
    assert len(found) == kept >= 28
    assert {at.timestamp() % 60 for at in found} == {0.0}
    assert max(found) <= now - SETTLED < max(found) + 2 * STEP
    assert all(value == at.timestamp() % 3600 for at, value in found.items())
    query.refresh_from_db()
    assert (query.points, query.lines, query.problem, query.done_until) == (kept, 1, "", max(found))
    assert due.queries(now) == []
    assert (again(query), points()) == (0, found)


def test_a_value_that_the_source_corrects_soon_takes_the_place_of_the_first(
    server: Server, source: Source, endpoint: Endpoint
) -> None:
    server.series = [({}, lambda at: 1.0)]
    query = query_of(source, endpoint)
    pull(query.pk)
    newest, oldest = max(points()), min(points())
    server.series = [({}, lambda at: 7.0)]

    kept = again(query)

    changed = {at for at, value in points().items() if value == 7.0}
    assert kept == len(changed) == LATE / STEP
    assert newest in changed
    assert oldest not in changed


def test_a_gap_is_filled_when_the_source_is_back_and_said_meanwhile(
    server: Server, source: Source, endpoint: Endpoint
) -> None:
    server.series = [({}, lambda at: 1.0)]
    query = query_of(source, endpoint)
    server.broken = "query timed out"

    assert pull(query.pk) == again(query) == 0
    query.refresh_from_db()
    assert query.problem == "prometheus refused the query (status 400): query timed out"
    assert points() == {}
    server.broken = ""

    assert again(query) >= 28
    query.refresh_from_db()
    assert query.problem == ""
    told = AuditEvent.objects.filter(action="metric_query.pull").order_by("pk").values_list("outcome", flat=True)
    assert list(told) == ["failed", "success"]


def test_a_long_gap_is_filled_in_several_answers_and_a_week_back_at_most(
    server: Server, source: Source, endpoint: Endpoint
) -> None:
    server.series = [({}, lambda at: 1.0)]
    query = query_of(source, endpoint, back=timedelta(days=30))
    server.asked.clear()

    pull(query.pk)

    query.refresh_from_db()
    assert len(server.asked) == 8
    begun = float(server.asked[0]["start"])
    assert abs(begun - (database_now() - MOST_BACK).timestamp()) < 120
    assert query.points == 8 * 500
    assert due.queries(database_now()) == [query.pk]


def test_values_that_are_no_numbers_are_gaps_and_unknown_hosts_stay_labels(
    server: Server, source: Source, endpoint: Endpoint
) -> None:
    server.series = [({"instance": "10.1.2.3:80", "host": "elsewhere"}, lambda at: "NaN" if at % 120 else "2")]
    pull(query_of(source, endpoint).pk)
    series = MetricSeries.objects.get()
    assert (series.host, series.column) == (None, "instance=10.1.2.3:80,of_host=elsewhere")
    assert set(points().values()) == {2.0}
    assert {at.timestamp() % 120 for at in points()} == {0.0}


@pytest.mark.parametrize(
    ("credential", "wanted"),
    [
        ({"credential": "bearer", "secret": "s3cret"}, "Bearer s3cret"),
        ({"credential": "basic", "username": "ada", "secret": "pa:ss"}, basic("ada", "pa:ss")),
    ],
)
def test_a_source_is_asked_with_its_credential_which_is_sealed(
    server: Server, source: Source, credential: dict[str, str], wanted: str
) -> None:
    server.wanted = wanted
    span = (database_now() - STEP, database_now(), STEP)
    with pytest.raises(asking.PullFailed, match="refused the credential"):
        asking.query_range(source, "up", *span)
    set_credential(source=source, **credential, actor=SETUP)
    source.refresh_from_db()
    assert asking.query_range(source, "up", *span) == []
    assert credential["secret"].encode() not in bytes(source.secret_sealed)
    assert credential["secret"] not in str(list(AuditEvent.objects.values()))


def test_what_can_not_be_asked_is_refused_in_a_sentence_and_nothing_is_stored(
    server: Server, source: Source, endpoint: Endpoint, settings: object
) -> None:
    server.broken = "parse error: unexpected end of input"
    with pytest.raises(PullRefused, match=r"refused the query \(status 400\): parse error"):
        create_query(source=source, endpoint=endpoint, name="queue", promql="sum(", actor=SETUP)
    server.broken = ""
    with pytest.raises(PullRefused, match="letters, digits and underscores"):
        create_query(source=source, endpoint=endpoint, name="a b", promql="up", actor=SETUP)
    create_query(source=source, endpoint=endpoint, name="queue", promql="up", actor=SETUP)
    with pytest.raises(PullRefused, match="pulls queue already"):
        create_query(source=source, endpoint=endpoint, name="queue", promql="up", actor=SETUP)
    settings.LASTGOOD_PULL_NETWORKS = ["10.0.0.0/8"]
    with pytest.raises(asking.PullFailed, match="LASTGOOD_PULL_NETWORKS"):
        asking.query_range(source, "up", database_now() - STEP, database_now(), STEP)
    with pytest.raises(PullRefused, match="LASTGOOD_PULL_NETWORKS"):
        create_source(name="other", address=server.url, actor=SETUP)
    assert (Query.objects.count(), Source.objects.count()) == (1, 1)


def test_too_many_series_and_other_answers_are_refused(server: Server, source: Source) -> None:
    span = (database_now() - STEP, database_now(), STEP)
    server.series = [({"n": str(n)}, lambda at: 1.0) for n in range(501)]
    with pytest.raises(asking.PullFailed, match="501 series"):
        asking.query_range(source, "up", *span)
    server.matrix = lambda asked: {"status": "success", "data": {"resultType": "vector", "result": []}}
    try:
        with pytest.raises(asking.PullFailed, match="with a vector"):
            asking.query_range(source, "up", *span)
    finally:
        del server.matrix
    with pytest.raises(asking.PullFailed, match="fewer than 11,000 steps"):
        asking.query_range(source, "up", span[0] - timedelta(days=30), span[1], STEP)


@pytest.mark.parametrize("at", [253_402_300_799, -5, 1e9])
def test_values_of_times_that_were_not_asked_for_are_left_out(
    server: Server, source: Source, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, at: float
) -> None:
    query = query_of(source, endpoint)
    matrix = server.matrix

    def answered(asked: dict[str, str]) -> dict:
        told = matrix(asked)
        told["data"]["result"] = [{"metric": {}, "values": [[at, "7"], [float(asked["start"]), "1"]]}]
        return told

    monkeypatch.setattr(server, "matrix", answered)
    assert pull(query.pk) == 1
    assert list(points().values()) == [1.0]


def test_what_was_ended_is_asked_no_more(server: Server, source: Source, endpoint: Endpoint) -> None:
    query = query_of(source, endpoint)
    end_query(query=query, actor=SETUP)
    with pytest.raises(PullRefused, match="ended before"):
        end_query(query=query, actor=SETUP)
    other = query_of(source, endpoint)
    end_source(source=source, actor=SETUP)
    server.asked.clear()
    assert (pull(query.pk), pull(other.pk), server.asked) == (0, 0, [])
    assert due.queries(database_now()) == []
    with pytest.raises(PullRefused, match="was ended"):
        set_credential(source=source, credential="none", actor=SETUP)
