"""The API of the registry, as programs with a scoped token use it."""

import datetime
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.actions import create_user, issue_token
from audit.actions import service_actor
from registry import store
from registry.models import Alias, Deployment, FreezeWindow, Host, Model, Placement, Version
from tests.host.artifacts import digest_of, make_model
from tests.registry.world import (
    ALICE,
    events,
    golden_bytes,
    make_endpoint,
    make_placement,
    make_registered_model,
    make_version,
    switched,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _store_of_its_own(settings: Any, tmp_path: Path) -> None:
    settings.LASTGOOD_VAR = tmp_path / "var"


class Program:
    """A client that sends a token with the scopes."""

    def __init__(self, role: str, *scopes: str) -> None:
        owner = create_user(
            username=role, email=f"{role}@example.org", full_name=role, password="correct horse battery",
            roles=[role], actor=service_actor("test"),
        )  # fmt: skip
        _, self.secret = issue_token(owner=owner, name="ci", scopes=scopes, expires_at=None, actor=ALICE)
        self.client = Client(headers={"Authorization": f"Bearer {self.secret}"})

    def get(self, path: str, **query: Any) -> Any:
        return self.client.get(f"/api/v1/{path}", query)

    def post(self, path: str, **body: Any) -> Any:
        return self.client.post(f"/api/v1/{path}", json.dumps(body), content_type="application/json")

    def put(self, data: bytes, sha256: str | None = None) -> Any:
        sha256 = sha256 or hashlib.sha256(data).hexdigest()
        return self.client.put(f"/api/v1/blobs/{sha256}/", data, content_type="application/octet-stream")


@pytest.fixture
def ci() -> Program:
    return Program("administrator", "view", "registry.write")


@pytest.fixture
def reader() -> Program:
    return Program("viewer", "view")


def test_a_version_is_uploaded_in_two_steps(ci: Program, tmp_path: Path) -> None:
    ci.post("models/", slug="toy", name="Toy", team="ml")
    manifest, blobs = make_model(tmp_path / "made", 1)
    golden = golden_bytes()
    codes = [ci.put(data).status_code for data in (*(path.read_bytes() for path in blobs.values()), golden)]

    answer = ci.post(
        "versions/",
        model="toy",
        manifest=json.loads(manifest),
        golden=hashlib.sha256(golden).hexdigest(),
        metrics={"holdout": {"accuracy": 0.8125}},
    )

    assert codes == [201, 201, 201, 201]
    assert answer.status_code == 201
    assert answer.json()["digest"] == digest_of(manifest)
    assert answer.json()["metrics"] == {"holdout": {"accuracy": 0.8125}}
    version = Version.objects.get()
    assert bytes(version.manifest) == manifest
    [event] = events("version.register")
    assert (event["actor"]["kind"], event["actor"]["id"]) == ("token", version.created_by)


def test_a_file_that_is_there_is_not_sent_twice(ci: Program) -> None:
    assert [ci.put(b"weights").status_code, ci.put(b"weights").status_code] == [201, 200]


def test_a_file_under_another_name_is_refused_and_not_kept(ci: Program) -> None:
    answer = ci.put(b"weights", sha256="ab" * 32)

    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "Nothing was stored" in answer.json()["detail"]
    assert not store.holds("ab" * 32)


def test_a_name_that_is_no_sha256_is_refused(ci: Program) -> None:
    assert ci.put(b"weights", sha256="weights").status_code == 422


def test_a_version_whose_files_were_not_uploaded_is_refused_with_the_files_name(ci: Program, tmp_path: Path) -> None:
    make_registered_model()
    manifest, _ = make_model(tmp_path / "made", 1)

    answer = ci.post("versions/", model="toy", manifest=json.loads(manifest))

    assert answer.status_code == 422
    assert "is missing. Upload it" in answer.json()["detail"]
    assert not Version.objects.exists()


def test_a_golden_test_that_was_not_uploaded_is_named(ci: Program, tmp_path: Path) -> None:
    make_registered_model()
    manifest, _ = make_model(tmp_path / "made", 1)

    answer = ci.post("versions/", model="toy", manifest=json.loads(manifest), golden="ab" * 32)

    assert answer.status_code == 422
    assert "The golden abababababab was not uploaded yet" in answer.json()["detail"]


def test_what_is_there_already_is_a_conflict(ci: Program) -> None:
    ci.post("models/", slug="toy", name="Toy", team="ml")

    answer = ci.post("models/", slug="toy", name="Toy", team="ml")

    assert answer.status_code == 409
    assert answer.json()["type"] == "/problems/already-there"
    assert Model.objects.count() == 1


def test_a_host_is_registered_and_placed_and_its_token_never_comes_out(ci: Program) -> None:
    make_endpoint(make_registered_model())

    host = ci.post("hosts/", name="gpu-a1", engine="bundled", address="http://127.0.0.1:9", control_token="secret!")
    placement = ci.post("placements/", endpoint="toy-production", host="gpu-a1")

    assert (host.status_code, placement.status_code) == (201, 201)
    assert "secret!" not in host.content.decode()
    assert "control_token" not in ci.get("hosts/gpu-a1/").json()
    assert placement.json()["health"] == "unknown"
    assert Placement.objects.get().host == Host.objects.get()


def test_a_host_outside_of_the_allowed_networks_is_a_refusal_with_a_sentence(ci: Program) -> None:
    answer = ci.post("hosts/", name="gpu-a1", engine="bundled", address="http://8.8.8.8", control_token="x")

    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/address-refused"
    assert "LASTGOOD_HOST_NETWORKS" in answer.json()["detail"]
    assert not Host.objects.exists()


def test_what_was_live_at_a_moment_is_one_request(reader: Program, tmp_path: Path) -> None:
    model = make_registered_model()
    placement = make_placement(make_endpoint(model))
    versions = [make_version(model, tmp_path, seed=seed)[0] for seed in (1, 2)]
    for version in versions:
        switched(placement, version)
    hour = datetime.timedelta(hours=1)
    began = Deployment.objects.get(version=versions[0])
    Deployment.objects.filter(pk=began.pk).update(since=began.since - 2 * hour)

    answer = reader.get("deployments/", at=(began.since - hour).isoformat(), endpoint="toy-production")

    rows = answer.json()["results"]
    assert [(row["version"], row["host"], row["cause"]) for row in rows] == [(1, "gpu-a1", "release")]


def test_an_alias_is_moved_by_number(ci: Program, tmp_path: Path) -> None:
    version, _ = make_version(make_registered_model(), tmp_path)

    answer = ci.post("models/toy/aliases/", name="champion", version=1)
    missing = ci.post("models/toy/aliases/", name="champion", version=7)

    assert [(row["name"], row["version"]) for row in answer.json()["aliases"]] == [("champion", 1)]
    assert missing.status_code == 422
    assert Alias.objects.get().version == version


def test_a_quarantine_needs_a_reason(ci: Program, tmp_path: Path) -> None:
    version, _ = make_version(make_registered_model(), tmp_path)

    without = ci.post(f"versions/{version.pk}/quarantine/")
    answer = ci.post(f"versions/{version.pk}/quarantine/", reason="It swaps two codes.")

    assert without.status_code == 400
    assert answer.json()["quarantine_reason"] == "It swaps two codes."
    assert len(events("version.quarantine")) == 1


def test_a_commander_freezes_and_lifts_by_token() -> None:
    make_endpoint(make_registered_model())
    commander = Program("commander", "view", "incident.command")
    until = (timezone.now() + datetime.timedelta(hours=1)).isoformat()

    frozen = commander.post("endpoints/toy-production/freeze/", until=until, reason="Looking.")
    [window] = frozen.json()["freezes"]
    lifted = commander.post("endpoints/toy-production/lift/", window=window["id"], reason="Found it.")

    assert (window["reason"], window["starts"], window["begun"]) == ("Looking.", None, True)
    assert lifted.json()["freezes"] == []


def test_a_freeze_is_planned_with_a_beginning_and_an_end_and_called_off() -> None:
    endpoint = make_endpoint(make_registered_model())
    commander = Program("commander", "view", "incident.command")
    now = timezone.now()
    starts, until = now + datetime.timedelta(hours=2), now + datetime.timedelta(hours=5)
    path = "endpoints/toy-production/freeze/"

    backwards = commander.post(path, starts=until.isoformat(), until=starts.isoformat(), reason="Fair.")
    planned = commander.post(path, starts=starts.isoformat(), until=until.isoformat(), reason="Fair.")

    assert backwards.status_code == 422
    assert planned.status_code == 200
    moments = [now, starts, until - datetime.timedelta(seconds=1), until]
    assert [endpoint.freeze_at(moment) is not None for moment in moments] == [False, True, True, False]
    [event] = events("endpoint.freeze")
    [window] = planned.json()["freezes"]
    assert (set(event["data"]), event["data"]["window"]) == ({"from", "until", "window"}, window["id"])
    assert window["begun"] is False
    lifted = commander.post("endpoints/toy-production/lift/", window=window["id"], reason="No fair.")
    assert lifted.json()["freezes"] == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("models/", {"slug": "toy", "name": "Toy", "team": "ml"}),
        ("hosts/", {"name": "h", "engine": "bundled", "address": "http://127.0.0.1:9", "control_token": ""}),
        ("endpoints/toy-production/freeze/", {"until": "2099-01-01T00:00:00Z", "reason": "x"}),
    ],
)
def test_a_reader_changes_nothing_and_the_attempt_is_on_record(
    reader: Program, path: str, body: dict[str, str]
) -> None:
    make_endpoint(make_registered_model("other"))

    answer = reader.post(path, **body)

    assert answer.status_code == 403
    assert not Model.objects.filter(slug="toy").exists()
    assert not Host.objects.exists()
    assert not FreezeWindow.objects.exists()
    assert len(events("access.deny")) == 1


def test_a_reader_uploads_nothing(reader: Program) -> None:
    assert reader.put(b"weights").status_code == 403
    assert not store.holds(hashlib.sha256(b"weights").hexdigest())


@pytest.mark.parametrize("resource", ["models", "versions", "endpoints", "hosts", "placements", "deployments"])
def test_every_resource_lists_and_refuses_a_stranger(reader: Program, resource: str, client: Client) -> None:
    assert reader.get(f"{resource}/").status_code == 200
    assert client.get(f"/api/v1/{resource}/").status_code == 401
