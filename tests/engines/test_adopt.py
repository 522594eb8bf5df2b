"""What is read of each engine's own models, on its real server."""

from pathlib import Path
from typing import Any

import pytest

from audit.actions import service_actor
from registry.adopting.actions import adopt
from registry.adopting.looking import look
from registry.golden import golden_of
from registry.models import Host, Model, Placement, Version
from tests.engines.story import Story

pytestmark = [pytest.mark.engines, pytest.mark.django_db]
ACTOR = service_actor("test")


@pytest.fixture(autouse=True)
def _folders(settings: Any, tmp_path: Path) -> None:
    settings.LASTGOOD_VAR = tmp_path
    settings.LASTGOOD_REPOSITORIES = ["/tmp", str(tmp_path)]


def test_an_engine_is_detected_and_what_serves_is_registered(story: Story) -> None:
    """A version that serves is found, asked, and registered with a golden test of its answers."""
    story.serve(1)
    server = story.server
    options = dict(server.address.options)
    rows = {story.model: server.inputs} if server.engine in ("torchserve", "bundled") else None

    seen = look(url=server.address.url, token=server.address.token, options=options, rows=rows)
    [model] = [one for one in seen.models if one.name == story.model]

    assert seen.engine == server.engine
    assert model.skipped == []
    [serving] = [one for one in model.versions if one.found.is_default]
    assert serving.golden is not None, serving.captured
    assert serving.opaque == (server.engine != "bundled")
    seen.models = [model]
    done = adopt(
        seen, name=f"adopted-{story.model}", team="shop", token=server.address.token, options=options, user=None,
        actor=ACTOR,
    )  # fmt: skip
    version = Version.objects.get(model__slug=story.model)
    assert (version.digest == story.digest(1)) == (server.engine == "bundled")
    assert version.environment.get("opaque", False) == (server.engine != "bundled")
    golden = golden_of(version)
    assert golden is not None
    assert set(golden["outputs"]) <= set(server.expected(1)) | {"score"}
    assert Placement.objects.exists() == (server.engine == "bundled"), done.left
    assert Host.objects.count() == 1, done.left
    assert Model.objects.get().slug == story.model


def test_a_second_look_finds_it_registered(story: Story) -> None:
    story.serve(2)
    server = story.server
    rows = {story.model: server.inputs} if server.engine in ("torchserve", "bundled") else None
    given: dict[str, Any] = {
        "url": server.address.url, "token": server.address.token, "options": dict(server.address.options), "rows": rows,
    }  # fmt: skip
    seen = look(**given)
    seen.models = [one for one in seen.models if one.name == story.model]
    adopt(seen, name="adopted", team="shop", token=given["token"], options=given["options"], user=None, actor=ACTOR)

    again = look(**given)

    [model] = [one for one in again.models if one.name == story.model]
    assert again.host_known
    assert [one.known for one in model.versions if one.found.is_default] == [True]
