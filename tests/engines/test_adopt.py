"""What is read of each engine's own models, on its real server."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from audit.actions import service_actor
from registry.adopting.actions import adopt
from registry.adopting.looking import look
from registry.golden import golden_of
from registry.models import Host, Model, Placement, Version
from registry.serving_access import address_of, driver_of
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


def test_a_torchserve_with_its_token_authorisation_on_is_adopted_with_both_of_its_keys(
    guarded: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given what its administrator has: the address, where it is managed, two keys, and rows
    guarded.serve(1)
    rows = tmp_path / "rows.json"
    rows.write_text(json.dumps({guarded.model: guarded.server.inputs}))
    options = [f"--option={name}={value}" for name, value in guarded.address.options.items()]

    def adopted(token: str, *more: str) -> str:
        monkeypatch.setenv("LASTGOOD_ADOPT_TOKEN", token)
        said = io.StringIO()
        call_command("adopt", guarded.address.url, "--name", "guarded", f"--rows={rows}", *options, *more, stdout=said)
        return said.getvalue()

    management, inference = guarded.address.token.split(":")

    # when the key to manage is another, it is TorchServe's own sentence that is said
    for more in ([], ["--engine", "torchserve"]):
        with pytest.raises(CommandError, match="Token either incorrect, expired"):
            adopted(f"{inference}:{inference}", *more)
    assert not Host.objects.exists()

    # when the key to predict is another, what is found is said, and why no golden test was captured
    assert "Token either incorrect, expired" in adopted(f"{management}:{management}", "--dry-run")

    # when both are right
    said = adopted(guarded.address.token)

    # then it is registered with what it answers, and driven with the same token
    assert f"registered: version 1 of {guarded.model}, opaque" in said
    golden = golden_of(Version.objects.get(model__slug=guarded.model))
    assert golden is not None
    assert [float(value) for value in golden["outputs"]["y"]] == guarded.server.expected(1)["y"]
    host = Host.objects.get(name="guarded")
    seen = driver_of(host).observe(address_of(host))
    assert seen.models[guarded.model].default_digest == guarded.digest(1)
