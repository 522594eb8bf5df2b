from django.apps import AppConfig


class MonitoringConfig(AppConfig):
    name = "monitoring"
    label = "monitoring"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from monitoring.adopted import reference_of
        from monitoring.objection import alert_on_record, not_judged_yet
        from registry.adopting.references import register as register_reference
        from registry.soak import register_objection

        register_reference(reference_of)
        register_objection(alert_on_record)
        register_objection(not_judged_yet)
