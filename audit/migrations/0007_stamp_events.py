"""The database itself states the place and the moment of an event, so that no writer can choose them.

An event with an old transaction id would never be sequenced; one that takes an id ahead of the sequence would stop all
that come after it; one with a moment of the writer's choice could pretend to have come before what it was to follow.
"""

from django.db import migrations

# Only a restore puts back what was stated before, and only as the owner: everybody may set the setting.
FUNCTION = """
CREATE FUNCTION audit_stamp_event() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    record json;
BEGIN
    IF current_setting('lastgood.restoring', true) = 'on'
       AND pg_has_role((SELECT c.relowner FROM pg_class AS c WHERE c.oid = TG_RELID), 'USAGE') THEN
        RETURN NEW;
    END IF;
    NEW.xid := pg_current_xact_id();
    IF NEW.id IS DISTINCT FROM currval('public.audit_event_id_seq') THEN
        RAISE EXCEPTION 'The id of an event is drawn by the database; % was given.', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.occurred_at NOT BETWEEN least(transaction_timestamp(), clock_timestamp()) - interval '1 second'
                           AND clock_timestamp() + interval '1 second' THEN
        RAISE EXCEPTION 'An event of % is recorded at %; it must have happened in this transaction.',
            NEW.occurred_at, clock_timestamp() USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    record := convert_from(NEW.canon, 'UTF8')::json;
    IF (record -> 'event_id')::text IS DISTINCT FROM '"' || NEW.event_uuid || '"'
       OR (record -> 'occurred_at')::text IS DISTINCT FROM
           '"' || to_char(NEW.occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '"' THEN
        RAISE EXCEPTION 'The record of the event % states another id or moment than its row.', NEW.event_uuid
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$
"""

TRIGGER = """
CREATE TRIGGER audit_event_stamp BEFORE INSERT ON audit_event FOR EACH ROW EXECUTE FUNCTION audit_stamp_event();
ALTER TABLE audit_event ENABLE ALWAYS TRIGGER audit_event_stamp;
"""


class Migration(migrations.Migration):
    dependencies = [("audit", "0006_sequencer_missing")]

    operations = [
        migrations.RunSQL(FUNCTION, "DROP FUNCTION audit_stamp_event()"),
        migrations.RunSQL(TRIGGER, "DROP TRIGGER audit_event_stamp ON audit_event"),
    ]
