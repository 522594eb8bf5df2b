"""The verbs on models, aliases, endpoints, hosts and what is live."""

import datetime
from pathlib import Path

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from registry import actions, sealing
from registry.models import Alias, Deployment, Endpoint, FreezeWindow, Host, Model, Placement
from registry.queries import freezes_of, live_versions, sentence_of, version_live_at
from registry.serving.allow import AddressRefused
from registry.serving_access import address_of
from tests.registry.world import (
    ALICE,
    events,
    make_endpoint,
    make_host,
    make_placement,
    make_registered_model,
    make_version,
    switched,
)

pytestmark = pytest.mark.django_db


def test_a_model_is_registered_with_one_event() -> None:
    model = actions.register_model(slug="toy", name="Toy", team="ml", risk_tier="low", actor=ALICE)

    assert (model.slug, model.risk_tier) == ("toy", "low")
    [event] = events("model.register")
    assert event["actor"]["id"] == "u-alice"
    assert event["data"]["risk_tier"] == "low"


@pytest.mark.parametrize("wrong", [{"slug": "Not a slug"}, {"risk_tier": "terrible"}, {"name": ""}])
def test_a_model_with_a_wrong_field_is_refused(wrong: dict[str, str]) -> None:
    fields = {"slug": "toy", "name": "Toy", "team": "ml", **wrong}

    with pytest.raises(actions.RegistryError, match=next(iter(wrong))):
        actions.register_model(**fields, actor=ALICE)

    assert not Model.objects.exists()
    assert events("model.register") == []


def test_a_taken_name_is_refused() -> None:
    make_registered_model()

    with pytest.raises(actions.AlreadyThere, match="There is a model toy already"):
        make_registered_model()

    assert len(events("model.register")) == 1


def test_a_moved_alias_records_from_where_to_where(tmp_path: Path) -> None:
    model = make_registered_model()
    first, _ = make_version(model, tmp_path, seed=1)
    second, _ = make_version(model, tmp_path, seed=2)

    actions.move_alias(model=model, name="champion", version=first, actor=ALICE)
    actions.move_alias(model=model, name="champion", version=second, actor=ALICE)
    actions.move_alias(model=model, name="champion", version=second, actor=ALICE)

    assert Alias.objects.get(name="champion").version == second
    moves = [(event["data"]["from"], event["data"]["to"]) for event in events("alias.move")]
    assert moves == [("", first.digest), (first.digest, second.digest)]


def test_an_alias_does_not_move_to_another_models_version(tmp_path: Path) -> None:
    model, other = make_registered_model(), make_registered_model("other")
    version, _ = make_version(model, tmp_path)

    with pytest.raises(actions.RegistryError, match="belongs to another model"):
        actions.move_alias(model=other, name="champion", version=version, actor=ALICE)

    assert not Alias.objects.exists()


def test_a_quarantined_version_can_not_be_last_good_until_the_quarantine_is_lifted(tmp_path: Path) -> None:
    model = make_registered_model()
    version, _ = make_version(model, tmp_path)
    assert actions.quarantine(version=version, reason="It swaps two codes.", actor=ALICE) is True
    assert actions.quarantine(version=version, reason="Again.", actor=ALICE) is False

    with pytest.raises(actions.RegistryError, match="quarantined"):
        actions.move_alias(model=model, name="last-good", version=version, actor=ALICE)
    actions.lift_quarantine(version=version, reason="It was another version.", actor=ALICE)
    actions.move_alias(model=model, name="last-good", version=version, actor=ALICE)

    assert version.quarantine_reason == ""
    assert [len(events(f"version.{name}")) for name in ("quarantine", "quarantine_lift")] == [1, 1]


def test_a_hosts_token_is_sealed_and_opens_in_its_own_row_only() -> None:
    host = make_host("gpu-a1", token="a secret token")
    other = make_host("gpu-b1", token="another")

    host.refresh_from_db()
    assert b"a secret token" not in bytes(host.control_token_sealed)
    assert address_of(host).token == "a secret token"

    other.control_token_sealed = host.control_token_sealed
    with pytest.raises(sealing.SealBroken, match="under another SECRET_KEY"):
        address_of(other)


def test_a_token_sealed_under_an_earlier_key_opens_with_the_fallback(settings: object) -> None:
    host = make_host(token="a secret token")
    old = settings.SECRET_KEY
    settings.SECRET_KEY = "another-key-" + "x" * 40

    with pytest.raises(sealing.SealBroken):
        address_of(host)
    settings.SECRET_KEY_FALLBACKS = [old]

    assert address_of(host).token == "a secret token"


@pytest.mark.parametrize(
    "address", ["http://8.8.8.8:80", "http://169.254.169.254", "ftp://127.0.0.1", "http://a@127.0.0.1"]
)
def test_a_host_outside_of_the_allowed_networks_is_refused(address: str) -> None:
    with pytest.raises(AddressRefused):
        make_host(address=address)

    assert not Host.objects.exists()
    assert events("host.register") == []


def test_a_host_whose_network_was_taken_off_the_list_is_not_called_any_more(settings: object) -> None:
    host = make_host()
    settings.LASTGOOD_HOST_NETWORKS = ["10.0.0.0/8"]

    with pytest.raises(AddressRefused, match="none of the allowed networks"):
        address_of(host)


def test_an_engine_without_a_driver_is_refused() -> None:
    with pytest.raises(actions.RegistryError, match="no driver for the engine 'abacus'"):
        actions.register_host(name="h", engine="abacus", address="http://127.0.0.1:9", control_token="", actor=ALICE)

    assert not Host.objects.exists()


def test_a_host_is_placed_once_and_observed_at_once() -> None:
    endpoint = make_endpoint(make_registered_model())
    placement = make_placement(endpoint)

    placement.refresh_from_db()
    assert placement.observe_due_at <= timezone.now()
    with pytest.raises(actions.AlreadyThere, match="gpu-a1 serves toy-production already"):
        actions.place(endpoint=endpoint, host=placement.host, actor=ALICE)
    assert Placement.objects.count() == 1


def test_a_switch_ends_the_open_span_at_the_moment_the_new_one_begins(tmp_path: Path) -> None:
    model = make_registered_model()
    endpoint = make_endpoint(model)
    placement = make_placement(endpoint)
    first, _ = make_version(model, tmp_path, seed=1)
    second, _ = make_version(model, tmp_path, seed=2)
    switched(placement, first)
    before = Endpoint.objects.get().version

    actions.record_switch(
        endpoint=endpoint,
        host=placement.host,
        version=second,
        cause="rollback",
        run_ref="run-1",
        incident_ref="INC-1",
        actor=ALICE,
    )

    new, old = Deployment.objects.order_by("-since")
    assert (old.version, old.until) == (first, new.since)
    assert (new.version, new.until, new.cause, new.run_ref, new.incident_ref) == (
        second, None, "rollback", "run-1", "INC-1",
    )  # fmt: skip
    placement.refresh_from_db()
    assert placement.desired == second
    assert Endpoint.objects.get().version == before + 1
    assert live_versions(endpoint) == {placement.host: second}
    assert version_live_at(endpoint, new.since) == {placement.host: second}
    assert version_live_at(endpoint, new.since - datetime.timedelta(microseconds=1)) == {placement.host: first}
    assert version_live_at(endpoint, old.since - datetime.timedelta(microseconds=1)) == {}
    [_, event] = events("deployment.switch")
    assert (event["data"]["from"], event["data"]["to"]) == (first.digest, second.digest)
    assert (event["incident"], event["incident_seq"]) == ("INC-1", 1)


def test_entering_the_same_switch_twice_keeps_one_span_and_one_event(tmp_path: Path) -> None:
    model = make_registered_model()
    placement = make_placement(make_endpoint(model))
    version, _ = make_version(model, tmp_path)

    switched(placement, version)
    switched(placement, version)

    assert Deployment.objects.count() == 1
    assert len(events("deployment.switch")) == 1


def test_a_switch_on_a_host_that_does_not_serve_the_endpoint_is_refused(tmp_path: Path) -> None:
    model = make_registered_model()
    endpoint, host = make_endpoint(model), make_host()
    version, _ = make_version(model, tmp_path)

    with pytest.raises(actions.RegistryError, match="does not serve toy-production"):
        actions.record_switch(endpoint=endpoint, host=host, version=version, cause="release", actor=ALICE)

    assert not Deployment.objects.exists()


def test_a_switch_to_another_models_version_is_refused(tmp_path: Path) -> None:
    placement = make_placement(make_endpoint(make_registered_model("other"), "other-production"))
    version, _ = make_version(make_registered_model(), tmp_path)

    with pytest.raises(actions.RegistryError, match="another model"):
        switched(placement, version)

    assert not Deployment.objects.exists()


def test_the_database_refuses_two_open_spans_on_one_host(tmp_path: Path) -> None:
    model = make_registered_model()
    placement = make_placement(make_endpoint(model))
    version, _ = make_version(model, tmp_path)
    switched(placement, version)

    with pytest.raises(IntegrityError, match="registry_one_live"), transaction.atomic():
        Deployment.objects.create(
            endpoint=placement.endpoint, host=placement.host, version=version, since=timezone.now(), cause="release"
        )


@pytest.mark.parametrize("days", [0, -1, 31])
def test_a_freeze_ends_within_a_month(days: int) -> None:
    endpoint = make_endpoint(make_registered_model())
    until = timezone.now() + datetime.timedelta(days=days)

    with pytest.raises(actions.RegistryError, match="at most 30 days"):
        actions.freeze(endpoint=endpoint, until=until, reason="Looking.", actor=ALICE)

    assert not FreezeWindow.objects.exists()
    assert events("endpoint.freeze") == []


def test_what_is_not_frozen_held_or_drained_can_not_be_freed() -> None:
    endpoint = make_endpoint(make_registered_model())
    host = make_placement(endpoint).host

    for change, what in ((actions.lift, {"endpoint": endpoint, "window": 1}), (actions.release, {"host": host}),
                         (actions.bring_back, {"host": host})):  # fmt: skip
        with pytest.raises(actions.RegistryError, match="is not"):
            change(**what, reason="Done.", actor=ALICE)


def test_a_drained_host_is_brought_back_with_both_changes_on_record() -> None:
    placement = make_placement(make_endpoint(make_registered_model()))
    before = Endpoint.objects.get().version

    actions.drain(host=placement.host, reason="Its network card fails.", actor=ALICE)
    assert placement.host.drained_at is not None
    actions.bring_back(host=placement.host, reason="It was replaced.", actor=ALICE)

    assert placement.host.drained_at is None
    assert Endpoint.objects.get().version == before + 2
    assert [len(events(name)) for name in ("host.drain", "host.bring_back")] == [1, 1]


def test_a_machine_that_serves_a_model_in_production_can_not_serve_it_in_staging(tmp_path: Path) -> None:
    """Else a plan for staging, which needs fewer approvals, would switch what production answers."""
    model = make_registered_model()
    placed = make_placement(make_endpoint(model))
    staging = make_endpoint(model, "toy-staging", environment="staging")
    alias = make_host("gpu-a1-again", placed.host.address)

    for host in (placed.host, alias):
        with pytest.raises(actions.RegistryError, match="toy-production"):
            actions.place(endpoint=staging, host=host, actor=ALICE)

    assert not Placement.objects.filter(endpoint=staging).exists()


def test_freezes_stand_side_by_side_and_are_lifted_one_by_one(tmp_path: Path) -> None:
    endpoint = make_endpoint(make_registered_model())
    now, hour = timezone.now(), datetime.timedelta(hours=1)
    spans = [(None, now + 2 * hour), (now + hour, now + 5 * hour), (now + 8 * hour, now + 9 * hour)]
    first, second, third = (
        actions.freeze(endpoint=endpoint, starts=starts, until=until, reason=f"Because {n}.", actor=ALICE)
        for n, (starts, until) in enumerate(spans)
    )
    moments = [now + n * hour for n in (0.5, 1.5, 3, 6, 8, 9)]

    [standing] = freezes_of([endpoint]).values()
    placement = make_placement(endpoint)
    placement.desired, _ = make_version(endpoint.model, tmp_path)
    text = sentence_of(endpoint, [placement], standing).text
    with pytest.raises(actions.RegistryError, match="over, or lifted"):
        actions.lift(endpoint=make_endpoint(endpoint.model, slug="other"), window=first.pk, reason="No.", actor=ALICE)

    assert [(row.pk, row.begun, row.by) for row in standing] == [
        (first.pk, True, ALICE.id), (second.pk, False, ALICE.id), (third.pk, False, ALICE.id),
    ]  # fmt: skip
    assert [endpoint.freeze_at(moment) for moment in moments] == [first, second, second, None, third, None]
    assert text.endswith(f" Changes are frozen until {spans[1][1]:%Y-%m-%d %H:%M} UTC.")
    actions.lift(endpoint=endpoint, window=second.pk, reason="Not needed.", actor=ALICE)
    with pytest.raises(actions.RegistryError, match="over, or lifted"):
        actions.lift(endpoint=endpoint, window=second.pk, reason="Again.", actor=ALICE)
    assert [endpoint.freeze_at(moment) for moment in moments] == [first, first, None, None, third, None]
    assert [event["data"]["window"] for event in events("endpoint.freeze")] == [first.pk, second.pk, third.pk]
    assert [event["data"] for event in events("endpoint.lift")] == [{"window": second.pk}]
