"""The command that makes the first person."""

import io
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.approvals.models import ApprovalPolicy
from accounts.models import User
from accounts.permissions import user_roles

pytestmark = pytest.mark.django_db


def createadmin(monkeypatch: pytest.MonkeyPatch, password: str, *arguments: Any) -> str:
    out = io.StringIO()
    monkeypatch.setattr("sys.stdin", io.StringIO(password + "\n"))
    call_command("createadmin", *arguments, "--password-stdin", stdout=out)
    return out.getvalue()


def test_it_makes_an_administrator_who_can_sign_in(monkeypatch: pytest.MonkeyPatch) -> None:
    said = createadmin(monkeypatch, "x9 battery staple", "ada", "--name", "Ada L", "--role", "approver")
    ada = User.objects.get()
    assert user_roles(ada) == {"administrator", "approver"}
    assert (ada.check_password("x9 battery staple"), str(ada)) == (True, "Ada L")
    assert said == "Made ada with the roles administrator, approver. Sign in at /accounts/login/.\n"


@pytest.mark.parametrize(("password", "sentence"), [("123", "too short"), ("password", "too common")])
def test_a_weak_password_makes_nobody(monkeypatch: pytest.MonkeyPatch, password: str, sentence: str) -> None:
    with pytest.raises(CommandError, match=sentence):
        createadmin(monkeypatch, password, "ada")
    assert not User.objects.exists()


def test_a_taken_name_makes_nobody_new(monkeypatch: pytest.MonkeyPatch) -> None:
    createadmin(monkeypatch, "x9 battery staple", "ada")
    with pytest.raises(CommandError, match="taken"):
        createadmin(monkeypatch, "x9 battery staple", "Ada")
    assert User.objects.count() == 1


def test_a_new_installation_has_a_policy_for_every_act() -> None:
    policies = ApprovalPolicy.objects.filter(active=True).exclude(risk_tier="any")
    assert policies.count() == 4 * 3 * 2
    acts = ApprovalPolicy.objects.filter(active=True, risk_tier="any")
    assert {row.name: (row.required, [factor["role"] for factor in row.factors]) for row in acts} == {
        "policy_change-any-any": (1, ["administrator"]),
        "unquarantine-any-production": (2, ["commander", "approver"]),
        "break_glass-any-any": (1, ["commander"]),
        "drain-any-any": (1, ["commander"]),
        "freeze-any-any": (1, ["commander"]),
        "gate_registration-any-any": (1, ["administrator"]),
    }
    strict = policies.get(subject_kind="rollback", risk_tier="high", environment="production")
    assert (strict.required, strict.factors, strict.step_up_seconds, strict.expires_seconds) == (
        2,
        [{"role": "commander", "count": 1}, {"role": "approver", "count": 1}],
        300,
        1800,
    )
    assert policies.filter(required=2).count() == 4
