"""A reference for drift is made of what a running engine answers, so that an adopted endpoint can be judged at once."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audit.actions import service_actor
from audit.models import AuditEvent
from monitoring.adopted import reference_of
from monitoring.drift.compare import compare
from monitoring.drift.judge import judge
from monitoring.profiles import profiles_of
from registry.adopting.actions import adopt
from registry.adopting.capture import mixed
from registry.adopting.looking import look
from registry.models import Version
from tests.host.artifacts import digest_of, make_model
from tests.host.fixtures import TOKEN, HostProcess

ACTOR = service_actor("test")
ROWS = 600


def traffic(seed: int, shift: int = 0) -> dict[str, list[int]]:
    """Requests as they come: ages about 40 (plus `shift`), three colours, two shapes."""
    drawn = np.random.default_rng(seed)
    ages = np.clip(drawn.normal(40 + shift, 10, ROWS), 0, 120).astype(int)
    return {
        "AGE": ages.tolist(),
        "COLOR": drawn.choice([1, 2, 3], ROWS, p=[0.6, 0.3, 0.1]).tolist(),
        "SHAPE": drawn.choice([0, 5], ROWS).tolist(),
    }


@pytest.fixture
def host(host_process: Callable[..., HostProcess], tmp_path: Path) -> HostProcess:
    """A host on which 7 serves since fence 5, and 3 lies beside it in memory."""
    process = host_process()
    for number, bias in ((3, 0.1), (7, -0.1)):
        assert process.put(str(number), make_model(tmp_path / str(number), number, model="prices", bias=bias), "prices")
        assert process.load(str(number), "prices").status_code == 200
    assert process.switch("7", digest_of(make_model(tmp_path / "7", 7, model="prices", bias=-0.1)[0]), 5, "prices")
    return process


def ask_live(host: HostProcess, columns: dict[str, list[int]], size: int = 50) -> None:
    for start in range(0, ROWS, size):
        part = {name: values[start : start + size] for name, values in columns.items()}
        assert host.infer(part, model="prices").status_code == 200


def drifted(version: Version, columns: dict[str, list[int]]) -> dict[str, bool]:
    profiles = profiles_of(version)
    assert profiles is not None
    compared = compare(profiles[0], {name: np.asarray(values) for name, values in columns.items()})
    return {verdict.column: bool(verdict.drifted) for verdict in judge(compared)}


def test_an_engine_with_traffic_is_adopted_with_reference_and_golden_test(db: Any, host: HostProcess) -> None:
    asked = traffic(1)
    ask_live(host, asked)
    host.infer({"AGE": [119], "COLOR": [1], "SHAPE": [0]}, model="prices", parameters={"log": False})

    seen = look(url=host.url, token=TOKEN)
    done = adopt(seen, name="h9", team="shop", token=TOKEN, user=None, actor=ACTOR)

    assert done.left == []
    three, seven = Version.objects.order_by("number")
    profiles = profiles_of(seven)
    assert profiles is not None
    assert (profiles[0].rows, set(profiles[0].columns)) == (ROWS, {"AGE", "COLOR", "SHAPE"})
    age = profiles[0].columns["AGE"]
    assert (age.kind, age.minimum, age.maximum) == ("numeric", min(asked["AGE"]), max(asked["AGE"]))
    assert {name: column.kind for name, column in profiles[1].columns.items()} == {
        "output": "categorical", "score": "numeric",
    }  # fmt: skip
    assert drifted(seven, traffic(2)) == {"AGE": False, "COLOR": False, "SHAPE": False}
    assert drifted(seven, traffic(3, shift=25)) == {"AGE": True, "COLOR": False, "SHAPE": False}
    assert drifted(three, traffic(3, shift=25))["AGE"]
    [model] = seen.models
    assert [(one.captured, one.referred.split(" live")[0]) for one in model.versions] == [
        ("64 rows, of values that were asked live", "600 rows that version 7 answered"),
        ("64 rows, of values that were asked live", "600 rows that version 7 answered"),
    ]
    assert model.versions[0].referred.endswith(", asked of it too")
    assert model.missing() == ["A holdout set with known labels, against which accuracy is judged."]
    assert "600 rows that version 7 answered live" in seven.documentation


def test_a_reference_of_another_version_is_of_its_own_answers(db: Any, host: HostProcess) -> None:
    ask_live(host, traffic(1))

    adopt(look(url=host.url, token=TOKEN), name="h9", team="shop", token=TOKEN, user=None, actor=ACTOR)

    three, seven = (profiles_of(version) for version in Version.objects.order_by("number"))
    assert three is not None
    assert seven is not None
    asked = host.infer(traffic(1), version="3", model="prices", parameters={"log": False}).json()["outputs"]
    scores = next(output["data"] for output in asked if output["name"] == "score")
    assert three[1].columns["score"].mean == pytest.approx(float(np.mean(scores)), abs=1e-6)
    assert three[1].columns["score"].mean != pytest.approx(seven[1].columns["score"].mean, abs=1e-3)


def test_what_is_lacking_is_given_when_it_is_adopted_again_and_never_replaced(db: Any, host: HostProcess) -> None:
    ask_live(host, {name: values[:50] * 12 for name, values in traffic(1).items()}, size=ROWS)
    short = {name: values[:99] for name, values in traffic(1).items()}
    before = look(url=host.url, token=TOKEN, rows={"prices": short})
    adopt(before, name="h9", team="shop", token=TOKEN, user=None, actor=ACTOR)
    first = Version.objects.get(number=7)
    assert (first.profile_id, before.models[0].versions[1].referred) == (None, "none: 99 were given, and it takes 100")
    assert "at least 100" in before.models[0].missing()[0]

    again = adopt(look(url=host.url, token=TOKEN), name="h9", team="shop", token=TOKEN, user=None, actor=ACTOR)

    assert again.made == [
        "the reference for drift of version 3 of prices",
        "the reference for drift of version 7 of prices",
    ]
    now = Version.objects.get(number=7)
    assert now.profile_id is not None
    assert now.golden_id == first.golden_id
    told = json.loads(bytes(AuditEvent.objects.filter(action="version.complete").latest("pk").canon))
    assert told["data"] == {"digest": now.digest, "profile": now.profile_id}
    ask_live(host, traffic(4))
    third = adopt(look(url=host.url, token=TOKEN), name="h9", team="shop", token=TOKEN, user=None, actor=ACTOR)
    assert (third.made, Version.objects.get(number=7).profile_id) == ([], now.profile_id)


def test_the_host_keeps_its_last_rows_and_no_more(host: HostProcess) -> None:
    ages = [*range(1200), *range(1200)]
    for start in range(0, 2400, 400):
        part = ages[start : start + 400]
        host.infer({"AGE": part, "COLOR": [1] * 400, "SHAPE": [0] * 400}, model="prices")
    found = host.http.get("/lastgood/v1/models/prices/versions/7/recent").json()

    assert (found["rows"], found["inputs"]["AGE"]) == (2000, ages[400:])
    assert len(found["outputs"]["score"]) == 2000
    assert host.http.get("/lastgood/v1/models/prices/versions/3/recent").json()["rows"] == 0
    refused = host.http.get("/lastgood/v1/models/prices/versions/7/recent", headers={"Authorization": "Bearer x"})
    assert refused.status_code == 401


def test_golden_rows_of_live_values_are_nobodys() -> None:
    columns = {"a": list(range(200)), "b": list(range(200))}

    rows = mixed(columns)

    assert (len(rows["a"]), mixed(columns)) == (64, rows)
    assert len(set(rows["a"])) == 64
    assert sum(a == b for a, b in zip(rows["a"], rows["b"], strict=True)) < 5


@pytest.mark.parametrize(
    ("outputs", "named"),
    [
        ({"label": [0, 1], "p": [0.1, 0.9]}, {"output": "categorical", "score": "numeric"}),
        ({"p": [0.1, 0.9], "label": ["no", "yes"]}, {"output": "categorical", "score": "numeric"}),
        ({"price": [1.5, 2.5]}, {"output": "numeric"}),
    ],
)
def test_answers_are_named_as_the_prediction_log_names_them(outputs: Any, named: dict[str, str]) -> None:
    profile = json.loads(reference_of({"x": [1, 2], "k": ["a", "b"]}, outputs, {"rows": 2}))

    assert {name: column["kind"] for name, column in profile["outputs"].items()} == named
    assert {name: column["kind"] for name, column in profile["columns"].items()} == {"x": "numeric", "k": "categorical"}
    assert profile["captured"] == {"rows": 2}
