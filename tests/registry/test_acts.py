"""Changes of the registry that a policy puts under approval; without a policy they are done at once."""

from pathlib import Path

import pytest

from accounts.actions import actor_for
from accounts.approvals import acts as approved
from accounts.approvals.models import Act
from accounts.approvals.policies import replace_policy
from accounts.models import User
from audit.models import AuditPrivate
from registry import actions, acts
from registry.models import Alias, Host, Model, Version
from tests.accounts.people import SETUP, person, recorded, say
from tests.registry.world import make_endpoint, make_registered_model, make_version

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada() -> User:
    return person("ada", "administrator")


@pytest.fixture
def carla() -> User:
    return person("carla", "commander")


@pytest.fixture
def version(tmp_path: Path) -> Version:
    return make_version(make_registered_model(), tmp_path)[0]


def ask_one(kind: str) -> None:
    replace_policy(
        subject_kind=kind,
        risk_tier="any",
        environment="any",
        required=1,
        factors=[{"role": "commander", "count": 1}],
        actor=SETUP,
    )


def lift(version: Version, user: User) -> Version | Act:
    return acts.lift_quarantine(version=version, reason="It was another one.", user=user, actor=actor_for(user=user))


def test_a_quarantine_of_a_model_in_production_is_lifted_by_a_commander_and_an_approver(
    version: Version, ada: User, carla: User
) -> None:
    make_endpoint(version.model)
    actions.quarantine(version=version, reason="It swaps two codes.", actor=SETUP)
    act = lift(version, ada)
    assert isinstance(act, Act)
    assert (act.request.model, act.request.team) == ("toy", "ml")
    say(carla, act.request)
    assert not approved.decided(act.request_id)
    say(person("amir", "approver"), act.request)
    assert approved.decided(act.request_id)
    version.refresh_from_db()
    assert version.quarantined_at is None
    assert len(recorded("version.quarantine_lift")) == 1


def test_outside_production_it_is_lifted_at_once(version: Version, ada: User) -> None:
    actions.quarantine(version=version, reason="It swaps two codes.", actor=SETUP)
    assert lift(version, ada) == version
    assert version.quarantined_at is None
    assert not Act.objects.exists()


def test_a_version_that_was_quarantined_anew_meanwhile_stays_so(version: Version, ada: User, carla: User) -> None:
    ask_one("unquarantine")
    actions.quarantine(version=version, reason="It swaps two codes.", actor=SETUP)
    act = lift(version, ada)
    assert isinstance(act, Act)
    say(carla, act.request)
    actions.lift_quarantine(version=version, reason="Looked at.", actor=SETUP)
    actions.quarantine(version=version, reason="It swaps two others.", actor=SETUP)
    assert not approved.decided(act.request_id)
    version.refresh_from_db()
    assert version.quarantine_reason == "It swaps two others."
    assert recorded("act.perform")[0]["data"]["refused"] == "moved"


def champion(model: Model) -> int:
    return Alias.objects.get(model=model, name="champion").version.number


def test_a_quarantine_is_not_asked_to_be_lifted_without_a_reason(version: Version, ada: User) -> None:
    ask_one("unquarantine")
    actions.quarantine(version=version, reason="It swaps two codes.", actor=SETUP)
    with pytest.raises(actions.RegistryError, match="Say why"):
        acts.lift_quarantine(version=version, reason=" ", user=ada, actor=actor_for(user=ada))
    assert not Act.objects.exists()


def test_the_proposers_words_are_sealed_under_their_own_key_when_the_act_is_performed(
    version: Version, ada: User, carla: User
) -> None:
    ask_one("unquarantine")
    actions.quarantine(version=version, reason="It swaps two codes.", actor=SETUP)
    act = lift(version, ada)
    assert isinstance(act, Act)
    say(carla, act.request)
    assert approved.decided(act.request_id)
    done = AuditPrivate.objects.get(event__action="version.quarantine_lift")
    assert (done.text, done.subject_id) == ("It was another one.", ada.pseudonym)
    told = recorded("version.quarantine_lift")[0]
    assert told["actor"]["id"] == "svc:approvals"
    assert told["correlation"] == {"act": str(act.pk), "said_by": ada.pseudonym}


def test_an_act_whose_reason_was_erased_is_closed_on_record(version: Version, ada: User, carla: User) -> None:
    ask_one("unquarantine")
    actions.quarantine(version=version, reason="It swaps two codes.", actor=SETUP)
    act = lift(version, ada)
    assert isinstance(act, Act)
    say(carla, act.request)
    Act.objects.filter(pk=act.pk).update(reason="")

    assert not approved.decided(act.request_id)

    act.request.refresh_from_db()
    version.refresh_from_db()
    assert act.request.state == "withdrawn"
    assert version.quarantined_at is not None
    assert recorded("act.perform")[-1]["data"]["refused"] == "refused"


def test_champion_moves_when_it_is_approved_and_not_after_it_moved_elsewhere(
    version: Version, tmp_path: Path, ada: User, carla: User
) -> None:
    model = version.model
    second, third = (make_version(model, tmp_path, seed=seed)[0] for seed in (2, 3))

    def ask(target: Version) -> Alias | Act:
        return acts.move_alias(model=model, name="champion", version=target, user=ada, actor=actor_for(user=ada))

    assert isinstance(ask(version), Alias)
    ask_one("promotion")
    first, other = ask(second), ask(third)
    assert isinstance(first, Act)
    assert isinstance(other, Act)
    assert champion(model) == 1
    say(carla, first.request)
    say(carla, other.request)
    assert approved.decided(first.request_id)
    assert champion(model) == 2
    assert not approved.decided(other.request_id)
    assert champion(model) == 2


def test_a_version_that_was_quarantined_since_does_not_become_champion(
    version: Version, tmp_path: Path, ada: User, carla: User
) -> None:
    model = version.model
    second, _ = make_version(model, tmp_path, seed=2)
    acts.move_alias(model=model, name="champion", version=version, user=ada, actor=actor_for(user=ada))
    ask_one("promotion")
    act = acts.move_alias(model=model, name="champion", version=second, user=ada, actor=actor_for(user=ada))
    assert isinstance(act, Act)
    say(carla, act.request)
    actions.quarantine(version=second, reason="It swaps two codes.", actor=SETUP)

    assert not approved.decided(act.request_id)

    assert champion(model) == 1
    assert recorded("act.perform")[-1]["data"]["refused"] == "moved"


def test_a_host_waits_with_its_token_sealed_and_is_entered_with_it(ada: User, carla: User) -> None:
    ask_one("host_registration")
    wish = {"name": "gpu-a9", "address": "http://127.0.0.1:9", "control_token": "s3cret-token", "labels": {"rack": "7"}}
    act = acts.register_host(**wish, user=ada, actor=actor_for(user=ada))
    assert isinstance(act, Act)
    assert not Host.objects.exists()
    assert b"s3cret-token" not in bytes(act.document) + bytes(act.sealed)
    say(carla, act.request)
    assert approved.decided(act.request_id)
    host = Host.objects.get()
    assert (host.name, host.labels) == ("gpu-a9", {"rack": "7"})
    from registry.serving_access import address_of

    assert address_of(host).token == "s3cret-token"


def test_a_token_that_was_exchanged_behind_the_hash_enters_nothing(ada: User, carla: User) -> None:
    ask_one("host_registration")
    wish = {"name": "gpu-a9", "address": "http://127.0.0.1:9", "control_token": "s3cret-token"}
    act = acts.register_host(**wish, user=ada, actor=actor_for(user=ada))
    assert isinstance(act, Act)
    say(carla, act.request)
    Act.objects.update(sealed=b"another")
    assert not approved.decided(act.request_id)
    assert not Host.objects.exists()
    assert recorded("act.perform")[0]["data"]["refused"] == "hash_mismatch"
