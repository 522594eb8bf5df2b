from django.apps import AppConfig


class IncidentsConfig(AppConfig):
    name = "incidents"
    label = "incidents"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from accounts.approvals.subjects import register_sections
        from audit.erasure import register_eraser
        from audit.holds import register_incidents, register_known
        from audit.watch import register_owed
        from incidents.alert_worth import outcomes
        from incidents.duties import alarms
        from incidents.erasure import erase, incident_ref, incidents_of
        from incidents.keeping import evidence_spans
        from incidents.markers import incident_markers
        from incidents.needs import add_needs
        from incidents.shown import incident_sections
        from incidents.troubled import troubles
        from monitoring import markers, retention
        from monitoring.rules import troubled, worth
        from registry.snapshots import needs

        needs.register(add_needs)
        worth.register(outcomes)
        troubled.register(troubles)
        markers.register(incident_markers)
        register_sections(incident_sections)
        register_eraser(erase)
        register_incidents(incidents_of)
        register_known("incident", incident_ref)
        register_owed(alarms)
        retention.register_keeper(evidence_spans)
