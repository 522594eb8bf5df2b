from datetime import timedelta

import numpy as np
import pytest

from monitoring import sketches
from monitoring.drift.sketch_bytes import packed
from monitoring.models import Window, WindowSketch
from monitoring.windows import load_predictions, numpy_column
from tests.monitoring.stream import judge, play, watch
from tests.monitoring.world import START, WINDOW, answers, log, make_endpoint, make_hosts, make_version, part

pytestmark = pytest.mark.django_db


@pytest.fixture
def endpoint(settings, tmp_path):
    settings.LASTGOOD_VAR = tmp_path
    made = make_endpoint()
    make_version(made, 1)
    watch(made)
    return made


def span(windows):
    return START, START + windows * WINDOW


def test_a_judged_window_leaves_a_sketch_of_each_host(endpoint):
    hosts = make_hosts("h1", "h2")

    play(endpoint, hosts, 0, rows=300)

    kept = WindowSketch.objects.order_by("host__name").values_list("host__name", "version", "rows", "windows")
    assert list(kept) == [("h1", "1", 300, 1), ("h2", "1", 300, 1)]


def test_the_fleets_day_is_what_its_hosts_windows_come_to(endpoint):
    hosts = make_hosts("h1", "h2")
    for index in range(3):
        play(endpoint, hosts, index, rows=300)

    found = sketches.read(endpoint, *span(3))

    table = load_predictions(endpoint, *span(3))
    ages, counts = np.unique(numpy_column(table, "feature.AGEP"), return_counts=True)
    assert (found.rows, found.windows, found.hosts, found.versions) == (1800, 3, ["h1", "h2"], ["1"])
    assert (found.since, found.until) == span(3)
    age = found.columns["feature.AGEP"]
    assert age.error == 0.0
    assert (age.values.tolist(), np.diff(age.upto[0], prepend=0).tolist()) == (ages.tolist(), counts.tolist())
    latency = found.columns["latency_ms"]
    assert 0 < latency.error <= 1 / 256
    times = numpy_column(table, "latency_ms")
    assert abs((times <= latency.at(0.95)).mean() - 0.95) <= latency.error
    assert found.columns["output"].counts == {
        value: int(count)
        for value, count in zip(*np.unique(numpy_column(table, "output"), return_counts=True), strict=True)
    }


def test_only_the_windows_that_lie_wholly_in_the_span_count(endpoint):
    for index in range(3):
        play(endpoint, make_hosts("h1") if not index else list(sketches.Host.objects.all()), index, rows=100)

    found = sketches.read(endpoint, START + timedelta(seconds=1), START + 3 * WINDOW - timedelta(seconds=1))

    assert (found.rows, found.windows) == (100, 1)


def test_one_version_and_one_host_are_read_alone(endpoint):
    hosts = make_hosts("h1", "h2")
    make_version(endpoint, 2)
    play(endpoint, hosts, 0, rows=200)
    play(endpoint, hosts, 1, rows=200, version=2)

    assert sketches.read(endpoint, *span(2), version="2").rows == 400
    assert sketches.read(endpoint, *span(2), host="h1").rows == 400
    assert sketches.read(endpoint, *span(2), version="2", host="h1").versions == ["2"]


def test_a_whole_hour_is_merged_once_and_read_instead_of_its_windows(endpoint):
    [host] = make_hosts("h1")
    for index in (0, 30, 59):
        play(endpoint, [host], index, rows=100)

    hour = WindowSketch.objects.get(windows__gt=1)
    assert (hour.windows, hour.rows, hour.start, hour.end) == (3, 300, START, START + 60 * WINDOW)
    found = sketches.read(endpoint, START, START + 60 * WINDOW)
    assert (found.rows, found.windows) == (300, 3)
    part_of_it = sketches.read(endpoint, START, START + 31 * WINDOW)
    assert (part_of_it.rows, part_of_it.windows) == (200, 2)


def test_an_hour_that_was_merged_takes_in_a_window_that_is_judged_late(endpoint):
    [host] = make_hosts("h1")
    for index in (0, 59, 30):
        play(endpoint, [host], index, rows=100)

    assert list(WindowSketch.objects.filter(windows__gt=1).values_list("windows", "rows")) == [(3, 300)]


def test_a_column_that_no_profile_names_is_counted_by_its_type(endpoint):
    [host] = make_hosts("h1")
    given = answers(part(2017, 0, 50), version=7)
    table = given.table.append_column("feature.NAME", [["text"] * 50]).append_column("feature.X", [[0.5] * 50])
    log(endpoint, host, type(given)(table, given.label))

    judge(endpoint, 0)

    columns = sketches.read(endpoint, *span(1)).columns
    assert columns["feature.NAME"].counts == {"text": 50}
    assert columns["feature.X"].values.tolist() == [0.5]
    assert (columns["feature.AGEP"].kind, columns["output"].kind) == ("numeric", "categorical")


def test_more_sketches_than_are_read_at_once_are_refused(endpoint, monkeypatch):
    play(endpoint, make_hosts("h1", "h2"), 0, rows=50)
    monkeypatch.setattr(sketches, "MOST_READ", 1)

    with pytest.raises(sketches.TooMuch, match="Choose a shorter one, or one host"):
        sketches.read(endpoint, *span(1))


def test_columns_that_were_counted_in_two_ways_are_named_and_left_out(endpoint):
    window = Window.objects.create(endpoint=endpoint, start=START, end=START + WINDOW, due_at=START)
    for version, column in (("1", np.arange(3.0)), ("2", np.array(["a", "b", "a"]))):
        kind = "numeric" if column.dtype.kind == "f" else "categorical"
        content = packed({"feature.X": sketches.sketch_column(column, kind)})
        sketches.keep(window, [sketches.Made(version, None, 3, content)])

    found = sketches.read(endpoint, *span(1))

    assert (found.columns, found.unlike, found.rows) == ({}, ["feature.X"], 6)
