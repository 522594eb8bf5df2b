"""Texts beside the log are sealed under a key per person; those that stood open are sealed here."""

import uuid

import django.db.models.deletion
from django.db import migrations, models
from django.db.models.functions import Now

from audit.sealing import new_wrapped_key, open_text, seal_text


def seal_all(apps, schema_editor):
    """Seal every open text under the key of the actor of its event."""
    Private, SubjectKey = apps.get_model("audit", "AuditPrivate"), apps.get_model("audit", "AuditSubjectKey")
    alias = schema_editor.connection.alias
    keys = {}
    for row in Private.objects.using(alias).select_related("event").order_by("pk").iterator(chunk_size=1000):
        subject = row.event.actor
        if subject not in keys:
            keys[subject] = new_wrapped_key(subject)
            SubjectKey.objects.using(alias).create(subject=subject, wrapped=keys[subject])
        sealed = seal_text(event_id=row.pk, subject=subject, wrapped=keys[subject], key=bytes(row.key), text=row.text)
        Private.objects.using(alias).filter(pk=row.pk).update(subject_id=subject, sealed=sealed)
    schema_editor.execute("SET CONSTRAINTS ALL IMMEDIATE")


def open_all(apps, schema_editor):
    """Put the texts back as they stood; those of erased people are gone."""
    Private = apps.get_model("audit", "AuditPrivate")
    alias = schema_editor.connection.alias
    for row in Private.objects.using(alias).select_related("subject").order_by("pk").iterator(chunk_size=1000):
        opened = open_text(event_id=row.pk, subject=row.subject_id, wrapped=row.subject.wrapped, sealed=row.sealed)
        if opened is None:
            row.delete()
        else:
            Private.objects.using(alias).filter(pk=row.pk).update(key=opened[0], text=opened[1])
    schema_editor.execute("SET CONSTRAINTS ALL IMMEDIATE")


class Migration(migrations.Migration):
    dependencies = [("audit", "0003_tree_and_witness")]

    operations = [
        migrations.CreateModel(
            name="AuditSubjectKey",
            fields=[
                ("subject", models.CharField(max_length=100, primary_key=True, serialize=False)),
                ("wrapped", models.BinaryField(null=True)),
                ("created_at", models.DateTimeField(db_default=Now())),
                ("erased_at", models.DateTimeField(null=True)),
            ],
            options={"db_table": "audit_subject_key", "default_permissions": ()},
        ),
        migrations.AddConstraint(
            model_name="auditsubjectkey",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("erased_at__isnull", False), ("wrapped__isnull", True)),
                    models.Q(("erased_at__isnull", True), ("wrapped__isnull", False)),
                    _connector="OR",
                ),
                name="audit_subject_key_or_tombstone",
            ),
        ),
        migrations.AddField(
            model_name="auditprivate",
            name="subject",
            field=models.ForeignKey(
                db_column="subject",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="texts",
                to="audit.auditsubjectkey",
            ),
        ),
        migrations.AddField(model_name="auditprivate", name="sealed", field=models.BinaryField(null=True)),
        migrations.AlterField(model_name="auditprivate", name="key", field=models.BinaryField(null=True)),
        migrations.AlterField(model_name="auditprivate", name="text", field=models.TextField(null=True)),
        migrations.RunPython(seal_all, open_all),
        migrations.RemoveField(model_name="auditprivate", name="key"),
        migrations.RemoveField(model_name="auditprivate", name="text"),
        migrations.AlterField(
            model_name="auditprivate",
            name="subject",
            field=models.ForeignKey(
                db_column="subject",
                on_delete=django.db.models.deletion.PROTECT,
                related_name="texts",
                to="audit.auditsubjectkey",
            ),
        ),
        migrations.AlterField(model_name="auditprivate", name="sealed", field=models.BinaryField()),
        migrations.CreateModel(
            name="AuditHold",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                (
                    "kind",
                    models.CharField(
                        choices=[("subject", "Person"), ("incident", "Incident"), ("model", "Model")], max_length=10
                    ),
                ),
                (
                    "ref",
                    models.CharField(
                        help_text="Pseudonym, reference of the incident, or slug of the model.", max_length=100
                    ),
                ),
                ("placed_by", models.CharField(max_length=100)),
                ("placed_at", models.DateTimeField(db_default=Now())),
                (
                    "until",
                    models.DateTimeField(blank=True, help_text="Empty: until it is lifted.", null=True),
                ),
                ("lifted_by", models.CharField(blank=True, default="", max_length=100)),
                ("lifted_at", models.DateTimeField(blank=True, null=True)),
                (
                    "event",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="audit.auditevent"
                    ),
                ),
            ],
            options={"db_table": "audit_hold", "ordering": ["-placed_at"], "default_permissions": ()},
        ),
        migrations.AddIndex(
            model_name="audithold",
            index=models.Index(
                condition=models.Q(("lifted_at", None)), fields=["kind", "ref"], name="audit_hold_standing"
            ),
        ),
        migrations.AddConstraint(
            model_name="audithold",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", ["subject", "incident", "model"])), name="audit_hold_kind_known"
            ),
        ),
    ]
