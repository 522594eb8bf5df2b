"""Having two versions compared tensor by tensor: asked once, computed once, shown on the model's page."""

import datetime
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.actions import create_user
from audit.actions import service_actor
from audit.models import AuditEvent
from registry import actions, store
from registry.due import comparisons
from registry.models import TensorComparison, Version
from tests.registry.world import ALICE, make_registered_model, make_version

pytestmark = pytest.mark.django_db
PAGE = "/models/toy/tensors/1/2/"


@pytest.fixture
def versions(settings: Any, tmp_path: Path) -> tuple[Version, Version]:
    settings.LASTGOOD_VAR = tmp_path
    model = make_registered_model()
    first, _ = make_version(model, tmp_path, seed=1)
    second, _ = make_version(model, tmp_path, seed=2)
    return first, second


@pytest.fixture
def viewer() -> Client:
    user = create_user(
        username="vera", email="", full_name="Vera", password="correct horse battery", roles=["viewer"],
        actor=service_actor("test"),
    )  # fmt: skip
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def test_what_was_asked_is_computed_and_the_page_shows_the_largest_change_first(
    versions: tuple[Version, Version], viewer: Client
) -> None:
    # given
    assert b"Compare the tensors" in viewer.get("/models/toy/?left=1&right=2").content

    # when
    answer = viewer.post(PAGE)
    asked = TensorComparison.objects.get()
    waiting = viewer.get(PAGE).content.decode()
    assert actions.compute_comparison(comparison_id=asked.pk) is True

    # then
    assert answer.headers["Location"] == "/models/toy/?left=1&right=2#tensors"
    assert "Being computed" in waiting
    assert 'data-live="2"' in waiting
    asked.refresh_from_db()
    assert (asked.state, len(asked.rows)) == ("done", 6)
    page = viewer.get(PAGE).content.decode()
    assert "5 of 6 tensors differ." in page
    differing = [row for row in asked.rows if row["change"] != "same"]
    order = sorted(differing, key=lambda row: -row["relative_norm"])
    places = [page.index(f"<code>{row['name']}</code>") for row in order]
    assert places == sorted(places)
    assert "data-live" not in page
    assert AuditEvent.objects.filter(action="version.compare", outcome="success").count() == 1


def test_asking_again_gives_what_is_there(versions: tuple[Version, Version]) -> None:
    one = actions.ask_comparison(left=versions[0], right=versions[1], actor=ALICE)
    two = actions.ask_comparison(left=versions[0], right=versions[1], actor=ALICE)

    assert one == two
    assert AuditEvent.objects.filter(action="version.compare").count() == 1


def test_a_version_is_not_compared_with_itself(versions: tuple[Version, Version], viewer: Client) -> None:
    answer = viewer.post("/models/toy/tensors/1/1/", follow=True)

    assert "Choose two different versions of one model." in answer.content.decode()
    assert not TensorComparison.objects.exists()


def test_it_is_computed_once_and_again_only_where_a_worker_was_lost(versions: tuple[Version, Version]) -> None:
    asked = actions.ask_comparison(left=versions[0], right=versions[1], actor=ALICE)
    assert comparisons(timezone.now()) == [asked.pk]
    TensorComparison.objects.update(due_at=timezone.now() + datetime.timedelta(minutes=5))

    assert comparisons(timezone.now()) == []
    assert actions.compute_comparison(comparison_id=asked.pk) is False
    TensorComparison.objects.update(due_at=timezone.now() - datetime.timedelta(seconds=1), attempts=3)
    assert actions.compute_comparison(comparison_id=asked.pk) is True

    asked.refresh_from_db()
    assert (asked.state, asked.reason) == ("refused", "It did not come to an end in three attempts.")


def test_a_file_that_is_gone_is_said(versions: tuple[Version, Version], viewer: Client) -> None:
    asked = actions.ask_comparison(left=versions[0], right=versions[1], actor=ALICE)
    weights = versions[1].files.get(component="weights")
    store.path(weights.artifact_id).unlink()

    actions.compute_comparison(comparison_id=asked.pk)

    assert f"The file {weights.artifact_id[:12]} is not in the artifact store" in viewer.get(PAGE).content.decode()
