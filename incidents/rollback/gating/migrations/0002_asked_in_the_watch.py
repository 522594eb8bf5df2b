import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("gating", "0001_initial"),
        ("registry", "0007_freeze_windows"),
        ("rollback", "0006_shadows"),
    ]

    operations = [
        migrations.AddField(
            model_name="gatedefinition",
            name="asked_when",
            field=models.CharField(
                choices=[
                    ("wave", "After each wave"),
                    ("watch", "In the watch, after the run"),
                    ("both", "After each wave and in the watch"),
                ],
                db_default="wave",
                default="wave",
                max_length=5,
            ),
        ),
        migrations.AlterField(
            model_name="asking",
            name="wave",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="askings",
                to="rollback.wave",
            ),
        ),
        migrations.AddConstraint(
            model_name="asking",
            constraint=models.UniqueConstraint(
                condition=models.Q(("wave", None)),
                fields=("run", "definition"),
                name="gating_asked_once_in_the_watch",
            ),
        ),
        migrations.AddConstraint(
            model_name="gatedefinition",
            constraint=models.CheckConstraint(
                condition=models.Q(("asked_when__in", ["wave", "watch", "both"])), name="gating_when_known"
            ),
        ),
    ]
