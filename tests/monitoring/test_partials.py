"""A fleet's window is sketched while its predictions come; judging it then reads the inputs of the rest alone."""

from collections import Counter
from datetime import timedelta

import pyarrow.compute as pc
import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitoring import detect, fleet, partials, retention, store
from monitoring.due import SOURCES
from monitoring.models import Finding, Monitor, PartialSketch, PredictionBatch, Window, WindowSketch
from monitoring.windows import load_predictions
from tests.monitoring import stream
from tests.monitoring.test_fleet import from_rows, older
from tests.monitoring.world import START, WINDOW, answers, log, make_endpoint, make_hosts, make_version, part

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Fleets and partial sketches that a test can fill."""
    monkeypatch.setattr(partials, "FLEET_ROWS", 1000)
    monkeypatch.setattr(partials, "PARTIAL_ROWS", 300)


@pytest.fixture
def endpoint():
    found = make_endpoint()
    make_version(found, 1)
    stream.watch(found)
    return found


@pytest.fixture
def hosts(endpoint):
    return make_hosts("h1", "h2", "h3")


@pytest.fixture
def monitor(endpoint):
    return Monitor.objects.get(endpoint=endpoint)


_sent = iter(range(1, 100_000))


def send(endpoint, host, rows, *, index=0, after=0.0, version=1, change=lambda columns: None):
    """A delivery of `rows` people, answered in 15 seconds, from `after` after the beginning of window `index` on."""
    seed = next(_sent)
    columns = dict(part(2017, seed * 500 % 50_000, rows))
    change(columns)
    start = START + WINDOW * index + timedelta(seconds=after)
    log(endpoint, host, answers(columns, start=start, length=timedelta(seconds=15), version=version, seed=seed))


def send_all(endpoint, hosts, rows, **more):
    for host in hosts:
        send(endpoint, host, rows, **more)


def held():
    """(host, rows, level) of the partial sketches."""
    return sorted(PartialSketch.objects.values_list("host__name", "rows", "level"))


def open_window(endpoint, index=0):
    start = START + WINDOW * index
    return Window.objects.create(endpoint=endpoint, start=start, end=start + WINDOW, due_at=start + WINDOW)


def test_each_hosts_rows_are_sketched_when_enough_of_them_have_come(endpoint, hosts, monitor):
    send_all(endpoint, hosts, 350)
    send(endpoint, hosts[0], 299)

    made = partials.advance(monitor.pk)

    assert made == 3
    assert held() == [("h1", 649, 0), ("h2", 350, 0), ("h3", 350, 0)]
    assert partials.advance(monitor.pk) == 0


def test_the_clock_asks_for_monitors_with_new_rows_only(endpoint, hosts, monitor):
    assert partials.due(timezone.now()) == []
    send_all(endpoint, hosts, 350)
    assert partials.due(timezone.now()) == [monitor.pk]
    partials.advance(monitor.pk)
    assert partials.due(timezone.now()) == []
    send(endpoint, hosts[1], 299)
    assert partials.due(timezone.now()) == []
    send(endpoint, hosts[1], 1)
    assert partials.due(timezone.now()) == [monitor.pk]
    assert [one.queue for one in SOURCES if one.task == "monitoring.sketch_partials"] == ["compute"]


def test_a_window_of_one_host_or_of_few_rows_is_left_to_its_judging(endpoint, hosts, monitor):
    send(endpoint, hosts[0], 1200)
    assert partials.due(timezone.now()) == []

    send_all(endpoint, hosts[1:], 300, index=1)
    Monitor.objects.update(next_window_at=START + WINDOW)

    assert partials.advance(monitor.pk) == 0
    assert held() == []


def test_a_paused_monitor_sketches_nothing(endpoint, hosts, monitor):
    send_all(endpoint, hosts, 400)
    Monitor.objects.update(enabled=False)

    assert partials.due(timezone.now()) == []
    assert partials.advance(monitor.pk) == 0


def test_a_window_that_has_ended_and_is_not_judged_yet_is_sketched_on(endpoint, hosts, monitor):
    send_all(endpoint, hosts, 400)
    open_window(endpoint)
    Monitor.objects.update(next_window_at=START + WINDOW)

    assert partials.due(timezone.now()) == [monitor.pk]
    assert partials.advance(monitor.pk) == 3


def test_the_window_is_judged_as_from_all_its_rows_and_reads_the_inputs_of_the_rest_alone(endpoint, hosts, monitor):
    send_all(endpoint, hosts, 400, change=older)
    partials.advance(monitor.pk)
    send_all(endpoint, hosts[:2], 200, after=20, change=older)
    window = open_window(endpoint)

    made, rest = partials.sketched(window)
    seen = fleet.read(window)
    assert detect.judge(window.pk) is True

    assert [(one.host, one.rows) for one in made] == [("h1", 400), ("h2", 400), ("h3", 400)]
    assert rest == set(PredictionBatch.objects.filter(rows=200).values_list("pk", flat=True))
    assert len(rest) == 2
    assert seen.columns["1"]["feature.AGEP"].rows == len(seen.table) == 1600
    window.refresh_from_db()
    told, true = Finding.objects.get(rule__kind="input_drift", window=window), from_rows(window)
    assert (told.answer, told.rows, told.data["drifted"]) == ("breach", 1600, true.data["drifted"])
    assert true.answer == "breach"
    assert told.data["sketch_error"] <= 1 / partials.PARTIAL_POINTS


def test_what_is_kept_of_the_window_is_one_sketch_of_each_host_and_its_parts_go(endpoint, hosts, monitor):
    send_all(endpoint, hosts, 400)
    partials.advance(monitor.pk)
    send_all(endpoint, hosts, 400, after=20)
    partials.advance(monitor.pk)
    window = open_window(endpoint)

    assert detect.judge(window.pk) is True

    assert sorted(WindowSketch.objects.values_list("host__name", "version", "rows", "windows")) == [
        ("h1", "1", 800, 1), ("h2", "1", 800, 1), ("h3", "1", 800, 1),
    ]  # fmt: skip
    assert held() == []


def test_parts_of_another_window_that_waits_to_be_judged_stay(endpoint, hosts, monitor):
    send_all(endpoint, hosts, 400)
    send_all(endpoint, hosts, 400, index=1)
    first, second = open_window(endpoint), open_window(endpoint, 1)
    Monitor.objects.update(next_window_at=START + 2 * WINDOW)
    assert partials.advance(monitor.pk) == 6

    assert detect.judge(second.pk) is True

    assert set(PartialSketch.objects.values_list("start", flat=True)) == {first.start}


def test_rows_across_the_border_of_two_windows_count_in_each_by_their_time(endpoint, hosts, monitor):
    send_all(endpoint, hosts, 400)
    send(endpoint, hosts[0], 400, after=50)
    across = PredictionBatch.objects.get(last_at__gte=START + WINDOW)

    partials.advance(monitor.pk)
    window = open_window(endpoint)
    _, rest = partials.sketched(window)
    columns = fleet.read(window).columns["1"]

    assert held() == [("h1", 400, 0), ("h2", 400, 0), ("h3", 400, 0)]
    assert rest == {across.pk}
    assert 1200 < columns["feature.AGEP"].rows < 1600


def test_two_workers_at_once_count_each_row_once(endpoint, hosts, monitor):
    send_all(endpoint, hosts, 400)
    asked = partials._shares(monitor.pk)

    assert partials.advance(monitor.pk) == 3
    assert [partials._sketch(share) for share in asked] == [False, False, False]

    assert held() == [("h1", 400, 0), ("h2", 400, 0), ("h3", 400, 0)]


def test_nothing_is_written_for_a_window_that_was_judged_meanwhile(endpoint, hosts, monitor):
    send_all(endpoint, hosts, 400)
    asked = partials._shares(monitor.pk)
    window = open_window(endpoint)
    assert detect.judge(window.pk) is True

    assert [partials._sketch(share) for share in asked] == [False, False, False]

    assert held() == []


def test_eight_of_one_level_become_one_of_the_next(endpoint, hosts, monitor):
    send_all(endpoint, hosts[1:], 350)
    for turn in range(9):
        send(endpoint, hosts[0], 300, after=turn)
        partials.advance(monitor.pk)

    assert held() == [("h1", 300, 0), ("h1", 2400, 1), ("h2", 350, 0), ("h3", 350, 0)]
    columns = fleet.read(open_window(endpoint)).columns["1"]
    assert {one.rows for one in columns.values()} == {3400}
    ages = columns["feature.AGEP"]
    assert ages.error == 0, "ages are few, so every one of them is counted"


def test_a_part_whose_rows_are_gone_counts_for_nothing(endpoint, hosts, monitor):
    send_all(endpoint, hosts, 400)
    send_all(endpoint, hosts, 400, after=20)
    partials.advance(monitor.pk)
    PredictionBatch.objects.filter(host=hosts[0]).earliest("pk").delete()

    window = open_window(endpoint)
    made, rest = partials.sketched(window)

    assert [(one.host, one.rows) for one in made] == [("h2", 800), ("h3", 800)]
    assert rest == set(PredictionBatch.objects.filter(host=hosts[0]).values_list("pk", flat=True))
    assert fleet.read(window).columns["1"]["feature.AGEP"].rows == 2000


def test_parts_of_another_length_of_window_count_for_nothing(endpoint, hosts, monitor):
    send_all(endpoint, hosts, 400)
    partials.advance(monitor.pk)
    window = Window.objects.create(endpoint=endpoint, start=START, end=START + 2 * WINDOW, due_at=START)

    made, rest = partials.sketched(window)

    assert made == []
    assert len(rest) == 3


def test_a_damaged_file_is_left_to_who_judges_the_window(endpoint, hosts, monitor, caplog):
    send_all(endpoint, hosts, 400)
    batch = PredictionBatch.objects.get(host=hosts[1])
    (store.root() / batch.path).write_bytes(b"no longer")

    made = partials.advance(monitor.pk)

    assert made == 2
    assert held() == [("h1", 400, 0), ("h3", 400, 0)]
    assert "can't be sketched before their window is judged" in caplog.text


def test_parts_that_nobody_judged_go_with_their_predictions(endpoint, hosts, monitor, settings):
    send_all(endpoint, hosts, 400)
    partials.advance(monitor.pk)
    settings.LASTGOOD_PREDICTIONS_DAYS = 1
    PredictionBatch.objects.update(first_at=START - timedelta(days=90), last_at=START - timedelta(days=90))
    PartialSketch.objects.update(start=START - timedelta(days=90))

    assert retention.prune(endpoint.pk) == 3

    assert held() == []


def counted(ages):
    """Rows of each age; so few are never cut."""
    return dict(zip(ages.values.tolist(), (ages.upto - ages.below)[0].tolist(), strict=True))


DELIVERY = st.tuples(st.integers(0, 2), st.integers(1, 60), st.sampled_from([-5, 0, 20, 40, 50]), st.integers(1, 2))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.one_of(DELIVERY, st.just("sketch"), st.just("prune")), min_size=5, max_size=25))
def test_in_whatever_order_rows_come_are_sketched_and_go_each_counts_once(endpoint, hosts, monitor, monkeypatch, steps):
    monkeypatch.setattr(partials, "FLEET_ROWS", 40)
    monkeypatch.setattr(partials, "PARTIAL_ROWS", 15)
    monkeypatch.setattr(partials, "MERGED_AT", 2)
    with transaction.atomic():
        for step in steps:
            if step == "sketch":
                partials.advance(monitor.pk)
            elif step == "prune":
                PredictionBatch.objects.filter(pk__in=PredictionBatch.objects.order_by("pk")[:1]).delete()
            else:
                host, rows, after, version = step
                send(endpoint, hosts[host], rows, after=after, version=version)
        window = open_window(endpoint)
        table = load_predictions(endpoint, window.start, window.end)

        made, columns = fleet.inputs(window)

        true = Counter(zip(table.column("version").to_pylist(), table.column("host").to_pylist(), strict=True))
        assert {(one.version, one.host): one.rows for one in made} == dict(true)
        for version, of_inputs in columns.items():
            ages = table.filter(pc.equal(table.column("version"), version)).column("feature.AGEP").to_pylist()
            assert counted(of_inputs["feature.AGEP"]) == Counter(ages)
        transaction.set_rollback(True)
