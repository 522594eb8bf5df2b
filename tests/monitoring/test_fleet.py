"""A fleet's window is judged from its hosts' sketches as it would be from its rows."""

import numpy as np
import pytest

from monitoring import detect, fleet, partials
from monitoring.models import Finding, Rule, Window, WindowSketch
from monitoring.windows import load_predictions
from registry.models import Endpoint
from tests.monitoring.standing import standing
from tests.monitoring.stream import play, watch
from tests.monitoring.test_pages import sign_in
from tests.monitoring.world import make_endpoint, make_hosts, make_version


def older(columns):
    columns["AGEP"] = columns["AGEP"] + 25


def a_little_older(columns):
    columns["AGEP"] = columns["AGEP"] + 6


def without_half(columns):
    columns["SCHL"] = np.where(np.arange(len(columns["SCHL"])) % 2, columns["SCHL"].astype(float), np.nan)


@pytest.fixture(scope="module")
def made(django_db_setup, django_db_blocker, tmp_path_factory):
    """Four windows of three hosts: as trained, some older, much older, half of a column missing."""
    with standing(django_db_blocker, tmp_path_factory), pytest.MonkeyPatch.context() as patch:
        patch.setattr(partials, "FLEET_ROWS", 1000)
        endpoint, hosts = make_endpoint(), make_hosts("h1", "h2", "h3")
        make_version(endpoint, 1)
        watch(endpoint)
        for index, change in enumerate((lambda columns: None, a_little_older, older, without_half)):
            play(endpoint, hosts, index, rows=600, change=change)
        yield endpoint


@pytest.fixture
def endpoint(made, db):
    return Endpoint.objects.get(pk=made.pk)


def found(window):
    return Finding.objects.get(window=window, rule__kind="input_drift", host=None)


def from_rows(window):
    """The answer about the inputs that all rows give, whatever the sketches say."""
    table = load_predictions(window.endpoint, window.start, window.end)
    [judged] = detect._ask_all(window, fleet.Seen(window, table), list(Rule.objects.filter(kind="input_drift")))
    return judged.answers[0]


def test_each_verdict_equals_that_from_all_rows(endpoint):
    answers = []
    for window in Window.objects.order_by("start"):
        told, true = found(window), from_rows(window)
        answers.append(told.answer)
        assert (told.answer, told.rows) == (true.answer, true.rows)
        assert told.data["drifted"] == true.data["drifted"]
        assert told.data["sketch_error"] <= 1 / 256
        assert "sketch_error" not in true.data
        exact = {one["column"]: one for one in true.data["columns"]}
        for one in told.data["columns"]:
            assert one["drifted"] == exact[one["column"]]["drifted"]
            assert one["psi"] <= exact[one["column"]]["psi"] + 1e-3
    assert answers[0] == "ok"
    assert answers[2:] == ["breach", "breach"]


def test_the_inputs_of_a_fleet_are_not_held_whole(endpoint):
    window = Window.objects.earliest("start")

    seen = fleet.read(window)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partials, "FLEET_ROWS", 1801)
        whole = fleet.read(window)

    assert not [name for name in seen.table.column_names if name.startswith("feature.")]
    assert set(seen.columns) == {"1"}
    assert "feature.AGEP" in seen.columns["1"]
    assert whole.columns == {}
    assert "feature.AGEP" in whole.table.column_names
    assert len(seen.table) == len(whole.table) == 1800


def test_the_sketches_of_a_fleets_window_are_kept_as_of_any_other(endpoint):
    window = Window.objects.earliest("start")

    kept = WindowSketch.objects.filter(start=window.start, windows=1).select_related("host")

    assert sorted((one.host.name, one.version, one.rows) for one in kept) == [
        ("h1", "1", 600), ("h2", "1", 600), ("h3", "1", 600),
    ]  # fmt: skip


def test_labels_that_come_late_are_judged_without_reading_the_inputs(endpoint):
    seen = fleet.read(Window.objects.earliest("start"), features=False)

    assert set(seen.table.column_names) >= {"id", "output", "label", "latency_ms", "host", "version"}
    assert not [name for name in seen.table.column_names if name.startswith("feature.")]
    assert seen.made == []


def test_the_page_of_the_window_says_that_it_was_judged_from_sketches(endpoint, client):
    window = Window.objects.earliest("start")

    page = sign_in(client, "viewer").get(f"/monitoring/windows/{window.pk}/").content.decode()

    assert "Judged from the hosts&#x27; sketches, whose shares are within" in page or (
        "Judged from the hosts' sketches, whose shares are within" in page
    )
