"""A running engine is looked at, and what is there is registered: here on a real bundled host."""

import io
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from audit.actions import service_actor
from audit.models import AuditEvent
from registry import serving_access
from registry.adopting.actions import adopt
from registry.adopting.capture import NotCaptured, golden_from, made_up, read_rows
from registry.adopting.looking import look
from registry.golden import check_golden, golden_of, run_golden, tolerance_of
from registry.models import Deployment, Endpoint, Host, Model, Placement, Version
from registry.serving.allow import AddressRefused
from registry.serving.base import ServingError
from tests.host.artifacts import digest_of, make_model, row
from tests.host.fixtures import TOKEN, HostProcess
from tests.ports import free_port

ACTOR = service_actor("test")
ROWS = {name: [values[0], values[0]] for name, values in row().items()}


@pytest.fixture
def host(host_process: Callable[..., HostProcess], tmp_path: Path) -> HostProcess:
    """A host that somebody else filled: versions 3 and 7 of `prices` in memory, 7 serves since fence 5."""
    process = host_process()
    for number, bias in ((3, 2.0), (7, -2.0)):
        made = make_model(tmp_path / str(number), number, model="prices", bias=bias)
        assert process.put(str(number), made, "prices").status_code == 201
        assert process.load(str(number), "prices").status_code == 200
    address, driver = process.address, serving_access.driver_for("bundled")
    driver.switch(address, "prices", "7", digest_of(made[0]), 5)
    return process


def test_looking_changes_nothing_and_says_what_could_be_done(db: Any, host: HostProcess) -> None:
    seen = look(url=host.url, token=TOKEN, rows={"prices": ROWS})

    [model] = seen.models
    assert (seen.engine, seen.lacks, model.fence) == ("bundled", [], 5)
    told = [(one.found.name, one.state, one.opaque, one.captured) for one in model.versions]
    assert told == [("3", "loaded", False, "2 rows, as given"), ("7", "serves", False, "2 rows, as given")]
    assert model.could() == ["Go back to version 3: it is in memory, so one switch."]
    assert [one.referred for one in model.versions] == ["none: 2 were given, and it takes 100"] * 2
    assert [sentence.split(":")[0] for sentence in model.missing()] == [
        "A reference for drift of each version",
        "A holdout set with known labels, against which accuracy is judged.",
    ]
    assert not Model.objects.exists()
    assert not AuditEvent.objects.exists()


def test_a_version_whose_files_the_engine_keeps_to_itself_is_no_target_yet(db: Any, host: HostProcess) -> None:
    [model] = look(url=host.url, token=TOKEN).models
    for one in model.versions:
        one.opaque = True

    assert model.could() == [
        "It serves version 7. The engine has version 3 as well: a plan can go back there once the files of both are "
        "registered."
    ]
    assert model.missing()[0] == (
        "The files of opaque versions: register them with their files, and release one by a plan."
    )


def test_an_adopted_host_can_be_rolled_back(db: Any, host: HostProcess) -> None:
    seen = look(url=host.url, token=TOKEN)

    done = adopt(seen, name="h9", team="shop", token=TOKEN, user=None, actor=ACTOR)
    again = adopt(look(url=host.url, token=TOKEN), name="h9", team="shop", token=TOKEN, user=None, actor=ACTOR)

    assert done.left == []
    assert done.made == [
        "the host h9",
        "the model prices",
        "version 3 of prices",
        "version 7 of prices",
        "the endpoint prices-staging",
        "prices-staging on h9, which serves version 7",
    ]
    assert (again.made, again.left) == ([], [])
    held = {one.number: one for one in Version.objects.all()}
    state = host.http.get("/lastgood/v1/state").json()["models"]["prices"]["versions"]
    assert {number: one.digest for number, one in held.items()} == {int(k): v["digest"] for k, v in state.items()}
    assert Deployment.objects.get(until=None).version == held[7]
    assert (Placement.objects.get().desired, Endpoint.objects.get().fence) == (held[7], 5)
    kept = Host.objects.get()
    golden = golden_of(held[3])
    assert golden is not None
    result = run_golden(serving_access.driver_of(kept), serving_access.address_of(kept), "prices", "3", golden)
    assert (result.passed, result.n, result.digest_answered) == (True, 8, held[3].digest)
    assert "8 rows, made up" in held[3].documentation
    assert serving_access.blobs_of(held[3])
    assert [
        json.loads(bytes(event.canon))["data"]["made"]
        for event in AuditEvent.objects.filter(action="engine.adopt").order_by("pk")
    ] == [6, 0]


def test_the_command_tells_and_registers_nothing_when_dry(db: Any, host: HostProcess, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    out = io.StringIO()

    call_command("adopt", host.url, "--token-file", str(tmp_path / "token"), "--dry-run", stdout=out)
    assert not Version.objects.exists()
    assert "could: Go back to version 3" in out.getvalue()
    call_command("adopt", host.url, "--token-file", str(tmp_path / "token"), "--name", "h9", stdout=out)
    assert "registered: prices-staging on h9, which serves version 7" in out.getvalue()


def test_a_wrong_token_a_closed_port_and_a_forbidden_network_are_said(
    db: Any, host: HostProcess, settings: Any
) -> None:
    with pytest.raises(ServingError):
        look(url=host.url, token="wrong")
    with pytest.raises(CommandError):
        call_command("adopt", f"http://127.0.0.1:{free_port()}")
    settings.LASTGOOD_HOST_NETWORKS = ["10.0.0.0/8"]
    with pytest.raises(AddressRefused):
        look(url=host.url, token=TOKEN)
    assert not Host.objects.exists()


def test_rows_are_made_up_the_same_each_time_and_not_for_arrays() -> None:
    signature = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 1]}, {"name": "c", "datatype": "BYTES"}]}

    assert made_up(signature) == {"x": [-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5], "c": list("abcdefgh")}
    with pytest.raises(NotCaptured, match="arrays"):
        made_up({"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 224, 224]}]})


def test_a_golden_test_holds_numbers_and_leaves_out_the_rest() -> None:
    golden = json.loads(golden_from({"x": [1, 2]}, {"y": [0.5, 30.0], "n": [1, 2], "words": ["a", "b"], "all": [1.0]}))

    assert golden["outputs"] == {"y": ["0.5", "30.0"], "n": [1, 2]}
    assert golden["tolerance"] == {"y": "0.00300"}
    with pytest.raises(NotCaptured, match="nothing that is one number a row"):
        golden_from({"x": [1, 2]}, {"y": [float("nan"), 1.0]})


def test_a_large_output_makes_no_room_for_a_small_one_to_be_wrong() -> None:
    answers = {"price": [250000.0, 90000.0], "score": [0.25, 0.00002], "rare": [0.00001, 0.0]}

    golden = golden_from({"x": [1, 2]}, answers)

    signature = {"inputs": [{"name": "x"}], "outputs": [{"name": name} for name in answers]}
    read = check_golden(golden, signature)
    assert {name: tolerance_of(read, name) for name in answers} == {
        "price": Decimal("25"), "score": Decimal("0.000025"), "rare": Decimal("0.000000001"),
    }  # fmt: skip


@pytest.mark.parametrize("data", [b"x", b"[]", b'{"m": {}}', b'{"m": {"x": 1}}', b'{"m": {"x": [1], "y": [1, 2]}}'])
def test_a_file_that_holds_no_rows_is_refused(data: bytes) -> None:
    with pytest.raises(NotCaptured):
        read_rows(data)
