"""Policies that a new installation starts with; an administrator replaces them by newer versions."""

from django.db import migrations

TWO = [{"role": "commander", "count": 1}, {"role": "approver", "count": 1}]
ONE = [{"role": "commander", "count": 1}]


def add(apps, schema_editor):
    policies = apps.get_model("accounts", "ApprovalPolicy").objects.using(schema_editor.connection.alias)
    for kind in ("rollback", "release", "drill", "converge"):
        for tier in ("low", "medium", "high"):
            for environment in ("production", "staging"):
                strict = environment == "production" and tier != "low" and kind in ("rollback", "release")
                policies.create(
                    name=f"{kind}-{tier}-{environment}",
                    subject_kind=kind,
                    risk_tier=tier,
                    environment=environment,
                    required=2 if strict else 1,
                    factors=TWO if strict else ONE,
                )


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]
    operations = [migrations.RunPython(add, migrations.RunPython.noop)]
