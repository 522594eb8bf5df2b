"""Composing on pages and by the API: who may, what is shown before, and what became of it."""

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from incidents.rollback.models import Trial
from registry import actions
from registry.models import Composition, TensorComparison, Version
from tests.api.programs import Program
from tests.api.programs import person as program_owner
from tests.registry.test_compose import World
from tests.registry.test_pages import person
from tests.registry.world import ALICE, make_endpoint, make_placement

pytestmark = pytest.mark.django_db
FORM = "/models/toy/compose/"
WISH = {"base": "2", "other": "1", "kind": "preprocessing", "patterns": "", "incident_ref": "INC-7"}


@pytest.fixture
def world(settings: Any, tmp_path: Path) -> World:
    settings.LASTGOOD_VAR = tmp_path / "var"
    return World(tmp_path)


@pytest.fixture
def responder(client: Client) -> Client:
    client.force_login(person("responder"), backend="django.contrib.auth.backends.ModelBackend")
    return client


def text(answer: Any) -> str:
    return " ".join(answer.content.decode().split())


def test_a_responder_sees_what_would_be_taken_and_has_it_made(world: World, responder: Client) -> None:
    # when
    shown = text(responder.get(FORM, WISH))

    # then
    assert "Version 2 with the preprocessing of version 1" in shown
    assert "numeric AGE mean: 486" in shown
    assert "numeric AGE mean: 40.5" in shown
    assert "COLOR" not in shown
    assert not Composition.objects.exists()

    # and when
    made = responder.post(FORM, WISH)
    asked = Composition.objects.get()
    waiting = text(responder.get(made.headers["Location"]))
    actions.compose(composition_id=asked.pk)
    done = responder.get(made.headers["Location"])

    # then
    assert made.headers["Location"] == f"/models/toy/compositions/{asked.pk}/"
    assert 'data-live="2"' in waiting
    assert done.headers["Location"] == "/models/toy/3/?incident_ref=INC-7"
    part = text(responder.get(f"/models/toy/compositions/{asked.pk}/", headers={"HX-Request": "true"}))
    assert "data-live" not in part
    assert "Open version 3" in part


def test_layers_are_shown_with_how_much_they_differ(world: World, responder: Client) -> None:
    wish = WISH | {"kind": "layers", "patterns": "layers.0.*, embeddings.COLOR.weight"}
    assert "was not computed yet" in text(responder.get(FORM, wish))
    actions.ask_comparison(left=world.two, right=world.one, actor=ALICE)
    actions.compute_comparison(comparison_id=TensorComparison.objects.get().pk)

    shown = text(responder.get(FORM, wish))

    assert "Version 2 with 3 tensors of version 1" in shown
    assert "Each of them differs." in shown
    order = sorted(
        (
            row
            for row in TensorComparison.objects.get().rows
            if row["name"].startswith(("layers.0", "embeddings.COLOR"))
        ),
        key=lambda row: -row["relative_norm"],
    )
    places = [shown.index(f"<code>{row['name']}</code>") for row in order]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"kind": "adapter"}, "Version 1 has no adapter."),
        ({"kind": "layers"}, "Name the layers to take"),
        ({"other": "2"}, "Choose two different versions of one model."),
    ],
)
def test_a_wish_that_cannot_be_is_said_on_the_form(
    world: World, responder: Client, changed: dict[str, str], sentence: str
) -> None:
    for answer in (responder.get(FORM, WISH | changed), responder.post(FORM, WISH | changed)):
        assert answer.status_code == 400
        assert sentence in text(answer)
    assert not Composition.objects.exists()


def test_what_could_not_be_composed_says_why(world: World, responder: Client) -> None:
    asked = actions.ask_composition(base=world.two, other=world.one, kind="preprocessing", actor=ALICE)
    Composition.objects.update(attempts=3)
    actions.compose(composition_id=asked.pk)

    page = text(responder.get(f"/models/toy/compositions/{asked.pk}/"))

    assert "It can&#x27;t be composed" in page or "It can't be composed" in page
    assert "It did not come to an end in three attempts." in page


def test_whoever_may_not_propose_may_not_compose(world: World, client: Client) -> None:
    client.force_login(person("viewer"), backend="django.contrib.auth.backends.ModelBackend")

    assert [client.get(FORM, WISH).status_code, client.post(FORM, WISH).status_code] == [403, 403]
    assert "Compose a version" not in text(client.get("/models/toy/"))
    assert not Composition.objects.exists()


def test_the_page_of_a_composed_version_leads_to_its_rehearsal(world: World, responder: Client) -> None:
    # given
    endpoint = make_endpoint(world.model)
    make_placement(endpoint)
    version = world.composed("preprocessing").version
    page = text(responder.get(f"/models/toy/{version.number}/?incident_ref=INC-7"))
    assert "Version 2 with the preprocessing of version 1." in page
    assert "Rehearse it on toy-production" in page
    assert "Propose it for" not in page

    # when
    order = {"version": version.pk, "endpoint": "toy-production", "incident_ref": "INC-7"}
    answer = responder.post("/rollback/rehearsals/", order)

    # then
    trial = Trial.objects.get()
    assert (trial.version, trial.incident_ref, trial.state) == (version, "INC-7", "waiting")
    assert answer.headers["Location"] == f"/rollback/rehearsals/{trial.pk}/"
    shown = text(responder.get(answer.headers["Location"]))
    assert "It waits until no run and no other trial has the endpoint." in shown

    # and when
    figures = {"accuracy": 0.75, "n": 40, "correct": 30, "low": 0.598, "high": 0.858}
    told = {"hosts": ["gpu-a1"], "at": "2026-11-21T20:00:00+00:00", "parents": {"2": figures | {"accuracy": 0.25}}}
    with_rehearsal = {"holdout": figures, "rehearsal": told}
    Version.objects.filter(pk=version.pk).update(metrics=with_rehearsal, golden=world.one.golden)
    page = text(responder.get(f"/models/toy/{version.number}/?incident_ref=INC-7"))

    # then
    assert "on one host only" in page
    assert "it is right in 75.0 % (59.8 % to 85.8 %), version 2 in 25.0 %" in page
    assert f"/rollback/propose/?kind=rollback&amp;endpoint=toy-production&amp;to_version={version.pk}&amp;" in page


def test_a_program_composes_and_rehearses_by_the_api(world: World) -> None:
    make_placement(make_endpoint(world.model))
    program = Program(program_owner("rita", "responder"), "view", "plan.propose")
    wish = {"model": "toy", "base": 2, "other": 1, "kind": "layers", "patterns": ["layers.*"]}

    asked = program.ask("POST", "/api/v1/compositions/", wish)
    actions.compose(composition_id=asked.json()["id"])
    found = program.ask("GET", f"/api/v1/compositions/{asked.json()['id']}/").json()
    refused = program.ask("POST", "/api/v1/compositions/", wish | {"kind": "adapter"})
    ordered = program.ask("POST", "/api/v1/rehearsals/", {"version": found["version_id"], "endpoint": "toy-production"})
    whole = program.ask("POST", "/api/v1/rehearsals/", {"version": world.one.pk, "endpoint": "toy-production"})

    assert (asked.status_code, asked.json()["state"]) == (202, "waiting")
    assert (found["state"], found["version"], found["tensors"]) == (
        "done", 3, ["layers.0.bias", "layers.0.weight", "layers.3.bias", "layers.3.weight"],
    )  # fmt: skip
    assert (refused.status_code, refused.json()["detail"]) == (
        422,
        "Version 1 has no adapter. Choose another part, or another version.",
    )
    assert (ordered.status_code, ordered.json()["state"]) == (202, "waiting")
    assert whole.status_code == 409
    assert program.ask("GET", "/api/v1/rehearsals/").json()["results"][0]["id"] == ordered.json()["id"]
