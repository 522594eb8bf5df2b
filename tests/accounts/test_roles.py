"""People, their roles, and what roles may do."""

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest
from django.test import RequestFactory
from rest_framework.request import Request

from accounts.actions import AccountError, create_user, end_role, grant_role
from accounts.models import ApiToken, Role, RoleGrant, User
from accounts.permissions import PERMISSIONS, WORDS, may, require, user_roles
from audit import names
from audit.models import AuditPrivate
from tests.accounts.people import SETUP, person, recorded

pytestmark = pytest.mark.django_db


def asking(user: User) -> HttpRequest:
    request = RequestFactory().get("/incidents/INC-1/")
    request.user = user
    return request


def test_a_role_counts_from_its_grant_to_its_end() -> None:
    mara = person("mara")
    assert user_roles(mara) == frozenset()
    grant_role(user=mara, role="commander", granted_by=None, actor=SETUP)
    assert may(User.objects.get(pk=mara.pk), "plan.start")
    end_role(user=mara, role="commander", actor=SETUP)
    assert not may(User.objects.get(pk=mara.pk), "plan.start")
    [granted], [ended] = recorded("role.grant"), recorded("role.end")
    facts = {"grant": str(RoleGrant.objects.get().uuid), "user": mara.pseudonym, "role": "commander"}
    assert granted["data"] == facts | {"scope": {}, "counts_from": granted["data"]["counts_from"]}
    assert ended["data"] == facts
    assert RoleGrant.objects.get().until is not None


def test_each_change_of_roles_moves_the_epoch_of_what_the_person_may_see() -> None:
    mara = person("mara", "viewer")
    first = User.objects.get(pk=mara.pk).permission_epoch
    grant_role(user=mara, role="viewer", granted_by=None, actor=SETUP)
    assert User.objects.get(pk=mara.pk).permission_epoch == first
    grant_role(user=mara, role="auditor", granted_by=None, actor=SETUP)
    end_role(user=mara, role="viewer", actor=SETUP)
    assert User.objects.get(pk=mara.pk).permission_epoch == first + 2


def test_a_role_that_is_unknown_or_not_held_is_refused() -> None:
    mara = person("mara")
    with pytest.raises(AccountError, match="There is no role king"):
        grant_role(user=mara, role="king", granted_by=None, actor=SETUP)
    with pytest.raises(AccountError, match="does not hold the role viewer"):
        end_role(user=mara, role="viewer", actor=SETUP)


def test_a_taken_name_and_a_weak_password_make_nobody() -> None:
    person("mara")
    with pytest.raises(AccountError, match="taken"):
        person("MARA")
    with pytest.raises(ValidationError):
        create_user(username="bo", email="", full_name="Bo", password="12345678", roles=[], actor=SETUP)
    assert User.objects.count() == 1


def test_abuse_2_one_address_makes_one_account() -> None:
    person("mara")
    with pytest.raises(AccountError, match="There is an account with the address"):
        create_user(
            username="lind", email="Mara@Example.org", full_name="M Lind", password="x9 battery", roles=[], actor=SETUP
        )
    assert list(User.objects.values_list("username", flat=True)) == ["mara"]
    assert len(recorded("user.create")) == 1


def test_a_request_of_somebody_who_may_not_is_refused_with_whom_to_ask_and_recorded() -> None:
    vera = person("vera", "viewer")
    require(asking(vera), "view")
    with pytest.raises(PermissionDenied) as caught:
        require(asking(vera), "audit.view")
    assert str(caught.value) == "You may not read the log. Ask a person with the role auditor."
    [leaf] = recorded("access.deny")
    assert (leaf["actor"]["id"], leaf["data"]) == (vera.pseudonym, {})
    assert AuditPrivate.objects.get().text == "/incidents/INC-1/"


def test_a_person_alone_can_be_asked_about_as_well() -> None:
    with pytest.raises(PermissionDenied):
        require(person("vera", "viewer"), "approve")


def test_a_program_needs_the_scope_as_well_as_its_owners_role() -> None:
    request = Request(asking(person("carla", "commander")))
    request.user = request._request.user
    request.auth = ApiToken(prefix="abcd", scopes=["view"])
    require(request, "view")
    with pytest.raises(PermissionDenied):
        require(request, "plan.start")


def test_djangos_own_permissions_follow_the_roles() -> None:
    auditor, vera = person("olga", "auditor"), person("vera", "viewer")
    assert auditor.has_perm("audit.view_auditevent")
    assert auditor.has_perm("audit.export")
    assert not vera.has_perm("audit.view_auditevent")
    assert not auditor.has_perm("accounts.delete_user")


def test_the_log_shows_names_for_the_pseudonyms_of_people() -> None:
    mara = create_user(
        username="mara", email="", full_name="Mara Lind", password="x9 battery staple", roles=[], actor=SETUP
    )
    assert names.display([mara.pseudonym, "u-unknown"]) == {mara.pseudonym: "Mara Lind", "u-unknown": "u-unknown"}


def test_every_permission_has_words_and_every_role_has_permissions() -> None:
    assert set(PERMISSIONS) == set(Role.values)
    assert set().union(*PERMISSIONS.values()) | {"ingest", "witness"} == set(WORDS)
