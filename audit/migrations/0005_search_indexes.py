"""Indexes in the order in which events are shown, and what the planner must know of columns that hang together."""

from django.db import migrations, models
from django.db.models import Q

TOGETHER = """
    CREATE STATISTICS audit_event_together (mcv) ON action, outcome, actor_kind, target_kind FROM audit_event;
    ALTER STATISTICS audit_event_together SET STATISTICS 500
"""
APART = "DROP STATISTICS audit_event_together"
OLD = ("audit_event_action", "audit_event_actor", "audit_event_target")
NEW = {
    "audit_event_by_action": "action",
    "audit_event_by_actor": "actor",
    "audit_event_by_target": "target_id",
    "audit_event_by_kind": "target_kind",
}


class Migration(migrations.Migration):
    dependencies = [("audit", "0004_sealed_texts")]

    operations = [
        *(migrations.RemoveIndex("auditevent", name) for name in OLD),
        *(
            migrations.AddIndex("auditevent", models.Index(fields=[column, "occurred_at", "id"], name=name))
            for name, column in NEW.items()
        ),
        migrations.AddIndex(
            "auditevent",
            models.Index(
                fields=["outcome", "occurred_at", "id"], condition=~Q(outcome="success"), name="audit_event_by_outcome"
            ),
        ),
        migrations.RunSQL(TOGETHER, APART),
    ]
