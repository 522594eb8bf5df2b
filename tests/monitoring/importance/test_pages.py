"""What the version's page and the API say of the importance of its inputs."""

import csv

import pytest
from django.test import Client

from monitoring.importance import actions
from monitoring.importance.models import Importance
from tests.monitoring.importance.test_measure import drawn, measured, model, profile, registered, too_large
from tests.registry.test_pages import person
from tests.registry.world import ALICE, events, make_version

__all__ = ["model", "too_large"]
pytestmark = pytest.mark.django_db
PAGE, PART = "/models/toy/1/", "/models/toy/1/importance/"
JSON = "application/json"
BACKEND = "django.contrib.auth.backends.ModelBackend"


@pytest.fixture
def viewer(client):
    client.force_login(person("viewer"), backend=BACKEND)
    return client


@pytest.fixture
def administrator():
    client = Client()
    client.force_login(person("administrator", name="ada"), backend=BACKEND)
    return client


def text(client, address=PAGE):
    return " ".join(client.get(address).content.decode().split())


def test_the_page_says_how_far_it_is_and_then_which_input_matters_most(model, tmp_path, viewer):
    version = registered(model, tmp_path / "made")
    assert "It is not measured yet; a worker takes it up within a minute." in text(viewer)
    one = actions.begin(version_id=version.pk)
    assert "It is being measured: 0 of 3 columns are done." in text(viewer)
    assert 'data-live="2"' in text(viewer, PART)

    measured(one)

    page = text(viewer)
    lost = 100 * one.losses["AGE"]["loss"]
    assert f"AGE matters most: without it, {lost:.1f} points of accuracy are lost." in page
    assert "1 of 3 columns is hardly read: its drift alone wakes nobody." in page
    assert "on 3,000 labelled rows of its holdout set, 5 times each, of the 100.0% that it is right in" in page
    assert "A worker answered, from the version&#x27;s own files." in page
    half = 200 * one.losses["AGE"]["error"]
    assert f'<td class="num">{lost - half:.3g} to {lost + half:.3g}</td>' in page
    assert "data-live" not in text(viewer, PART)
    rows = list(csv.reader(viewer.get(f"{PART}numbers/").content.decode().splitlines()))
    assert rows[0] == ["line", "x", "y"]
    assert [row[2] for row in rows[1:]] == ["AGE", "COLOR", "SHAPE"]
    assert float(rows[1][1]) == pytest.approx(lost)


def test_the_page_says_whose_an_importance_is_that_came_with_the_profile(model, tmp_path, viewer):
    given = profile(drawn(500), importance={"weights": {"AGE": 0.01, "COLOR": 1.0}})
    version = registered(model, tmp_path / "made", profile=given)
    actions.begin(version_id=version.pk)

    page = text(viewer)

    assert "COLOR matters most. 1 of 2 columns is hardly read" in page
    assert "came with the profile of version 1, by whoever registered it" in page
    assert "95 % interval" not in page


def test_of_a_version_with_nothing_to_measure_it_on_the_page_says_what_to_do(model, tmp_path, administrator):
    make_version(model, tmp_path)

    page = text(administrator)
    answer = administrator.post(PART, follow=True)

    assert "the version has no holdout set to measure it on" in page
    assert "Measure it now" not in page
    assert "there are no rows to measure it on. Give it one, on its page or by the API." in answer.content.decode()
    assert administrator.get(f"{PART}numbers/").status_code == 404
    assert not Importance.objects.exists()


def test_who_may_register_has_it_measured_again_and_nobody_else(model, too_large, viewer, administrator):
    one = measured(actions.begin(version_id=too_large.pk))
    assert "its weights are larger than 0 MiB. And no host that can be asked for it has it loaded." in text(viewer)
    assert "Measure it now" not in text(viewer)

    refused = viewer.post(PART)

    assert refused.status_code == 403
    one.refresh_from_db()
    assert one.state == "nowhere"
    assert "Measure it now" in text(administrator)
    answer = administrator.post(PART)
    assert answer.headers["Location"] == f"{PAGE}#importance-panel"
    one.refresh_from_db()
    assert (one.state, one.reason) == ("waiting", "")
    assert [event["actor"]["kind"] for event in events("version.importance.order")] == ["service", "user"]


def test_programs_read_it_and_ask_for_it(model, tmp_path, viewer, administrator):
    version = registered(model, tmp_path / "made")
    assert viewer.post("/api/v1/importances/", {"version": version.pk}, JSON).status_code == 403
    assert not Importance.objects.exists()

    asked = administrator.post("/api/v1/importances/", {"version": version.pk}, JSON)
    one = measured(Importance.objects.get())

    assert (asked.status_code, asked.json()["state"]) == (202, "waiting")
    [found] = viewer.get("/api/v1/importances/", {"version": version.pk}).json()["results"]
    assert found == viewer.get(f"/api/v1/importances/{one.pk}/").json()
    assert (found["model"], found["number"], found["state"]) == ("toy", 1, "done")
    assert found["weights"] == one.weights
    bare, _ = make_version(model, tmp_path)
    problem = administrator.post("/api/v1/importances/", {"version": bare.pk}, JSON)
    assert (problem.status_code, problem.json()["type"].rpartition("/")[2]) == (422, "refused")
    assert "has no holdout set" in problem.json()["detail"]


def test_of_a_model_that_reads_nothing_every_column_counts(model, tmp_path, viewer):
    one = measured(actions.ask(version=registered(model, tmp_path / "made"), actor=ALICE))
    Importance.objects.update(weights={}, losses={name: {"loss": 0.001, "error": 0.002} for name in one.losses})

    assert "No column is known to matter: what shuffling costs is within chance for each of them" in text(viewer)
