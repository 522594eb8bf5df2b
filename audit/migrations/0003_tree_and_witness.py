"""Interior nodes of the tree, the witnesses' signatures, and what the sequencer says of itself."""

import django.db.models.deletion
from django.db import migrations, models

APPEND_ONLY = ("audit_node", "audit_cosig")

TRIGGERS = """
CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table}
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_change();
CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();
ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_no_change;
ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_no_truncate;
"""

NO_TRIGGERS = """
DROP TRIGGER {table}_no_truncate ON {table};
DROP TRIGGER {table}_no_change ON {table};
"""

SIZES = """
ALTER TABLE audit_node ADD CONSTRAINT audit_node_size
    CHECK (octet_length(hash) = 32 AND level BETWEEN 1 AND 7 AND position >= 0);
"""


class Migration(migrations.Migration):
    dependencies = [("audit", "0002_append_only")]

    operations = [
        migrations.CreateModel(
            name="AuditNode",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "level", "position", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("level", models.SmallIntegerField()),
                ("position", models.BigIntegerField()),
                ("hash", models.BinaryField()),
            ],
            options={"db_table": "audit_node", "default_permissions": ()},
        ),
        migrations.CreateModel(
            name="AuditCosignature",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "checkpoint",
                    models.ForeignKey(
                        db_column="size",
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="cosignatures",
                        to="audit.auditcheckpoint",
                    ),
                ),
                ("witness", models.CharField(max_length=200)),
                ("note_line", models.TextField()),
                ("created_at", models.DateTimeField()),
            ],
            options={
                "db_table": "audit_cosig",
                "default_permissions": (),
                "constraints": [models.UniqueConstraint(fields=("witness", "checkpoint"), name="audit_cosig_once")],
            },
        ),
        migrations.CreateModel(
            name="AuditSequencer",
            fields=[
                ("id", models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("seen_at", models.DateTimeField()),
                ("refused", models.TextField(blank=True, default="")),
                ("refused_at", models.DateTimeField(null=True)),
                ("rehash_peaks", models.BinaryField(default=bytes)),
                ("rehash_next", models.BigIntegerField(default=0)),
                ("rehash_size", models.BigIntegerField(default=0)),
                ("rehashed_size", models.BigIntegerField(default=0)),
                ("rehashed_at", models.DateTimeField(null=True)),
            ],
            options={
                "db_table": "audit_sequencer",
                "default_permissions": (),
                "constraints": [models.CheckConstraint(condition=models.Q(("id", 1)), name="audit_sequencer_one_row")],
            },
        ),
        *[migrations.RunSQL(TRIGGERS.format(table=t), NO_TRIGGERS.format(table=t)) for t in APPEND_ONLY],
        migrations.RunSQL(SIZES, "ALTER TABLE audit_node DROP CONSTRAINT audit_node_size"),
    ]
