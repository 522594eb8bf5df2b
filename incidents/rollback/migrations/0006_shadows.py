from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("registry", "0007_freeze_windows"),
        ("rollback", "0005_steer_calls"),
    ]

    operations = [
        migrations.RemoveConstraint(model_name="hoststep", name="rollback_step_state_known"),
        migrations.AlterField(
            model_name="check",
            name="stage",
            field=models.CharField(help_text="golden, postcheck, shadow, share, gate, watch", max_length=12),
        ),
        migrations.AlterField(
            model_name="hoststep",
            name="state",
            field=models.CharField(
                choices=[
                    ("pending", "Waiting"),
                    ("locked", "Locked"),
                    ("preflight", "Checked"),
                    ("staged", "Staged"),
                    ("drained", "Out of service"),
                    ("emptied", "Old version unloaded"),
                    ("loaded", "Loaded"),
                    ("golden_ok", "Golden test passed"),
                    ("shadowed", "Asked beside what answers"),
                    ("compared", "Compared with what answers"),
                    ("shared", "Takes a share of the traffic"),
                    ("in_service", "Back in service"),
                    ("switched", "Switched"),
                    ("postcheck_ok", "Checked after the switch"),
                    ("done", "Done"),
                    ("failed", "Failed"),
                    ("compensating", "Going back"),
                    ("restored", "Restored"),
                    ("unreachable", "Unreachable"),
                ],
                default="pending",
                max_length=14,
            ),
        ),
        migrations.AlterField(
            model_name="hoststep",
            name="steer_calls",
            field=models.PositiveIntegerField(
                db_default=0,
                default=0,
                help_text="Calls that take the host out of service, bring it back, share its requests or mirror them.",
            ),
        ),
        migrations.AddConstraint(
            model_name="hoststep",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "state__in",
                        [
                            "pending", "locked", "preflight", "staged", "drained", "emptied", "loaded", "golden_ok",
                            "shadowed", "compared", "shared", "in_service", "switched", "postcheck_ok", "done",
                            "failed", "compensating", "restored", "unreachable",
                        ],
                    )
                ),
                name="rollback_step_state_known",
            ),
        ),
    ]  # fmt: skip
