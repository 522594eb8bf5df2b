"""A version that was registered without a holdout set is given one, once."""

import hashlib
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from monitoring.importance.actions import begin
from registry import actions, forms, store
from registry.content import ContentRefused
from registry.models import Version
from tests.registry.test_api import Program, ci, reader
from tests.registry.test_pages import person
from tests.registry.world import ALICE, events, make_registered_model, make_version

__all__ = ["ci", "reader"]
pytestmark = pytest.mark.django_db
PAGE, FORM = "/models/toy/1/", "/models/toy/1/holdout/"
ROWS: dict[str, list[Any]] = {"AGE": [30, 40, 50], "COLOR": [1, 2, 3], "SHAPE": [0, 5, 0], "label": [1, 0, None]}


@pytest.fixture
def version(settings: Any, tmp_path: Path) -> Version:
    settings.LASTGOOD_VAR = tmp_path / "var"
    return make_version(make_registered_model(), tmp_path)[0]


@pytest.fixture
def administrator(client: Client) -> Client:
    client.force_login(person("administrator"), backend="django.contrib.auth.backends.ModelBackend")
    return client


def parquet(**changed: Any) -> bytes:
    columns = {name: values for name, values in (ROWS | changed).items() if values is not None}
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def upload(client: Client, data: bytes) -> Any:
    return client.post(FORM, {"holdout": SimpleUploadedFile("rows.parquet", data)}, follow=True)


def text(answer: Any) -> str:
    return " ".join(answer.content.decode().split())


def test_it_is_kept_recorded_and_its_importance_taken_up(
    version: Version, django_capture_on_commit_callbacks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[str, list[int], str]] = []
    monkeypatch.setattr(
        "registry.actions.known.send_on_commit", lambda task, ids, queue: sent.append((task, ids, queue))
    )
    rows = parquet()

    actions.give_holdout(version=version, holdout=rows, actor=ALICE)

    sha256 = hashlib.sha256(rows).hexdigest()
    assert Version.objects.get().holdout_id == version.holdout_id == sha256
    with store.open_verified(sha256) as file:
        assert file.read() == rows
    [event] = events("version.complete")
    assert event["target"] == {"kind": "version", "id": "toy/1", "version": version.digest}
    assert event["actor"]["id"] == ALICE.id
    assert event["data"] == {"digest": version.digest, "holdout": sha256}
    assert sent == [("importance.begin", [version.pk], "compute")]
    assert str(getattr(begin(version_id=version.pk), "state", "")) == "waiting"


def test_one_that_it_has_is_never_replaced_not_even_by_who_read_the_version_before(version: Version) -> None:
    stale = Version.objects.get()
    actions.give_holdout(version=version, holdout=parquet(), actor=ALICE)
    first = version.holdout_id

    for seen in (version, stale):
        with pytest.raises(actions.AlreadyThere, match=r"Version 1 has a holdout set, .* Register another version"):
            actions.give_holdout(version=seen, holdout=parquet(AGE=[1, 2, 3]), actor=ALICE)

    assert Version.objects.get().holdout_id == first
    assert len(events("version.complete")) == 1


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"AGE,label\n1,0\n", "The holdout set is not Parquet"),
        (parquet(SHAPE=None, label=None), "The holdout set lacks the columns SHAPE, label."),
        (parquet(**{name: pa.array([], pa.int64()) for name in ROWS}), "The holdout set has no rows."),
        (parquet(label=pa.nulls(3, pa.int64())), "No row of the holdout set has a label"),
    ],
)
def test_what_is_no_holdout_set_is_refused_and_nothing_kept(version: Version, data: bytes, sentence: str) -> None:
    with pytest.raises(ContentRefused, match=sentence):
        actions.give_holdout(version=version, holdout=data, actor=ALICE)

    assert Version.objects.get().holdout_id is None
    assert events("version.complete") == []
    assert not store.holds(hashlib.sha256(data).hexdigest())


def test_a_program_uploads_it_first_and_then_names_it(version: Version, ci: Program, reader: Program) -> None:
    rows = parquet()
    sha256, address = hashlib.sha256(rows).hexdigest(), f"versions/{version.pk}/holdout/"
    missing = ci.post(address, holdout=sha256)
    assert (missing.status_code, missing.json()["type"].rpartition("/")[2]) == (422, "refused")
    assert missing.json()["detail"] == f"The holdout {sha256[:12]} was not uploaded yet. Put it under /blobs/."
    ci.put(rows)
    assert reader.post(address, holdout=sha256).status_code == 403
    assert ci.post(address, holdout="rows").status_code == 400
    assert Version.objects.get().holdout_id is None

    given, again = ci.post(address, holdout=sha256), ci.post(address, holdout=sha256)

    assert (given.status_code, given.json()["holdout"]) == (200, sha256)
    assert (again.status_code, again.json()["type"].rpartition("/")[2]) == (409, "already-there")
    assert len(events("version.complete")) == 1


def test_on_the_page_whoever_may_register_gives_it(version: Version, administrator: Client) -> None:
    before = text(administrator.get(PAGE))
    assert "Give it a holdout set" in before
    assert "the version has no holdout set to measure it on" in before

    answer = upload(administrator, parquet())

    assert answer.redirect_chain == [(PAGE, 302)]
    assert "Version 1 has its holdout set now." in text(answer)
    assert "Give it a holdout set" not in text(answer)
    assert "It is not measured yet; a worker takes it up within a minute." in text(answer)
    again = upload(administrator, parquet(AGE=[1, 2, 3]))
    assert again.status_code == 400
    assert len(events("version.complete")) == 1


def test_what_is_refused_on_the_page_is_said_beside_the_field(
    version: Version, administrator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = parquet(SHAPE=None)
    refused = upload(administrator, rows)
    monkeypatch.setattr(forms, "MOST_UPLOAD", len(rows) - 1)
    large, nothing = upload(administrator, rows), administrator.post(FORM)

    assert (refused.status_code, large.status_code, nothing.status_code) == (400, 400, 400)
    assert "The holdout set lacks the columns SHAPE." in text(refused)
    assert "The file is larger than 32 MiB. Upload it by the API, or hand in fewer rows." in text(large)
    assert "This field is required." in text(nothing)
    assert Version.objects.get().holdout_id is None


def test_who_may_only_look_is_not_offered_it_and_refused(version: Version, client: Client) -> None:
    client.force_login(person("viewer"), backend="django.contrib.auth.backends.ModelBackend")

    assert "Give it a holdout set" not in text(client.get(PAGE))
    assert upload(client, parquet()).status_code == 403
    assert Version.objects.get().holdout_id is None
