"""The database's own refusal to change the log: triggers that fire for owners, superusers and replication roles too."""

from django.db import migrations

APPEND_ONLY = ("audit_event", "audit_leaf", "audit_checkpoint", "audit_log_key")

FUNCTION = """
CREATE FUNCTION audit_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'The audit log is append-only: % on % is refused.', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END
$$
"""

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
ALTER TABLE audit_event ADD CONSTRAINT audit_event_canon_size CHECK (octet_length(canon) BETWEEN 2 AND 65535);
ALTER TABLE audit_leaf ADD CONSTRAINT audit_leaf_hash_size CHECK (octet_length(leaf_hash) = 32 AND leaf_index >= 0);
ALTER TABLE audit_checkpoint ADD CONSTRAINT audit_checkpoint_size CHECK (octet_length(root) = 32 AND size > 0);
"""

NO_SIZES = """
ALTER TABLE audit_checkpoint DROP CONSTRAINT audit_checkpoint_size;
ALTER TABLE audit_leaf DROP CONSTRAINT audit_leaf_hash_size;
ALTER TABLE audit_event DROP CONSTRAINT audit_event_canon_size;
"""


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]

    operations = [
        migrations.RunSQL(FUNCTION, "DROP FUNCTION audit_refuse_change()"),
        *[migrations.RunSQL(TRIGGERS.format(table=t), NO_TRIGGERS.format(table=t)) for t in APPEND_ONLY],
        migrations.RunSQL(SIZES, NO_SIZES),
    ]
