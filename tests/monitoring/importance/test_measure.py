"""The importance of a version's inputs: taken up once it is registered, measured by a worker or a host."""

import io
import json
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.utils import timezone

from audit.models import AuditEvent
from monitoring.drift.profile import build_profile
from monitoring.importance import actions, due, measuring
from monitoring.importance.models import Importance
from monitoring.profiles import profiles_of
from monitoring.quality import offline
from registry.models import Health, Placement
from registry.reconcile import observe_placement
from registry.serving.base import HostUnreachable
from registry.serving.bundled import BundledDriver
from tests.host.artifacts import BINARY, architecture, make_tensors, pack, preprocessing, signature, weights_bytes
from tests.host.fixtures import host_process
from tests.registry.world import ALICE, events, make_endpoint, make_placement, make_registered_model, register, switched

__all__ = ["host_process"]
pytestmark = pytest.mark.django_db
NUMBER = {"type": "regression", "output": "price"}


@pytest.fixture
def model(settings, tmp_path):
    settings.LASTGOOD_VAR = tmp_path / "var"
    return make_registered_model()


def drawn(rows):
    rng = np.random.default_rng(11)
    return {
        "AGE": rng.integers(20, 61, rows),
        "COLOR": rng.choice([1, 2, 3], rows),
        "SHAPE": rng.choice([0, 5], rows),
    }


def made(folder, head=BINARY):
    """A network that adds age and colour and does not read SHAPE; with its files, and what it answers."""
    config = architecture(({"type": "linear", "in": 6, "out": 1},), dict(head))
    tensors = {name: tensor.zero_() for name, tensor in make_tensors(config, 5).items()}
    tensors["embeddings.COLOR.weight"][1, 0], tensors["embeddings.COLOR.weight"][3, 0] = -0.5, 0.5
    tensors["layers.0.weight"][0, :2] = 1.0
    packed = pack(folder, "toy", weights_bytes(tensors), preprocessing(), config, signature(config))
    weights = json.loads(packed[0])["components"]["weights"][0]["sha256"]

    def answers(columns):
        read = {
            "AGE": (columns["AGE"] - 40.5) / 20.25,
            "COLOR": columns["COLOR"] * 1.0,
            "SHAPE": columns["SHAPE"] * 0.0,
        }
        found = offline.answers(config, packed[1][weights], None, read)
        return found["score"] if "score" in found else found["output"]

    return packed, answers


def parquet(columns):
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def registered(model, folder, *, rows=3000, head=BINARY, **more):
    """A version with a holdout set in which it is always right, or 0.1 off where it answers with a number."""
    (manifest, blobs), answers = made(folder, head)
    columns = drawn(rows)
    score = answers(columns)
    label = (score >= 0.5).astype(np.int64) if head is BINARY else score + 0.1
    holdout = parquet({**columns, "label": label})
    return register(model, (manifest, blobs), holdout=holdout, **more)


def profile(columns, **more):
    kinds = {"AGE": "numeric", "COLOR": "categorical", "SHAPE": "categorical"}
    return json.dumps({**build_profile(columns, kinds), **more}).encode()


def measured(one, turns=1):
    """Take turns as often as told, each as if it were due."""
    for _ in range(turns):
        Importance.objects.filter(pk=one.pk).update(due_at=timezone.now())
        assert actions.measure(importance_id=one.pk) is True
    one.refresh_from_db()
    return one


def test_a_registered_version_is_measured_on_its_holdout_set_and_its_drift_is_weighed_by_it(
    model, tmp_path, django_capture_on_commit_callbacks, monkeypatch
):
    # given
    sent = []
    monkeypatch.setattr("audit.dispatch.send", lambda task, args, queue: sent.append((task, args, queue)))
    with django_capture_on_commit_callbacks(execute=True):
        version = registered(model, tmp_path / "made", profile=profile(drawn(500)))
    assert sent == [("importance.begin", [version.pk], "compute")]
    assert profiles_of(version)[0].weights == {}

    # when
    with django_capture_on_commit_callbacks(execute=True):
        one = actions.begin(version_id=version.pk)
    assert sent[1:] == [("importance.measure", [one.pk], "compute")]
    assert actions.begin(version_id=version.pk) is None
    measured(one)

    # then
    assert (one.state, one.answered_by, one.metric, one.baseline) == ("done", "", "accuracy", 1.0)
    assert (one.rows, one.repeats, one.columns, list(one.losses)) == (3000, 5, 3, ["AGE", "COLOR", "SHAPE"])
    assert one.losses["SHAPE"] == {"loss": 0.0, "error": 0.0}
    assert max(one.weights.values()) == 1.0
    assert one.weights["SHAPE"] == 0.0
    assert profiles_of(version)[0].weights == one.weights
    assert actions.measure(importance_id=one.pk) is False
    [ordered] = events("version.importance.order")
    assert (ordered["actor"]["id"], ordered["data"]["holdout"]) == ("svc:monitoring", version.holdout_id)
    [event] = events("version.importance")
    assert event["data"] == {
        "digest": version.digest, "measured_by": "worker", "holdout": version.holdout_id, "metric": "accuracy",
        "baseline": "1.000000", "rows": 3000, "repeats": 5, "columns": 3,
        "weights": {name: f"{weight:.4f}" for name, weight in one.weights.items()},
    }  # fmt: skip


def test_a_version_without_a_holdout_set_is_not_taken_up_and_is_once_it_has_one(model, tmp_path):
    version = registered(model, tmp_path / "made")
    given, version.holdout = version.holdout, None
    version.save()
    assert due.versions(timezone.now()) == []
    assert actions.begin(version_id=version.pk) is None
    with pytest.raises(actions.ImportanceRefused, match="has no holdout set, so there are no rows"):
        actions.ask(version=version, actor=ALICE)
    assert not Importance.objects.exists()

    version.holdout = given
    version.save()

    assert due.versions(timezone.now()) == [version.pk]


def test_an_importance_that_came_in_the_profile_is_used_as_it_came(model, tmp_path):
    weights = {"AGE": 0.5, "COLOR": 1.0}
    version = registered(model, tmp_path / "made", profile=profile(drawn(500), importance={"weights": weights}))

    one = actions.begin(version_id=version.pk)

    assert (one.state, due.turns(timezone.now()), due.versions(timezone.now())) == ("given", [], [])
    assert actions.measure(importance_id=one.pk) is False
    assert profiles_of(version)[0].weights == weights
    [event] = events("version.importance")
    assert (event["data"]["measured_by"], event["data"]["profile"]) == ("profile", version.profile_id)
    with pytest.raises(actions.ImportanceRefused, match="came with its profile"):
        actions.ask(version=version, actor=ALICE)
    assert Importance.objects.get().state == "given"


@pytest.fixture
def one_column_a_turn(monkeypatch):
    real = measuring.respondent
    monkeypatch.setattr(measuring, "respondent", lambda *asked: replace(real(*asked), seconds=0.0))
    monkeypatch.setattr(measuring, "_affordable", lambda who, sample: (who.rows, who.repeats))


def test_turns_give_what_one_would_and_a_worker_that_died_loses_only_its_own(model, tmp_path, one_column_a_turn):
    version = registered(model, tmp_path / "made")
    one = measured(actions.begin(version_id=version.pk))
    assert (one.state, list(one.losses), due.turns(timezone.now())) == ("waiting", ["AGE"], [one.pk])

    # A worker takes it up and is killed: it has the row for the length of the lease, and then another one goes on.
    late = measuring.take_turn(one)
    Importance.objects.filter(pk=one.pk).update(turn=2, attempts=1, due_at=timezone.now() + timedelta(minutes=5))
    assert actions.measure(importance_id=one.pk) is False
    assert due.turns(timezone.now()) == []
    dead = Importance.objects.get(pk=one.pk)
    measured(one, turns=2)

    assert (one.state, one.turn, one.attempts) == ("done", 4, 0)
    assert actions._keep(dead, late) is False
    one.refresh_from_db()
    assert len(one.losses) == 3
    assert len(events("version.importance")) == 1
    whole = measuring.take_turn(SimpleNamespace(version=version, losses={}, rows=0, answered_by=""))
    assert {name: vars(loss) for name, loss in whole.losses.items()} == {"AGE": one.losses["AGE"]}


def test_what_never_comes_to_an_end_is_given_up_and_can_be_asked_for_again(model, tmp_path):
    version = registered(model, tmp_path / "made")
    one = actions.begin(version_id=version.pk)
    Importance.objects.update(attempts=3)

    measured(one)

    assert (one.state, one.reason) == ("failed", "It was begun three times and did not come to an end.")
    assert due.turns(timezone.now()) == []
    [event] = events("version.importance")
    assert (event["outcome"], event["data"]["why"]) == ("failed", one.reason)
    again = actions.ask(version=version, actor=ALICE)
    assert (again.pk, again.state, again.asked_by, again.attempts) == (one.pk, "waiting", "u-alice", 0)
    assert measured(again).state == "done"
    assert actions.ask(version=version, actor=ALICE).state == "done"
    assert len(events("version.importance.order")) == 2


def test_of_a_version_that_answers_with_a_number_the_error_is_measured(model, tmp_path):
    version = registered(model, tmp_path / "made", head=NUMBER)

    one = measured(actions.begin(version_id=version.pk))

    assert (one.state, one.metric, one.baseline) == ("done", "absolute_error", pytest.approx(0.1))
    assert one.weights["SHAPE"] == 0.0
    assert max(one.weights.values()) == 1.0


def test_too_few_labelled_rows_are_said(model, tmp_path):
    version = registered(model, tmp_path / "made", rows=40)

    one = measured(actions.begin(version_id=version.pk))

    assert one.state == "failed"
    assert one.reason.startswith("Its holdout set has 40 rows with a label and every input; 50 are needed.")


def test_rows_without_a_label_or_an_input_are_left_out(model, tmp_path):
    (manifest, blobs), answers = made(tmp_path / "made")
    columns = drawn(400)
    label = (answers(columns) >= 0.5).astype(float)
    label[:100] = np.nan
    age = pa.array([None if row % 2 else int(value) for row, value in enumerate(columns["AGE"])])
    version = register(model, (manifest, blobs), holdout=parquet({**columns, "AGE": age, "label": label}))

    one = measured(actions.begin(version_id=version.pk))

    assert (one.state, one.rows, one.baseline) == ("done", 150, 1.0)
    [event] = events("version.importance")
    assert event["data"]["rows"] == 150


@pytest.fixture
def too_large(model, tmp_path, monkeypatch):
    """A version that no worker carries out."""
    version = registered(model, tmp_path / "made")
    monkeypatch.setattr(offline, "MOST_BYTES", 10)
    return version


def test_where_no_worker_can_and_no_host_serves_it_it_waits_for_one(model, too_large):
    version = too_large

    one = measured(actions.begin(version_id=version.pk))

    assert one.state == "nowhere"
    assert one.reason == (
        "A worker can't carry it out: its weights are larger than 0 MiB. And no host that can be asked for it has it "
        "loaded."
    )
    later = timezone.now() + timedelta(minutes=10)
    assert due.turns(later) == []
    placement = make_placement(make_endpoint(model))
    seen = {"observed_digest": version.digest, "health": Health.SERVING, "observed_at": later}
    Placement.objects.filter(pk=placement.pk).update(**seen)
    assert due.turns(later) == [one.pk]


def test_a_host_that_serves_it_and_cannot_be_asked_by_version_is_named_and_not_asked(model, too_large, monkeypatch):
    placement = make_placement(make_endpoint(model))
    seen = {"observed_digest": too_large.digest, "health": Health.SERVING}
    Placement.objects.filter(pk=placement.pk).update(**seen)
    asked = []
    unversioned = replace(BundledDriver.capabilities, versioned_inference=False)
    monkeypatch.setattr(BundledDriver, "capabilities", unversioned)
    for verb in ("observe", "infer"):
        monkeypatch.setattr(BundledDriver, verb, lambda *given, **more: asked.append(given))

    one = measured(actions.begin(version_id=too_large.pk))

    assert (one.state, asked) == ("nowhere", [])
    assert one.reason == (
        "A worker can't carry it out: its weights are larger than 0 MiB. And gpu-a1 serves it by an engine that can't "
        "be asked for a version by its number: what came back could be another one's. Hand in an importance with the "
        "next version's profile."
    )


def test_a_host_that_holds_it_answers_for_it_column_by_column_and_is_left_alone_in_between(
    model, tmp_path, too_large, one_column_a_turn, host_process
):
    # given
    version = too_large
    process = host_process(ready=False)
    placement = make_placement(make_endpoint(model), process)
    process.serve("1", made(tmp_path / "again")[0], fence=1)
    switched(placement, version)
    Placement.objects.update(observe_due_at=timezone.now())
    assert observe_placement(placement.pk).health == Health.SERVING

    # when
    one = measured(actions.begin(version_id=version.pk))
    before = timezone.now()
    rest = (one.due_at - before).total_seconds()
    measured(one, turns=2)

    # then
    assert (one.state, one.answered_by, one.rows, one.repeats) == ("done", "gpu-a1", 1000, 2)
    assert rest > 0
    assert (one.baseline, one.weights["SHAPE"], max(one.weights.values())) == (1.0, 0.0, 1.0)
    assert events("version.importance")[0]["data"]["measured_by"] == "gpu-a1"


def test_a_host_that_goes_away_is_asked_again_and_then_it_is_said(too_large, monkeypatch):
    version = too_large

    def away(*asked):
        raise HostUnreachable("gpu-a1 does not answer.")

    monkeypatch.setattr(measuring, "respondent", away)
    one = actions.begin(version_id=version.pk)

    measured(one, turns=3)
    assert (one.state, one.reason) == ("waiting", "gpu-a1 does not answer.")
    assert one.due_at > timezone.now() + timedelta(minutes=2)
    measured(one)

    assert (one.state, one.reason) == ("failed", "gpu-a1 does not answer.")
    assert AuditEvent.objects.filter(action="version.importance", outcome="failed").count() == 1
