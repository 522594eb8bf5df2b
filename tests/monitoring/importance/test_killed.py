"""A worker that is killed in the middle of a turn: another one measures, and it is on record once."""

import pyarrow as pa
import pytest
from django.utils import timezone

from monitoring.importance import actions
from monitoring.importance.models import Importance
from registry.actions import register_version
from tests.host.artifacts import BINARY, architecture, make_tensors, pack, preprocessing, signature, weights_bytes
from tests.monitoring.importance.test_measure import drawn, model, parquet
from tests.registry.world import ALICE, events
from tests.waiting import until

__all__ = ["model"]
WIDE = (
    {"type": "linear", "in": 6, "out": 1024}, {"type": "relu"},
    {"type": "linear", "in": 1024, "out": 1024}, {"type": "relu"}, {"type": "linear", "in": 1024, "out": 1},
)  # fmt: skip
"""So wide that a turn takes seconds."""


@pytest.fixture
def workers(committed_db, celery_worker_process, model, settings):
    return lambda: celery_worker_process(queues="compute", concurrency=1, LASTGOOD_VAR=str(settings.LASTGOOD_VAR))


def test_registering_has_it_measured_and_a_killed_worker_is_replaced(workers, model, tmp_path):
    # given
    config = architecture(WIDE, dict(BINARY))
    manifest, blobs = pack(
        tmp_path / "made", "toy", weights_bytes(make_tensors(config, 5)), preprocessing(), config, signature(config)
    )
    columns = drawn(5000)
    holdout = parquet({**columns, "label": pa.array(columns["AGE"] > 40).cast(pa.int64())})
    first = workers()
    register_version(model=model, manifest=manifest, files=blobs, holdout=holdout, actor=ALICE)
    until(lambda: Importance.objects.filter(attempts=1).exists())

    # when
    first.kill()
    first.wait()
    one = Importance.objects.get()
    assert (one.state, one.attempts) == ("waiting", 1)
    assert actions.measure(importance_id=one.pk) is False
    Importance.objects.update(due_at=timezone.now())
    workers()
    actions.send_on_commit(actions.TASK, [one.pk], actions.QUEUE)
    actions.send_on_commit(actions.TASK, [one.pk], actions.QUEUE)
    until(lambda: Importance.objects.get().state != "waiting", seconds=120)

    # then
    one.refresh_from_db()
    assert (one.state, sorted(one.losses)) == ("done", ["AGE", "COLOR", "SHAPE"])
    assert len(events("version.importance.order")) == 1
    assert len(events("version.importance")) == 1
