"""Roles that approve: proposed by one administrator, confirmed by another, rested, and limited to teams and models."""

import datetime
from typing import Any

import pytest
from django.utils import timezone

from accounts import due
from accounts.actions import actor_for, end_role, grant_role
from accounts.authority.actions import (
    AuthorityRefused,
    confirm_role,
    delegate,
    end_delegation,
    expire_proposal,
    propose_role,
    refuse_role,
    roles_changed,
)
from accounts.authority.models import Delegation, RoleGrant, RoleProposal
from accounts.due import roles_that_change
from accounts.holdings import holdings, people_for
from accounts.models import User
from accounts.permissions import roles_for, user_roles
from accounts.tasks import bring_roles_up_to_date, expire_role_proposal
from audit.canonical import instant
from audit.clock import database_now
from audit.models import AuditEvent, AuditPrivate
from tests.accounts.people import SETUP, person, recorded

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff() -> dict[str, User]:
    names = {"ada": ["administrator"], "bea": ["administrator"], "carla": ["viewer"], "vera": ["viewer"]}
    return {name: person(name, *roles) for name, roles in names.items()}


def anew(user: User) -> User:
    return User.objects.get(pk=user.pk)


def propose(staff: dict[str, User], role: str = "commander", **wish: Any) -> RoleProposal:
    ada = staff["ada"]
    return propose_role(user=staff["carla"], role=role, proposer=ada, actor=actor_for(user=ada), **wish)


def confirm(proposal: RoleProposal, by: User, **changes: Any) -> RoleGrant:
    said = {"auth_method": "mfa", "auth_time": timezone.now(), "actor": actor_for(user=by)} | changes
    return confirm_role(proposal_id=proposal.pk, by=by, **said)


def let_rest(grant: RoleGrant, **ago: int) -> None:
    RoleGrant.objects.filter(pk=grant.pk).update(counts_from=timezone.now() - datetime.timedelta(**ago or {"days": 1}))


def assert_refused(code: str, call: Any) -> None:
    leaves, grants = AuditEvent.objects.filter(outcome="success").count(), RoleGrant.objects.count()
    with pytest.raises(AuthorityRefused) as caught:
        call()
    assert caught.value.code == code
    assert (AuditEvent.objects.filter(outcome="success").count(), RoleGrant.objects.count()) == (leaves, grants)


def test_a_role_that_two_administrators_agree_on_counts_after_its_rest(staff: dict[str, User]) -> None:
    proposal = propose(staff, scope={"models": ["letters"], "teams": []}, reason="She is on call from May.")
    grant = confirm(proposal, staff["bea"])

    assert (grant.uuid, grant.granted_by, grant.confirmed_by) == (proposal.pk, staff["ada"], staff["bea"])
    assert grant.counts_from - grant.since == datetime.timedelta(days=1)
    assert user_roles(anew(staff["carla"])) == {"viewer"}
    let_rest(grant)
    assert user_roles(anew(staff["carla"])) == {"viewer", "commander"}

    facts = {
        "grant": str(proposal.pk),
        "user": staff["carla"].pseudonym,
        "role": "commander",
        "scope": {"models": ["letters"]},
    }
    [proposed], [confirmed] = recorded("role.propose"), recorded("role.confirm")
    assert proposed["data"] == facts | {"proposer": staff["ada"].pseudonym}
    said = confirmed["data"]
    assert said | facts == said
    assert (said["by"], said["proposer"]) == (staff["bea"].pseudonym, staff["ada"].pseudonym)
    assert (said["counts_from"], said["rest_seconds"]) == (instant(grant.counts_from), 86400)
    assert proposed["target"] == confirmed["target"] == {"kind": "role_grant", "id": str(proposal.pk), "version": ""}
    assert AuditPrivate.objects.filter(event__action="role.propose").exists()


def test_neither_who_proposed_it_nor_whom_it_is_for_can_confirm_it(staff: dict[str, User]) -> None:
    grant_role(user=staff["carla"], role="administrator", granted_by=None, actor=SETUP)
    proposal = propose(staff)
    for code, name in (("own_proposal", "ada"), ("own_role", "carla"), ("not_an_administrator", "vera")):
        assert_refused(code, lambda name=name: confirm(proposal, staff[name]))
    assert [leaf["data"]["refused"] for leaf in recorded("role.confirm")] == [
        "own_proposal", "own_role", "not_an_administrator",
    ]  # fmt: skip
    assert {leaf["outcome"] for leaf in recorded("role.confirm")} == {"denied"}
    assert RoleProposal.objects.get().state == "open"


def test_nobody_proposes_a_role_for_themselves(staff: dict[str, User]) -> None:
    ada = staff["ada"]
    assert_refused(
        "own_role", lambda: propose_role(user=ada, role="commander", proposer=ada, actor=actor_for(user=ada))
    )
    vera = staff["vera"]
    assert_refused(
        "not_an_administrator",
        lambda: propose_role(user=staff["carla"], role="approver", proposer=vera, actor=actor_for(user=vera)),
    )


def test_confirming_needs_a_fresh_proof_and_an_open_proposal_of_one_who_is_still_administrator(
    staff: dict[str, User],
) -> None:
    proposal, bea = propose(staff), staff["bea"]
    stale = timezone.now() - datetime.timedelta(minutes=6)
    assert_refused("step_up_needed", lambda: confirm(proposal, bea, auth_time=None))
    assert_refused("step_up_needed", lambda: confirm(proposal, bea, auth_time=stale))
    end_role(user=staff["ada"], role="administrator", actor=SETUP)
    assert_refused("proposer_gone", lambda: confirm(proposal, bea))
    grant_role(user=staff["ada"], role="administrator", granted_by=None, actor=SETUP)
    RoleProposal.objects.update(expires_at=timezone.now())
    assert_refused("expired", lambda: confirm(proposal, bea))
    again = propose(staff)
    assert_refused("reason_needed", lambda: refuse_role(proposal_id=again.pk, by=bea, reason=" ", actor=SETUP))
    refuse_role(proposal_id=again.pk, by=bea, reason="She has left.", actor=actor_for(user=bea))
    assert_refused("not_open", lambda: confirm(again, bea))
    [refused] = [leaf for leaf in recorded("role.refuse") if leaf["outcome"] == "success"]
    assert refused["data"] == {"grant": str(again.pk), "by": bea.pseudonym}


def test_a_proposal_that_is_there_already_is_not_made_twice(staff: dict[str, User]) -> None:
    confirm(propose(staff), staff["bea"])
    assert_refused("already_held", lambda: propose(staff))
    propose(staff, scope={"teams": ["ml"]})
    assert_refused("already_proposed", lambda: propose(staff, scope={"teams": ["ml", "ml"]}))


@pytest.mark.parametrize(
    ("role", "scope"),
    [
        ("administrator", {"teams": ["ml"]}),
        ("commander", {"places": ["ml"]}),
        ("commander", {"teams": "ml"}),
        ("commander", {"models": [7]}),
        ("commander", {"models": [f"m{number}" for number in range(51)]}),
    ],
)
def test_a_scope_that_makes_no_sense_is_refused(staff: dict[str, User], role: str, scope: Any) -> None:
    assert_refused("bad_scope", lambda: propose(staff, role, scope=scope))


def test_one_administrator_alone_can_not_give_a_role_that_approves(staff: dict[str, User]) -> None:
    ada = staff["ada"]
    for role in ("commander", "approver", "administrator"):
        assert_refused(
            "two_people_needed",
            lambda role=role: grant_role(user=staff["carla"], role=role, granted_by=ada, actor=actor_for(user=ada)),
        )
    grant = grant_role(user=staff["carla"], role="auditor", granted_by=ada, actor=actor_for(user=ada))
    assert recorded("role.grant")[-1]["data"] == {
        "grant": str(grant.uuid),
        "user": staff["carla"].pseudonym,
        "role": "auditor",
        "scope": {},
        "counts_from": instant(grant.counts_from),
    }


def test_a_role_holds_for_the_models_and_teams_that_it_names(staff: dict[str, User]) -> None:
    carla, scope = staff["carla"], {"models": ["letters"], "teams": ["vision"]}
    grant_role(user=carla, role="commander", granted_by=None, actor=SETUP, scope=scope)
    grant_role(user=staff["vera"], role="commander", granted_by=None, actor=SETUP)
    carla = anew(carla)
    assert roles_for(carla, model="letters", team="text") == {"viewer", "commander"}
    assert roles_for(carla, model="faces", team="vision") == {"viewer", "commander"}
    assert roles_for(carla, model="loans", team="text") == roles_for(carla) == {"viewer"}
    assert people_for("commander", model="letters") == [carla, staff["vera"]]
    assert people_for("", model="loans") == [staff["vera"]]
    assert people_for("approver") == []


def test_the_last_administrator_can_not_be_taken_away(staff: dict[str, User]) -> None:
    ada, bea = staff["ada"], staff["bea"]
    end_role(user=bea, role="administrator", actor=actor_for(user=ada))
    assert_refused("last_administrator", lambda: end_role(user=ada, role="administrator", actor=actor_for(user=ada)))
    assert user_roles(anew(ada)) == {"administrator"}


@pytest.fixture
def carla(staff: dict[str, User]) -> User:
    grant_role(user=staff["carla"], role="commander", granted_by=None, actor=SETUP, scope={"teams": ["ml", "text"]})
    return anew(staff["carla"])


def lend(lender: User, borrower: User, **changes: Any) -> Delegation:
    now = timezone.now()
    wish = {"role": "commander", "scope": {"teams": ["ml"]}, "starts": now, "ends": now + datetime.timedelta(hours=8)}
    return delegate(lender=lender, borrower=borrower, actor=actor_for(user=lender), **wish | changes)


def test_a_lent_role_holds_from_its_start_to_its_end(staff: dict[str, User], carla: User) -> None:
    vera, now = staff["vera"], timezone.now()
    loan = lend(carla, vera)
    assert roles_for(anew(vera), team="ml") == {"viewer", "commander"}
    assert roles_for(anew(vera), team="text") == {"viewer"}
    [held] = [holding for holding in holdings([vera]) if holding.role == "commander"]
    assert (held.ref, held.lender_id) == (loan.pk, carla.pk)
    Delegation.objects.update(starts=now + datetime.timedelta(hours=1))
    assert user_roles(anew(vera)) == {"viewer"}
    Delegation.objects.update(starts=now - datetime.timedelta(hours=2), ends=now - datetime.timedelta(hours=1))
    assert user_roles(anew(vera)) == {"viewer"}
    [created] = recorded("delegation.create")
    assert created["data"] == {
        "delegation": str(loan.pk),
        "grant": str(loan.grant.uuid),
        "from": carla.pseudonym,
        "to": vera.pseudonym,
        "role": "commander",
        "scope": {"teams": ["ml"]},
        "starts": instant(loan.starts),
        "ends": instant(loan.ends),
    }


def test_a_lent_role_ends_when_it_is_taken_back_or_when_the_lender_loses_it(
    staff: dict[str, User], carla: User
) -> None:
    vera = staff["vera"]
    end_delegation(delegation=lend(carla, vera), actor=actor_for(user=carla))
    assert user_roles(anew(vera)) == {"viewer"}
    lend(carla, vera)
    epoch = anew(vera).permission_epoch
    end_role(user=carla, role="commander", actor=SETUP)
    assert user_roles(anew(vera)) == {"viewer"}
    assert anew(vera).permission_epoch > epoch
    assert len(recorded("delegation.end")) == 1


def test_what_can_not_be_lent_is_refused(staff: dict[str, User], carla: User) -> None:
    vera, bea, now = staff["vera"], staff["bea"], timezone.now()
    day = datetime.timedelta(days=1)
    assert_refused("not_held", lambda: lend(carla, vera, scope={}))
    assert_refused("not_held", lambda: lend(carla, vera, scope={"teams": ["ml", "loans"]}))
    assert_refused("not_held", lambda: lend(bea, vera))
    assert_refused("not_lendable", lambda: lend(bea, vera, role="administrator", scope={}))
    assert_refused("to_oneself", lambda: lend(carla, carla))
    assert_refused("bad_time", lambda: lend(carla, vera, ends=now - day))
    assert_refused("bad_time", lambda: lend(carla, vera, ends=now + 32 * day))
    lend(carla, vera)
    assert_refused("not_held", lambda: lend(anew(vera), bea))


def test_a_deactivated_person_holds_and_lends_nothing(staff: dict[str, User], carla: User) -> None:
    lend(carla, staff["vera"])
    User.objects.filter(pk=carla.pk).update(is_active=False)
    assert holdings([carla]) == []
    assert user_roles(anew(staff["vera"])) == {"viewer"}


def test_open_pages_learn_of_a_role_that_begins_or_ends_by_the_clock(staff: dict[str, User]) -> None:
    grant = confirm(propose(staff), staff["bea"])
    carla = anew(staff["carla"])
    assert carla.roles_change_at == grant.counts_from
    assert roles_that_change(timezone.now()) == []
    let_rest(grant)
    User.objects.filter(pk=carla.pk).update(roles_change_at=timezone.now())
    assert roles_that_change(timezone.now()) == [str(carla.pk)]
    bring_roles_up_to_date(str(carla.pk))
    assert (anew(carla).permission_epoch, anew(carla).roles_change_at) == (carla.permission_epoch + 1, None)
    roles_changed(user=carla)
    assert roles_that_change(timezone.now()) == []


def test_a_proposal_that_nobody_decided_on_expires_on_record(staff: dict[str, User]) -> None:
    proposal = propose_role(user=staff["vera"], role="approver", proposer=staff["ada"], actor=SETUP)
    assert not expire_proposal(proposal_id=proposal.pk, actor=SETUP)
    assert due.proposals_to_close(database_now()) == []
    RoleProposal.objects.update(expires_at=database_now())

    assert due.proposals_to_close(database_now()) == [str(proposal.pk)]
    expire_role_proposal(str(proposal.pk))
    expire_role_proposal(str(proposal.pk))

    proposal.refresh_from_db()
    assert (proposal.state, proposal.decided_by, due.proposals_to_close(database_now())) == ("expired", None, [])
    [expired] = recorded("role.expire")
    assert (expired["actor"]["id"], expired["target"]["id"]) == ("svc:clock", str(proposal.pk))
    with pytest.raises(AuthorityRefused) as refused:
        confirm_role(
            proposal_id=proposal.pk, by=staff["bea"], auth_method="password", auth_time=timezone.now(), actor=SETUP
        )
    assert refused.value.code == "not_open"


def test_proposing_again_closes_a_proposal_whose_time_is_over_on_record(staff: dict[str, User]) -> None:
    wish = {"user": staff["vera"], "role": "approver", "proposer": staff["ada"], "actor": SETUP}
    first = propose_role(**wish)
    RoleProposal.objects.update(expires_at=database_now())
    second = propose_role(**wish)
    assert [row["target"]["id"] for row in recorded("role.expire")] == [str(first.pk)]
    assert set(RoleProposal.objects.values_list("pk", "state")) == {(first.pk, "expired"), (second.pk, "open")}
