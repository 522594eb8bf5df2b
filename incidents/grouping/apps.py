from django.apps import AppConfig


class GroupingConfig(AppConfig):
    name = "incidents.grouping"
    label = "grouping"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from incidents.grouping import flapping, working_on
        from monitoring.inbound import reasons
        from monitoring.rules import suppress

        suppress.register(working_on.why)
        suppress.register(flapping.why)
        reasons.register(working_on.KIND, working_on.words)
        reasons.register(flapping.KIND, flapping.words)
