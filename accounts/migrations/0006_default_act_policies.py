"""Policies for acts that a new installation starts with; promotions and hosts are done at once until one is added."""

from django.db import migrations

TWO = [{"role": "commander", "count": 1}, {"role": "approver", "count": 1}]
DEFAULTS = [
    ("policy_change", "any", "any", [{"role": "administrator", "count": 1}], 1800),
    ("unquarantine", "any", "production", TWO, 1800),
    ("break_glass", "any", "any", [{"role": "commander", "count": 1}], 900),
]


def add(apps, schema_editor):
    policies = apps.get_model("accounts", "ApprovalPolicy").objects.using(schema_editor.connection.alias)
    for kind, tier, environment, factors, expires_seconds in DEFAULTS:
        policies.create(
            name=f"{kind}-{tier}-{environment}",
            subject_kind=kind,
            risk_tier=tier,
            environment=environment,
            required=sum(factor["count"] for factor in factors),
            factors=factors,
            expires_seconds=expires_seconds,
        )


class Migration(migrations.Migration):
    dependencies = [("accounts", "0005_acts_evidence_and_break_glass")]
    operations = [migrations.RunPython(add, migrations.RunPython.noop)]
