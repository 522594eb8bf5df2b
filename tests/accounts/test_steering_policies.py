"""The policies of drains and freezes that a migration puts in place."""

from importlib import import_module
from types import SimpleNamespace

import pytest
from django.apps import apps
from django.db import connection

from accounts.approvals.models import ApprovalPolicy

pytestmark = pytest.mark.django_db
NAMES = ("drain-any-any", "freeze-any-any")


def test_going_back_and_forth_leaves_one_policy_of_each_name() -> None:
    before = list(ApprovalPolicy.objects.filter(name__in=NAMES).order_by("pk").values())
    assert len(before) == 2
    migration = import_module("accounts.migrations.0010_steering_policies")
    migration.add(apps, SimpleNamespace(connection=connection))
    assert list(ApprovalPolicy.objects.filter(name__in=NAMES).order_by("pk").values()) == before


def test_a_policy_that_was_replaced_before_stays_replaced() -> None:
    ApprovalPolicy.objects.filter(name__in=NAMES).update(active=False)
    migration = import_module("accounts.migrations.0010_steering_policies")
    migration.add(apps, SimpleNamespace(connection=connection))
    assert not ApprovalPolicy.objects.filter(name__in=NAMES, active=True).exists()
