"""A composed version is rehearsed on real hosts beside what they serve, and only then can be a target."""

import datetime
import io
import itertools
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.core.exceptions import PermissionDenied
from django.utils import timezone

from accounts.actions import actor_for
from incidents.rollback import advance, candidates, rehearsal, trials, watch
from incidents.rollback.lease import LeaseLost
from incidents.rollback.models import Trial, TrialLoad, TrialPurpose, TrialState, Watch
from incidents.rollback.plan import PlanRefused, read
from incidents.rollback.rehearsal import NotRehearsed
from incidents.rollback.terms import plan_terms
from incidents.rollback.trials import Bench, TrialLease
from registry import store
from registry.actions import ask_composition, compose, mark_soaked, register_version
from registry.composing import part_sentence, rehearsal_sentence
from registry.models import Endpoint, Host, Placement, Version
from tests.host.artifacts import architecture, make_tensors, pack, preprocessing, signature, weights_bytes
from tests.incidents.rollback.fleet import ROWS, SETUP, Fleet, events
from tests.incidents.rollback.test_watch import without_traffic_questions


def holdout(label: int) -> bytes:
    rows = 400
    columns = {"AGE": [20 + i % 40 for i in range(rows)], "COLOR": [1 + i % 3 for i in range(rows)]}
    columns["SHAPE"] = [0, 5] * (rows // 2)
    sink = io.BytesIO()
    pq.write_table(pa.table(columns | {"label": [label if i % 4 else 1 - label for i in range(rows)]}), sink)
    return sink.getvalue()


def version_with(fleet: Fleet, seed: int, *, bias: float, mean: float) -> Version:
    """A version with a holdout set of which three in four rows are 1."""
    config = architecture()
    tensors = make_tensors(config, seed)
    tensors["layers.3.bias"].fill_(bias)
    folder = Path(fleet.folder) / f"{fleet.slug}-{seed}"
    made = pack(
        folder, fleet.slug, weights_bytes(tensors), preprocessing(mean, 20.25), config, signature(config)
    )  # fmt: skip
    outputs = fleet.answers_of(*made, probe=f"probe-{seed}")
    golden = {"format": "lastgood-golden/1", "inputs": ROWS, "outputs": outputs, "tolerance": "0.0001"}
    return register_version(
        model=fleet.model, manifest=made[0], files=made[1], golden=json.dumps(golden).encode(), holdout=holdout(1),
        metrics={"holdout": {"accuracy": 0.75}}, actor=SETUP,
    )  # fmt: skip


@pytest.fixture
def fleet(make_fleet: Any) -> Fleet:
    """The hosts serve version 4, which always answers 0 and reads ages with a mean of 60; version 3 answers 1."""
    made: Fleet = make_fleet()
    made.good = version_with(made, 13, bias=100.0, mean=40.5)
    made.bad = version_with(made, 14, bias=-100.0, mean=60.0)
    made.serve(made.bad)
    return made


def composed(fleet: Fleet, kind: str = "layers", *patterns: str) -> Version:
    """Version 4 with the last layer of version 3, unless something else is asked for."""
    wanted = patterns or (("layers.3.bias",) if kind == "layers" else ())
    asked = ask_composition(base=fleet.bad, other=fleet.good, kind=kind, patterns=wanted, actor=SETUP)
    compose(composition_id=asked.pk)
    asked.refresh_from_db()
    assert asked.version is not None, asked.reason
    return asked.version


def ordered(fleet: Fleet, version: Version) -> Trial:
    return rehearsal.ask_rehearsal(
        version=version, endpoint=fleet.endpoint, user=fleet.responder, actor=actor_for(user=fleet.responder)
    )


def held(fleet: Fleet, version: Version) -> list[str]:
    """The version's state on each host, "" where it was never staged."""
    views = [process.view(fleet.slug)["versions"] for process in fleet.processes]
    return [view.get(str(version.number), {}).get("state", "") for view in views]


def test_a_part_goes_from_composition_to_a_verified_rollback(fleet: Fleet) -> None:
    # given
    without_traffic_questions(fleet)
    part = composed(fleet)
    with pytest.raises(PlanRefused, match="Version 5 was composed, and nothing says yet what it should answer"):
        fleet.propose(part)

    # when
    trial = ordered(fleet, part)
    assert rehearsal.take_up(trial.pk)

    # then
    trial.refresh_from_db()
    part.refresh_from_db()
    assert (trial.state, trial.reason) == (TrialState.DONE, "")
    assert sorted(held(fleet, part)) == ["", "staged", "staged"]
    assert fleet.serving() == [fleet.bad.digest] * 3
    assert len(part.metrics["rehearsal"]["hosts"]) == 2
    assert part.metrics["holdout"]["accuracy"] == 0.75
    assert part.metrics["rehearsal"]["parents"]["4"]["accuracy"] == 0.25
    assert part.metrics["rehearsal"]["parents"]["3"]["accuracy"] == 0.75
    assert part_sentence(part) == "Version 4 with 1 tensor of version 3."
    assert "not that it is right" in rehearsal_sentence(part)
    with store.open_verified(part.golden_id) as file:
        assert set(json.loads(file.read())["outputs"]["label"]) == {1}
    assert [e["outcome"] for e in events("version.rehearse")] == ["success"]

    # and when
    run = fleet.finished(part)

    # then
    document = read(run.plan).body
    assert document["part"] == {
        "kind": "layers",
        "base": fleet.bad.digest,
        "parts": [{"component": "weights", "from": fleet.good.digest, "tensors": ["layers.3.bias"]}],
    }
    assert [term["label"] for term in plan_terms(run.plan)][:2] == ["Version 5 is", "What is expected of it"]
    assert run.state == "switched"
    assert fleet.serving() == [part.digest] * 3
    assert watch.tick(run.pk)
    assert Watch.objects.get(run=run).state == "passed"
    assert run.checks.get(stage="watch", name="holdout").answer == "pass"
    for process in fleet.processes:
        assert process.view(fleet.slug)["versions"]["5"]["loaded_digest"] == part.digest


def test_what_was_warm_before_stays_warm_and_what_is_planned_by_then_too(fleet: Fleet) -> None:
    part = composed(fleet)
    one = fleet.processes[0]
    trial = ordered(fleet, part)
    with TrialLease(trial.pk) as lease:
        bench = Bench(trial, lease, SETUP)
        for remote in trials.remotes_of(fleet.endpoint):
            bench.bring(remote, fleet.bad)
            bench.bring(remote, fleet.good)
            bench.bring(remote, part)
        assert TrialLoad.objects.filter(version=fleet.bad).count() == 0
        fleet.propose(fleet.good)
        Endpoint.objects.filter(pk=fleet.endpoint.pk).update(fallback=part)
        bench.tidy()

    assert one.view(fleet.slug)["versions"]["4"]["state"] == "ready"
    assert held(fleet, fleet.good) == ["ready"] * 3
    assert held(fleet, part) == ["ready"] * 3
    because = set(TrialLoad.objects.values_list("version__number", "left_because"))
    assert because == {(3, "a plan is about it"), (5, "it is what the endpoint falls back on")}


def test_a_run_takes_the_endpoint_from_a_rehearsal_which_goes_on_afterwards(fleet: Fleet) -> None:
    # given
    part = composed(fleet)
    trial = ordered(fleet, part)
    remote = trials.remotes_of(fleet.endpoint)[0]

    # when
    with TrialLease(trial.pk) as lease:
        bench = Bench(trial, lease, SETUP)
        bench.bring(remote, part)
        run = fleet.started(fleet.good)
        with pytest.raises(LeaseLost):
            bench.bring(remote, fleet.good)
        bench.tidy()

    # then
    [load] = TrialLoad.objects.filter(left_at=None)
    soon = timezone.now() + datetime.timedelta(minutes=1)
    assert (trials.due_trials(soon), trials.leftovers(soon), rehearsal.take_up(trial.pk)) == ([], [], False)

    # and when
    advance.advance(run.pk)
    run.refresh_from_db()
    assert run.state == "switched"

    # then
    assert trials.due_trials(soon) == [trial.pk]
    assert trials.leftovers(soon) == [load.pk]
    Trial.objects.update(due_at=timezone.now())
    assert rehearsal.take_up(trial.pk)
    trial.refresh_from_db()
    assert trial.state == TrialState.DONE
    assert "ready" not in held(fleet, part)
    assert fleet.serving() == [fleet.good.digest] * 3


@pytest.mark.faults
@pytest.mark.parametrize("purpose", [TrialPurpose.RANKING, TrialPurpose.REHEARSAL])
def test_what_a_lost_worker_left_in_memory_is_found_and_taken_out(fleet: Fleet, purpose: TrialPurpose) -> None:
    # given
    part = composed(fleet)
    rehearsed = part if purpose == TrialPurpose.REHEARSAL else None
    trial = trials.open_trial(endpoint=fleet.endpoint, purpose=purpose, version=rehearsed, actor=SETUP)
    lease = TrialLease(trial.pk)
    assert lease._take()
    remote = trials.remotes_of(fleet.endpoint)[0]
    Bench(trial, lease, SETUP).bring(remote, fleet.good)
    assert held(fleet, fleet.good).count("ready") == 1
    now = timezone.now()
    assert (trials.due_trials(now), trials.leftovers(now)) == ([], [])

    # when
    Trial.objects.update(lease_expires_at=now - datetime.timedelta(seconds=1))
    [load] = trials.leftovers(timezone.now())
    assert trials.due_trials(timezone.now()) == [trial.pk]
    assert trials.take_out(load)
    assert rehearsal.take_up(trial.pk)

    # then
    trial.refresh_from_db()
    assert "ready" not in held(fleet, fleet.good)
    assert trial.state == (TrialState.FAILED if rehearsed is None else TrialState.DONE)
    assert not TrialLoad.objects.filter(left_at=None).exists()


def test_a_trial_and_the_leaving_of_what_its_dead_worker_brought_wait_for_each_other(fleet: Fleet) -> None:
    part = composed(fleet)
    trial = ordered(fleet, part)
    lease = TrialLease(trial.pk)
    assert lease._take()
    Bench(trial, lease, SETUP).bring(trials.remotes_of(fleet.endpoint)[0], part)
    [load] = TrialLoad.objects.all()

    assert not trials.take_out(load.pk)
    assert held(fleet, part).count("ready") == 1

    soon = timezone.now() + datetime.timedelta(minutes=1)
    Trial.objects.update(lease_expires_at=timezone.now() - datetime.timedelta(seconds=1))
    TrialLoad.objects.update(left_because=trials.LEAVING, due_at=soon)
    assert not rehearsal.take_up(trial.pk)
    assert Trial.objects.get().attempts == 1

    TrialLoad.objects.update(left_because="", due_at=timezone.now())
    assert trials.take_out(load.pk)
    assert "ready" not in held(fleet, part)


@pytest.mark.faults
def test_two_hosts_that_answer_differently_end_the_rehearsal(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    part = composed(fleet)
    trial = ordered(fleet, part)
    asked = rehearsal._recorded

    def another(*args: Any) -> dict[str, Any]:
        golden = asked(*args)
        return golden | {"outputs": golden["outputs"] | {"label": [0] * len(golden["outputs"]["label"])}}

    monkeypatch.setattr(rehearsal, "_recorded", another)

    rehearsal.take_up(trial.pk)

    trial.refresh_from_db()
    assert trial.state == TrialState.FAILED
    assert "answers 3 of 3 rows otherwise than" in trial.reason
    part.refresh_from_db()
    assert part.golden_id is None
    assert "ready" not in held(fleet, part)
    assert [e["outcome"] for e in events("rollback.rehearsal.fail")] == ["failed"]


def test_only_who_may_propose_orders_a_rehearsal_and_only_of_what_needs_one(fleet: Fleet) -> None:
    part = composed(fleet)
    with pytest.raises(PermissionDenied):
        rehearsal.ask_rehearsal(
            version=part, endpoint=fleet.endpoint, user=fleet.viewer, actor=actor_for(user=fleet.viewer)
        )
    with pytest.raises(NotRehearsed, match="Version 3 was not composed here"):
        ordered(fleet, fleet.good)
    assert not Trial.objects.exists()

    first = ordered(fleet, part)

    assert ordered(fleet, part) == first
    assert len(events("rollback.rehearsal.order")) == 1


def test_a_ranking_takes_out_what_it_loaded_and_loads_nothing_while_a_run_is_active(fleet: Fleet) -> None:
    # given
    fleet.serve(fleet.good)
    mark_soaked(version=fleet.good, endpoint=fleet.endpoint, actor=SETUP)
    fleet.serve(fleet.bad)
    for process in fleet.processes:
        process.unload("3", fleet.slug)
    now = timezone.now()

    # when
    ranked = candidates.rank(endpoint=fleet.endpoint, incident_ref="INC-1", window=(now, now), actor=SETUP)

    # then
    assert ranked[0].to_version == fleet.good
    assert ranked[0].replay["holdout"]["accuracy"] == 0.75
    assert held(fleet, fleet.good) == ["staged"] * 3

    # and when
    fleet.started(composed_target(fleet))
    again = candidates.rank(endpoint=fleet.endpoint, incident_ref="INC-2", window=(now, now), actor=SETUP)

    # then
    [row] = [row for row in again if row.to_version == fleet.good]
    assert row.eligible
    assert row.reasons[-1].startswith("It was not tried: a run or another trial has the endpoint")
    assert held(fleet, fleet.good) == ["staged"] * 3


def composed_target(fleet: Fleet) -> Version:
    """Version 2 of the fleet, as a target that is not the candidate."""
    return Version.objects.get(model=fleet.model, number=1)


def test_a_ranking_has_one_candidate_at_a_time_in_memory_and_its_room_counts_as_free(fleet: Fleet) -> None:
    other = composed_target(fleet)
    for version in (fleet.good, other):
        fleet.serve(version)
        mark_soaked(version=version, endpoint=fleet.endpoint, actor=SETUP)
    fleet.serve(fleet.bad)
    for process, version in itertools.product(fleet.processes, (fleet.good, other)):
        process.unload(str(version.number), fleet.slug)
    now = timezone.now()

    candidates.rank(endpoint=fleet.endpoint, incident_ref="INC-1", window=(now, now), actor=SETUP)

    acts = [e["data"]["step"] for e in events("rollback.prepare.intent")]
    assert [name for name in acts if name != "stage"] == ["load", "unload", "load", "unload"]

    # and given
    held_now = {"1": {"digest": other.digest, "state": "ready", "bytes": 10**9}}
    seen = {"memory_total": 2 * 10**9, "memory_free": 10, "versions": held_now}
    Placement.objects.filter(host__name="h1").update(observation=seen)
    assert json.loads(bytes(fleet.propose(fleet.good).document))["recreated"] == ["h1"]
    trial = trials.open_trial(endpoint=fleet.endpoint, purpose=TrialPurpose.RANKING, actor=SETUP)
    TrialLoad.objects.create(trial=trial, host=fleet.hosts[0], version=other)
    assert json.loads(bytes(fleet.propose(fleet.good).document))["strategy"] == "blue_green"


def test_a_host_that_went_away_with_what_was_tried_keeps_no_other_trial_waiting(fleet: Fleet) -> None:
    part = composed(fleet)
    first, second = (
        trials.open_trial(endpoint=fleet.endpoint, purpose=TrialPurpose.RANKING, actor=SETUP) for _ in range(2)
    )
    with TrialLease(first.pk) as lease:
        bench = Bench(first, lease, SETUP)
        remote = trials.remotes_of(fleet.endpoint)[0]
        bench.bring(remote, part)
        lease.end(TrialState.DONE)
        Host.objects.filter(pk=remote.host.pk).update(address="http://127.0.0.1:9")
        bench.tidy()
    load = TrialLoad.objects.get()
    assert (load.left_at, load.due_at > timezone.now()) == (None, True)

    with TrialLease(second.pk) as lease:
        assert lease.held
        lease.end(TrialState.DONE)

    TrialLoad.objects.update(left_because=trials.LEAVING)
    third = trials.open_trial(endpoint=fleet.endpoint, purpose=TrialPurpose.RANKING, actor=SETUP)
    with TrialLease(third.pk) as lease:
        assert not lease.held
