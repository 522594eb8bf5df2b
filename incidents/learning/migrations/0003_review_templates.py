"""Reminders of more than action items, once for a key; and what reviews begin with."""

import django.db.models.functions.datetime
from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import CharField, F, Value
from django.db.models.functions import Cast, Concat


def name_keys(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    reminders = apps.get_model("learning", "Reminder").objects.using(schema_editor.connection.alias)
    key = Concat(Value("item:"), Cast("item_id", CharField()), Value(":"), F("stage"), output_field=CharField())
    reminders.update(key=key)


class Migration(migrations.Migration):
    dependencies = [
        ("learning", "0002_false_alarm"),
    ]

    operations = [
        migrations.CreateModel(
            name="ReviewTemplate",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.SlugField(
                        blank=True, help_text="Such as accuracy; empty: every other.", max_length=40, unique=True
                    ),
                ),
                ("texts", models.JSONField(default=dict, help_text="Text by the name of its section.")),
                ("version", models.PositiveIntegerField(default=1)),
                ("changed_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={"ordering": ["kind"]},
        ),
        migrations.AddField(model_name="reminder", name="key", field=models.CharField(max_length=60, null=True)),
        migrations.RunPython(name_keys, migrations.RunPython.noop, elidable=True),
        migrations.RemoveConstraint(model_name="reminder", name="learning_reminded_once"),
        migrations.AlterField(model_name="reminder", name="key", field=models.CharField(max_length=60, unique=True)),
        migrations.RemoveField(model_name="reminder", name="item"),
        migrations.RemoveField(model_name="reminder", name="stage"),
        migrations.RemoveField(model_name="reminder", name="attempts"),
        migrations.RemoveField(model_name="reminder", name="sent_at"),
    ]
