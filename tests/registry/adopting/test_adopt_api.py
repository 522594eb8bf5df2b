"""A program looks at an engine, and registers what is there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registry.models import Host, Model, Version
from tests.api.programs import Program, person, problem_of
from tests.host.artifacts import make_model
from tests.host.fixtures import TOKEN, HostProcess
from tests.ports import free_port

PLACE = "/api/v1/adoptions/"


def test_a_program_looks_then_registers(db: Any, host_process: Callable[..., HostProcess], tmp_path: Path) -> None:
    process = host_process()
    assert process.put("1", make_model(tmp_path / "1", 1, model="prices"), "prices").status_code == 201
    ada, given = Program(person("ada", "administrator")), {"url": process.url, "token": TOKEN}

    looked = ada.ask("POST", PLACE, given)

    told = looked.json()
    assert (looked.status_code, told["engine"], told["made"], told["left"]) == (200, "bundled", [], [])
    [model] = told["models"]
    assert (model["slug"], model["could"]) == ("prices", ["Nothing of it serves, so there is nothing to roll back."])
    assert [(one["label"], one["state"], one["known"]) for one in model["versions"]] == [
        ("version 1", "not loaded", False)
    ]
    assert TOKEN not in looked.content.decode()
    assert not Model.objects.exists()

    made = ada.ask("POST", PLACE, given | {"register": True, "name": "h9", "team": "shop"})
    assert made.status_code == 201
    assert made.json()["made"][:3] == ["the host h9", "the model prices", "version 1 of prices"]
    assert Version.objects.get().reason_taken == "adopted"
    again = ada.ask("POST", PLACE, given | {"register": True, "name": "h9"})
    assert (again.status_code, again.json()["made"], again.json()["host_known"]) == (201, [], True)


@pytest.mark.parametrize(
    ("wish", "status", "kind"),
    [
        ({}, 400, "invalid"),
        ({"url": "ftp://x"}, 422, "address-refused"),
        ({"url": "NOBODY", "register": True}, 400, "invalid"),
        ({"url": "NOBODY", "rows": {"prices": {"x": [1], "y": [1, 2]}}}, 400, "invalid"),
        ({"url": "NOBODY", "engine": "bundled"}, 502, "engine-failed"),
    ],
    ids=["no-address", "bad-address", "no-name", "bad-rows", "nobody-there"],
)
def test_what_can_not_be_done_is_said_and_nothing_is_registered(
    db: Any, wish: dict[str, Any], status: int, kind: str
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    wish = {name: nobody if value == "NOBODY" else value for name, value in wish.items()}

    answer = Program(person("ada", "administrator")).ask("POST", PLACE, wish)

    problem_of(answer, status, kind)
    assert not Host.objects.exists()


def test_who_may_not_register_may_not_adopt(db: Any) -> None:
    answer = Program(person("cleo", "commander")).ask("POST", PLACE, {"url": "http://127.0.0.1:1"})
    problem_of(answer, 403, "permission-denied")
