from django.db import migrations, models

ADDED = (
    ("joint_drift", {"auc": 0.6, "mmd": 0.01, "alpha": 0.01}, 3),
    ("concept_drift", {"rise": 0.05, "agree": 2.0}, 2),
)


def add_rules(apps, schema_editor):
    """An endpoint that is watched gets the new rules, with the lengths of its rule of accuracy."""
    rules = apps.get_model("monitoring", "Rule").objects.using(schema_editor.connection.alias)
    for one in rules.filter(kind="accuracy"):
        for kind, params, severity in ADDED:
            rules.get_or_create(
                endpoint_id=one.endpoint_id,
                kind=kind,
                defaults={
                    "params": params,
                    "severity": severity,
                    "min_rows": one.min_rows,
                    "for_windows": one.for_windows,
                    "clear_windows": one.clear_windows,
                },
            )


class Migration(migrations.Migration):
    dependencies = [("monitoring", "0010_exact_comparisons")]

    operations = [
        migrations.AlterField(
            model_name="rule",
            name="kind",
            field=models.CharField(
                choices=[
                    ("accuracy", "Accuracy below what the version promised"),
                    ("input_drift", "Inputs unlike the version's training data"),
                    ("output_drift", "Predictions unlike the version's training data"),
                    ("latency", "Slower than the endpoint was"),
                    ("joint_drift", "Inputs, taken together, unlike the version's holdout set"),
                    ("concept_drift", "More errors than in the version's good windows before"),
                ],
                max_length=20,
            ),
        ),
        migrations.RunPython(add_rules, migrations.RunPython.noop),
    ]
