import json
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from django.template.loader import render_to_string
from django.utils import timezone

from monitoring.comparing.columns import NothingThere
from monitoring.quality.delay import delay, in_words
from monitoring.quality.groups import banded
from monitoring.quality.reading import Rows, rows_of
from monitoring.quality.report import quality_of
from monitoring.quality.skew import skew
from registry import store
from registry.models import Endpoint, Host, Model, Version
from tests.monitoring.standing import standing
from tests.monitoring.stream import play, watch
from tests.monitoring.test_pages import sign_in
from tests.monitoring.world import START, WINDOW, make_endpoint, make_hosts, make_version

MINUTES = "%Y-%m-%dT%H:%M"


@pytest.fixture(scope="module")
def made(django_db_setup, django_db_blocker, tmp_path_factory):
    """Version 1 answers well for two windows; then version 2 answers worse, and the last window has no labels."""
    with standing(django_db_blocker, tmp_path_factory):
        endpoint, [host] = make_endpoint(), make_hosts("h1")
        Model.objects.update(group_columns=["SEX"])
        make_version(endpoint, 1)
        make_version(endpoint, 2)
        watch(endpoint)
        for index in range(2):
            play(endpoint, [host], index, rows=900, accuracy=0.9)
        play(endpoint, [host], 2, rows=900, version=2, accuracy=0.6)
        play(endpoint, [host], 3, rows=900, version=2, accuracy=0.6, labelled=False)
        yield endpoint


@pytest.fixture
def endpoint(made, db):
    return Endpoint.objects.select_related("model").get(pk=made.pk)


def span(first, last):
    since, until = START + first * WINDOW, START + last * WINDOW
    return {"a_since": f"{since:{MINUTES}}", "a_until": f"{until:{MINUTES}}"}


def test_accuracy_is_known_where_labels_are_and_estimated_beside_it(endpoint):
    found = quality_of(endpoint, {**span(2, 4), "b_version": "1"}, timezone.now())

    whole = found.performance.whole
    share, low, high = whole.accuracy
    assert (found.version, whole.rows, whole.labelled) == ("2", 1800, 900)
    assert low < share < high
    assert abs(share - 0.6) < 0.05
    assert whole.estimated.n == 1800
    assert found.performance.calibrated == 1800
    # The scores go with the answers and know nothing of the new errors: the estimate is that of the time before.
    assert abs(whole.estimated.accuracy - 0.9) < 0.03
    assert "estimated from the scores of all 1,800" in found.sentence
    assert "can't see that inputs mean something else" in found.performance.basis
    unlabelled = found.performance.steps[-1]
    assert (unlabelled.labelled, unlabelled.accuracy) == (0, None)
    assert unlabelled.estimated is not None
    assert whole.loss is None or whole.loss[1] < whole.loss[0] < whole.loss[2]


def test_groups_are_held_against_each_other_and_against_their_own_past(endpoint):
    found = quality_of(endpoint, {**span(2, 4), "b_version": "1"}, timezone.now())

    assert {(one.feature, one.rate) for one in found.rates} == {
        ("SEX", rate) for rate in ("selection rate", "true positive rate", "false positive rate", "precision")
    }
    assert {one.group for one in found.calibrations} == {"1", "2"}
    assert any(one.outcome == "drift" for one in found.accuracies)
    assert found.worst is None  # it fell evenly
    assert {one.group for one in found.slices} == {"1", "2"}
    assert all(one.rows + one.before > 100 for one in found.slices)


def test_a_group_whose_inputs_changed_is_named(endpoint, client):
    def change(columns):
        men = columns["SEX"] == 1
        columns["AGEP"] = np.where(men, 90, columns["AGEP"])

    play(endpoint, list(Host.objects.all()), 4, rows=900, version=2, change=change)

    found = quality_of(endpoint, span(4, 5), timezone.now())

    drifted = {one.group: [verdict.column for verdict in one.drifted] for one in found.slices}
    assert "AGEP" in drifted["1"]
    assert "AGEP" not in drifted["2"]
    assert [one.group for one in found.drifting] == ["1"]
    sign_in(client, "viewer")
    page = client.get(f"/monitoring/endpoints/{endpoint.slug}/quality/", span(4, 5)).content.decode()
    assert "In 1 of 2 groups inputs differ from those of the same group before." in page


def test_the_page_and_the_api_tell_the_same(endpoint, client):
    sign_in(client, "viewer")
    values = {**span(2, 4), "b_version": "1"}

    page = client.get(f"/monitoring/endpoints/{endpoint.slug}/quality/", values).content.decode()
    answer = client.get("/api/v1/quality/", {"endpoint": endpoint.slug, **values}).json()

    assert "Are groups treated alike?" in page
    assert answer["version"] == "2"
    assert answer["accuracy"]["low"] < answer["accuracy"]["value"]
    assert answer["label_delay"]["labelled"] == 900
    assert json.dumps(answer)
    nothing = client.get(f"/monitoring/endpoints/{endpoint.slug}/quality/", span(20, 21))
    assert "Choose a span in which a version answered" in nothing.content.decode()
    assert client.get("/api/v1/quality/", {"endpoint": endpoint.slug, "hours": "x"}).status_code == 400


def test_of_too_many_rows_the_newest_are_read(endpoint):
    rows = rows_of(endpoint, START, START + 2 * WINDOW, "1", most=1000)

    assert (len(rows), rows.left_out, rows.since) == (900, 900, START + WINDOW)


def test_an_endpoint_that_answered_nothing_has_no_quality(db):
    with pytest.raises(NothingThere, match="Choose a span in which a version answered"):
        quality_of(make_endpoint("silent"), {}, timezone.now())


def test_labels_are_counted_by_age_of_answers_that_are_so_old():
    answered = np.array([0.0, 0.0, 0.0, 900.0])

    found = delay(np.array([30.0, 200.0, np.nan, np.nan]), answered, now=1000.0)

    assert [(one.age, one.n, one.hits) for one in found.aged] == [("1 min", 4, 1), ("5 min", 3, 2), ("15 min", 3, 2)]
    assert (found.rows, found.labelled, found.median) == (4, 2, 115.0)
    assert found.sentence == "50.0% of 4 answers have a label; half of these came within 115 s, 95 % within 3.2 min."
    assert in_words(200_000) == "2.3 days"


def test_bands_of_numbers_are_those_of_the_time_before():
    before, now = np.arange(100.0), np.array([-5.0, 10.0, 99.0, 500.0, np.nan])

    found = banded({"x": now}, {"x": before})["x"]

    assert found.tolist() == ["0 to 19.8", "0 to 19.8", "79.2 to 99", "79.2 to 99", None]


DECLARED = {
    "format": "lastgood-preprocessing/1",
    "numeric": [{"name": "AGEP", "op": "standardize", "mean": 40.0, "std": 20.0}],
    "categorical": [{"name": "DIS", "codes": [1, 2], "unknown": 0}, {"name": "SEX", "codes": [1, 2], "unknown": 0}],
}


def served(**read):
    columns = {"AGEP": [40, 60, 20], "DIS": [1, 2, 7], "SEX": [2, 2, 1]}
    made = {"AGEP": [0.0, 1.0, -1.0], "DIS": [1, 2, 0], "SEX": [2, 2, 1], **read}
    table = {f"feature.{name}": values for name, values in columns.items()}
    table |= {f"input.{name}": pa.array(values, pa.float32()) for name, values in made.items()}
    return Rows(pa.table(table), START, START + timedelta(minutes=1), 0)


@pytest.fixture
def offline(settings, tmp_path):
    settings.LASTGOOD_VAR = tmp_path
    sha256 = store.put_bytes(json.dumps(DECLARED).encode())
    manifest = {"components": {"preprocessing": [{"path": "preprocessing.json", "sha256": sha256}]}}
    return Version(number=1, manifest=json.dumps(manifest).encode())


def test_inputs_that_are_served_as_declared_show_no_skew(offline):
    found = skew(served(), "2", offline)

    assert found.first is None
    assert "no difference in 3 columns of 3 rows" in found.sentence


def test_the_first_column_that_is_read_otherwise_is_named(offline):
    found = skew(served(DIS=[2, 1, 0], SEX=[1, 1, 1]), "2", offline)

    assert (found.first.column, found.first.other, found.first.n) == ("DIS", 2, 3)
    assert found.sentence == (
        "DIS is the first column that version 2 reads otherwise than version 1 declares: 2 of 3 rows, such as 1, which "
        "becomes 2 and not 1; 2 of 3 columns differ."
    )


def test_without_a_declaration_nothing_is_held(settings, tmp_path):
    settings.LASTGOOD_VAR = tmp_path

    found = skew(served(), "2", Version(number=1, manifest=b"{}"))

    assert found.sentence == "Version 1 declares no preprocessing that Lastgood can carry out."


def test_a_table_that_is_cut_says_of_how_many():
    def said(count):
        return render_to_string("monitoring/quality_rest.html", {"shown": 24, "all": count}).strip()

    assert said(24) == ""
    assert said(60) == '<p class="muted">The first 24 of 60; the API has them all.</p>'
