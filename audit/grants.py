"""What each login may do with the log's tables. Only the owner has more, and triggers hold the owner."""

GRANTS: dict[str, dict[str, list[str]]] = {
    "audit_event": {"app": ["SELECT", "INSERT"], "sequencer": ["SELECT"]},
    "audit_leaf": {"app": ["SELECT"], "sequencer": ["SELECT", "INSERT"]},
    "audit_checkpoint": {"app": ["SELECT"], "sequencer": ["SELECT", "INSERT"]},
    "audit_node": {"app": ["SELECT"], "sequencer": ["SELECT", "INSERT"]},
    "audit_cosig": {"app": ["SELECT", "INSERT"], "sequencer": ["SELECT"]},
    "audit_sequencer": {"app": ["SELECT"], "sequencer": ["SELECT", "INSERT", "UPDATE"]},
    "audit_log_key": {"app": ["SELECT"], "sequencer": ["SELECT", "INSERT"]},
    "audit_private": {"app": ["SELECT", "INSERT", "DELETE"], "sequencer": []},
    "audit_subject_key": {"app": ["SELECT", "INSERT", "UPDATE"], "sequencer": []},
    "audit_hold": {"app": ["SELECT", "INSERT", "UPDATE"], "sequencer": []},
    "audit_incident_counter": {"app": ["SELECT", "INSERT", "UPDATE"], "sequencer": []},
}

# Rows of these, and of every partition or child of these, are never changed, by whomsoever.
APPEND_ONLY = ("audit_event", "audit_leaf", "audit_checkpoint", "audit_log_key", "audit_node", "audit_cosig")

# Each new row of these, and of every partition or child of these, is stamped by that function of the database: its
# transaction id and its moment are not the writer's to choose.
STAMPED = {"audit_event": "audit_stamp_event"}
