import csv
from datetime import timedelta

import numpy as np
import pytest
from django.utils import timezone

from accounts.models import User
from audit.actions import service_actor
from audit.models import AuditEvent
from monitoring.comparing import actions, due, exactly, kept
from monitoring.comparing.columns import NothingThere
from monitoring.comparing.comparison import compare_sides
from monitoring.comparing.models import ExactComparison
from monitoring.comparing.sides import BadSide, asked_by
from monitoring.models import MetricSeries, PredictionBatch
from monitoring.points import keep, moments
from monitoring.rollups import Points
from monitoring.series import series_for
from registry.models import Endpoint
from tests.monitoring.standing import standing
from tests.monitoring.stream import play, watch
from tests.monitoring.test_pages import sign_in
from tests.monitoring.world import START, WINDOW, make_endpoint, make_hosts, make_version
from tests.registry.test_pages import person

MINUTES = "%Y-%m-%dT%H:%M"


def spoil(columns):
    columns["AGEP"] = columns["AGEP"] * 0 + 99
    columns["SEX"] = columns["SEX"] + 7


@pytest.fixture(scope="module")
def made(django_db_setup, django_db_blocker, tmp_path_factory):
    """Windows 0 to 2: version 1 as it should be; 3 to 5: version 2 answers worse, slower and other people."""
    with standing(django_db_blocker, tmp_path_factory):
        endpoint, hosts = make_endpoint(), make_hosts("h1", "h2")
        make_version(endpoint, 1)
        make_version(endpoint, 2)
        watch(endpoint)
        for index in range(3):
            play(endpoint, hosts, index, rows=400)
        for index in range(3, 6):
            play(endpoint, hosts, index, rows=400, version=2, accuracy=0.6, latency_ms=9.0, change=spoil)
        yield endpoint


@pytest.fixture
def endpoint(made, db):
    return Endpoint.objects.select_related("model").get(pk=made.pk)


def span(side, first, last):
    return {
        f"{side}_since": f"{START + first * WINDOW:{MINUTES}}",
        f"{side}_until": f"{START + last * WINDOW:{MINUTES}}",
    }


def compare(endpoint, **values):
    return compare_sides(asked_by(endpoint, values, timezone.now()))


def exactly_compared(endpoint, column="", **values):
    """Asked for, computed as a worker does, and read back as it was kept."""
    one = asked_for(endpoint, **values)
    assert actions.compute(one.pk) is True
    one.refresh_from_db()
    assert (one.state, one.problem) == ("done", "")
    return kept.unpacked(endpoint, bytes(one.content), one.sha256, column)


def a_person():
    name = f"mara{User.objects.count()}"
    return person("viewer", name=name)


def asked_for(endpoint, user=None, **values):
    asked = asked_by(endpoint, values, timezone.now())
    return actions.ask_exactly(asked=asked, user=user or a_person(), actor=service_actor("test"))


def figures(found):
    return {one.name: one.found for one in found.figures}


def test_a_worse_version_is_held_against_the_one_before(endpoint):
    found = compare(endpoint, **span("a", 3, 6), **span("b", 0, 3), a_version="2", b_version="1")

    assert figures(found) == {
        "Accuracy": "worse", "Share answered 1": "alike", "Median latency": "worse", "p95 of latency": "worse",
        "p99 of latency": "worse",
    }  # fmt: skip
    differ = {column.name for column in found.found.columns if column.verdict.drifted}
    assert {"AGEP", "SEX"} <= differ
    assert "DEYE" not in differ
    assert found.bad is True
    assert found.sentence.startswith("Version 2, held against version 1, 2026-11-21 12:00 to 12:03 UTC: ")
    assert "accuracy is worse, -" in found.sentence
    assert "columns differ" in found.sentence
    assert 0 < found.found.error <= 1 / 256
    assert f"shares are within {100 * found.found.error:.1f} points" in found.precision


def test_a_span_that_is_like_the_one_before_shows_no_difference(endpoint):
    found = compare(endpoint, **span("a", 1, 2), against="before")

    assert (found.asked.before.since, found.asked.before.until) == (START, START + WINDOW)
    assert [one.found for one in found.figures if one.found in ("worse", "better", "other")] == []
    assert found.bad is False


def test_the_same_time_a_week_before_is_another_side(endpoint):
    asked = asked_by(endpoint, {**span("a", 0, 3), "against": "week"}, timezone.now())

    assert (asked.now.since - asked.before.since, asked.now.until - asked.before.until) == (timedelta(days=7),) * 2
    with pytest.raises(NothingThere, match=r"left a sketch\. Choose a span in which it answered"):
        compare_sides(asked)


def test_a_span_is_held_against_the_training_data_of_the_version_that_answered_most(endpoint):
    found = compare(endpoint, **span("a", 0, 4))

    assert found.found.training.number == 1
    assert found.before == "the training data of version 1"
    assert figures(found)["Accuracy"] in ("alike", "unclear", "worse")
    assert compare(endpoint, **span("a", 3, 6)).found.training.number == 2


def test_a_sliding_span_ends_at_the_newest_judged_window(endpoint):
    asked = asked_by(endpoint, {"hours": "6", "against": "before"}, timezone.now())

    assert (asked.now.until, asked.now.since) == (START + 6 * WINDOW, START + 6 * WINDOW - timedelta(hours=6))
    assert "hours=6" in asked.address()
    assert "a_since" not in asked.address()


def test_sketches_and_rows_come_to_the_same_but_for_the_error_that_is_told(endpoint):
    values = {**span("a", 3, 6), **span("b", 0, 3)}
    sketched, exact = compare(endpoint, **values), exactly_compared(endpoint, **values)

    rows = {column.name: column for column in exact.found.columns}
    assert exact.found.error == 0.0
    assert "every row" in exact.precision
    for column in sketched.found.columns:
        other = rows[column.name]
        assert column.drift.n_window == other.drift.n_window
        if column.drift.ks:
            assert column.drift.ks.statistic <= other.drift.ks.statistic + 1e-9
            assert other.drift.ks.statistic - column.drift.ks.statistic <= 2 * column.error + 1e-9
        if not column.error:
            assert column.drift.total_variation == pytest.approx(other.drift.total_variation, abs=0.02)
        assert column.verdict.outcome == other.verdict.outcome


def test_training_data_is_compared_exactly_too(endpoint):
    found = exactly_compared(endpoint, **span("a", 3, 6))

    differ = {column.name for column in found.found.columns if column.verdict.drifted}
    assert {"AGEP", "SEX"} <= differ
    assert found.found.error == 0.0


def test_failed_requests_of_both_sides_are_counted_from_their_rates(endpoint):
    host = endpoint.series.filter(host__isnull=False).first().host
    keys = {(name, host, "", ""): "1/s" for name in ("requests_per_second", "failures_per_second")}
    series = series_for(endpoint, keys)
    times = [START + timedelta(seconds=15 * step) for step in range(1, 24)]
    for (name, *_), key in series.items():
        for at in times:
            value = 20.0 if name.startswith("requests") else 4.0 if at > START + 3 * WINDOW else 0.0
            keep(endpoint.pk, Points(np.array([key]), moments([at]), np.array([value]), np.array([1])))

    found = compare(endpoint, **span("a", 3, 6), **span("b", 0, 3))

    assert figures(found)["Share of failed requests"] == "worse"
    assert MetricSeries.objects.filter(name="failures_per_second").count() == 1


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"against": "luck"}, "Compare with one of training, before, week, side"),
        ({"a_since": "yesterday", "a_until": "2026-11-21T12:00"}, "A span needs a beginning and an end"),
        ({"a_since": "2026-11-21T12:00", "a_until": "2026-11-21T12:00"}, "at least a minute after it begins"),
        ({"hours": "9999"}, "a whole number from 1 to 2208"),
    ],
)
def test_what_is_no_side_is_refused_with_what_would_be_one(endpoint, values, said):
    with pytest.raises(BadSide, match=said):
        asked_by(endpoint, values, timezone.now())


@pytest.fixture
def reader(client):
    return sign_in(client, "viewer")


def test_the_page_shows_the_sentence_the_figures_and_the_chosen_column(endpoint, reader):
    values = {**span("a", 3, 6), **span("b", 0, 3), "column": "SEX"}

    page = reader.get(f"/monitoring/endpoints/{endpoint.slug}/compare/", values).content.decode()

    assert "Version 2, held against version 1, 2026-11-21 12:00 to 12:03 UTC" in page
    assert "Median latency" in page
    assert "SEX drifted" in page
    assert 'aria-label="SEX drifted' in page or "Share of rows by value of SEX" in page


def test_the_part_for_an_endpoints_charts_has_the_columns_alone(endpoint, reader):
    values = {**span("a", 3, 6), "against": "training", "part": "1"}

    page = reader.get(f"/monitoring/endpoints/{endpoint.slug}/compare/", values, headers={"hx-request": "true"})

    assert page.content.decode().startswith('<section class="panel" id="held-')
    assert "the whole comparison" in page.content.decode()


def test_what_cannot_be_compared_is_told_on_the_page(endpoint, reader):
    page = reader.get(f"/monitoring/endpoints/{endpoint.slug}/compare/", {"against": "luck"})

    assert page.status_code == 200
    assert "luck is none of them" in page.content.decode()


def test_the_comparison_is_given_as_csv(endpoint, reader):
    values = {**span("a", 3, 6), **span("b", 0, 3)}

    answer = reader.get(f"/monitoring/endpoints/{endpoint.slug}/compare.csv", values)

    rows = list(csv.reader(answer.content.decode().splitlines()))
    assert rows[0] == ["what", "name", "now", "before", "difference", "answer", "sentence"]
    assert next(row[1] for row in rows if row[0] == "figure") == "Accuracy"
    assert {row[1] for row in rows if row[0] == "column"} >= {"AGEP", "output", "score"}
    refused = reader.get(f"/monitoring/endpoints/{endpoint.slug}/compare.csv", {"hours": "x"})
    assert (refused.status_code, refused["Content-Type"]) == (400, "text/plain; charset=utf-8")


def test_the_api_answers_with_the_same(endpoint, reader):
    values = {"endpoint": endpoint.slug, **span("a", 3, 6), **span("b", 0, 3)}

    answer = reader.get("/api/v1/comparison/", values).json()

    assert answer["now"]["rows"] == 2400
    assert {one["name"]: one["found"] for one in answer["figures"]}["Accuracy"] == "worse"
    assert next(one for one in answer["columns"] if one["column"] == "AGEP")["answer"] == "drift"
    assert reader.get("/api/v1/comparison/", {**values, "hours": "", "a_since": "x"}).status_code == 400
    assert reader.get("/api/v1/comparison/", {"endpoint": "no-such"}).status_code == 404
    assert Endpoint.objects.count() == 1


def recorded():
    return list(
        AuditEvent.objects.filter(action__startswith="comparison.").order_by("pk").values_list("action", flat=True)
    )


def test_some_columns_at_a_time_come_to_the_same_as_all_at_once(endpoint, monkeypatch):
    values = {**span("a", 3, 6), **span("b", 0, 3)}
    whole = exactly_compared(endpoint, **values)
    monkeypatch.setattr(exactly, "CELLS", 1)

    one_by_one = exactly_compared(endpoint, **values)

    assert one_by_one.to_json() == whole.to_json()
    assert [column.cells for column in one_by_one.found.columns] == [column.cells for column in whole.found.columns]
    assert one_by_one.found.overall == whole.found.overall


def test_what_was_computed_is_kept_with_its_digest_and_on_record(endpoint):
    user = a_person()
    one = asked_for(endpoint, user, **span("a", 3, 6), **span("b", 0, 3))
    assert (one.state, one.total) == ("waiting", 0)

    actions.compute(one.pk)
    one.refresh_from_db()

    assert (one.state, one.done, one.total, one.rows) == ("done", one.total, one.total, 4800)
    assert one.total > 5
    assert recorded() == ["comparison.ask", "comparison.finish"]
    assert one.sha256.encode() in bytes(AuditEvent.objects.get(action="comparison.finish").canon)
    again = asked_for(endpoint, user, **span("a", 3, 6), **span("b", 0, 3))
    actions.compute(again.pk)
    again.refresh_from_db()
    assert (again.pk != one.pk, again.sha256) == (True, one.sha256)
    with pytest.raises(kept.Altered, match="Have it computed again"):
        kept.unpacked(endpoint, bytes(one.content).replace(b"AGEP", b"AGEQ"), one.sha256)


def test_the_same_is_not_computed_twice_at_once_and_nobody_has_more_than_five_under_way(endpoint):
    user = a_person()
    first = asked_for(endpoint, user, **span("a", 3, 6))

    assert asked_for(endpoint, user, **span("a", 3, 6)).pk == first.pk
    for last in (4, 5):
        asked_for(endpoint, user, **span("a", 3, last))
        asked_for(endpoint, user, **span("a", 2, last))
    with pytest.raises(actions.ExactRefused, match="Cancel one, or wait"):
        asked_for(endpoint, user, **span("a", 0, 1))

    assert ExactComparison.objects.count() == 5
    assert len(recorded()) == 5
    assert User.objects.filter(pk=user.pk).exists()


def test_a_worker_stops_where_it_was_cancelled_meanwhile(endpoint, monkeypatch):
    one = asked_for(endpoint, **span("a", 3, 6), **span("b", 0, 3))
    read = exactly._Rows.read
    passes = []

    def cancelling(rows, names):
        passes.append(names)
        if len(passes) == 3:
            actions.cancel(comparison=one, actor=service_actor("test"))
        return read(rows, names)

    monkeypatch.setattr(exactly, "CELLS", 1)
    monkeypatch.setattr(exactly._Rows, "read", cancelling)

    assert actions.compute(one.pk) is False

    one.refresh_from_db()
    assert (one.state, one.done, one.content) == ("cancelled", 1, None)
    assert len(passes) == 4
    assert recorded() == ["comparison.ask", "comparison.cancel"]
    assert actions.compute(one.pk) is False
    with pytest.raises(actions.ExactRefused, match="has ended"):
        actions.cancel(comparison=one, actor=service_actor("test"))


def test_another_worker_takes_over_what_nobody_speaks_of_any_more_and_gives_up_after_three(endpoint):
    one = asked_for(endpoint, **span("a", 3, 6))
    now = timezone.now() + timedelta(seconds=1)
    assert due.comparisons(now) == [one.pk]
    ExactComparison.objects.update(state="running", attempts=1, due_at=now + actions.LEASE)
    assert due.comparisons(now) == []
    assert actions.compute(one.pk) is False

    ExactComparison.objects.update(attempts=3, due_at=now - actions.LEASE)
    assert due.comparisons(now) == [one.pk]
    actions.compute(one.pk)

    one.refresh_from_db()
    assert (one.state, one.problem[:21]) == ("failed", "It was begun 3 times ")
    assert recorded() == ["comparison.ask", "comparison.fail"]


def test_what_cannot_be_computed_says_why(endpoint, monkeypatch):
    nothing = asked_for(endpoint, **span("a", 30, 31))
    monkeypatch.setattr(exactly, "MOST_ROWS", 100)
    much = asked_for(endpoint, **span("a", 3, 6))
    actions.compute(nothing.pk)
    actions.compute(much.pk)

    nothing.refresh_from_db()
    much.refresh_from_db()

    assert (nothing.state, nothing.problem[:24]) == ("failed", "Nothing was answered by ")
    assert "at most 100 rows are computed exactly" in much.problem


def test_rows_that_go_meanwhile_are_told_and_not_compared(endpoint, monkeypatch):
    one = asked_for(endpoint, **span("a", 3, 6))
    read = exactly._Rows.read

    def losing(rows, names):
        PredictionBatch.objects.filter(pk=rows.batches[0]).delete()
        return read(rows, names)

    monkeypatch.setattr(exactly._Rows, "read", losing)
    actions.compute(one.pk)

    one.refresh_from_db()
    assert (one.state, "were removed while they were compared" in one.problem) == ("failed", True)


def test_the_page_asks_for_it_follows_it_and_shows_what_was_kept(endpoint, reader):
    page = reader.get(f"/monitoring/endpoints/{endpoint.slug}/compare/", {**span("a", 3, 6), **span("b", 0, 3)})
    assert "Compute it from every row" in page.content.decode()

    asked = reader.post(f"/monitoring/endpoints/{endpoint.slug}/compare/exact/", dict(page.context["exactly"]))

    one = ExactComparison.objects.get()
    assert asked.url == f"/monitoring/endpoints/{endpoint.slug}/compare/exact/{one.pk}/"
    assert one.asked["before"]["until"] == (START + 3 * WINDOW).isoformat()
    waiting = reader.get(asked.url).content.decode()
    assert 'data-live="2"' in waiting
    assert "Cancel it" in waiting
    assert "HX-Refresh" not in reader.get(asked.url, headers={"hx-request": "true"})
    actions.compute(one.pk)
    assert reader.get(asked.url, headers={"hx-request": "true"})["HX-Refresh"] == "true"
    shown = reader.get(asked.url, {"column": "SEX"}).content.decode()
    assert "Computed from every row." in shown
    assert "Share of rows by value of SEX" in shown
    one.refresh_from_db()
    assert one.sha256 in shown
    rows = list(csv.reader(reader.get(f"{asked.url[:-1]}.csv").content.decode().splitlines()))
    assert {row[1] for row in rows if row[0] == "column"} >= {"AGEP", "output", "score"}
    listed = reader.get(f"/monitoring/endpoints/{endpoint.slug}/compare/", span("a", 3, 6)).content.decode()
    assert str(one.pk) in listed


def test_only_who_asked_and_who_responds_cancel_it(endpoint, reader, client):
    one = asked_for(endpoint, person("commander"), **span("a", 3, 6))
    address = f"/monitoring/endpoints/{endpoint.slug}/compare/exact/{one.pk}/"
    assert "Cancel it" not in reader.get(address).content.decode()

    assert reader.post(f"{address}cancel/").status_code == 403
    one.refresh_from_db()
    assert one.state == "waiting"
    client.force_login(person("responder", name="rosa"), backend="django.contrib.auth.backends.ModelBackend")
    assert client.post(f"{address}cancel/").status_code == 302

    one.refresh_from_db()
    assert one.state == "cancelled"
    assert "was cancelled before it was done" in client.get(address).content.decode()


def test_a_program_asks_for_it_and_reads_what_came_of_it(endpoint, reader):
    body = {"endpoint": endpoint.slug, **span("a", 3, 6), **span("b", 0, 3)}
    asked = reader.post("/api/v1/exact-comparisons/", body, content_type="application/json")
    assert (asked.status_code, asked.json()["state"]) == (201, "waiting")
    place = f"/api/v1/exact-comparisons/{asked.json()['id']}/"
    assert reader.get(place).json()["comparison"] is None

    actions.compute(asked.json()["id"])

    answer = reader.get(place).json()
    assert (answer["state"], answer["comparison"]["exact"]) == ("done", True)
    assert answer["comparison"]["columns"] == reader.get(place).json()["comparison"]["columns"]
    refused = reader.post(f"{place}cancel/")
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/comparison-refused")
    assert (
        reader.post("/api/v1/exact-comparisons/", {**body, "a_since": "x"}, content_type="application/json").status_code
        == 400
    )
