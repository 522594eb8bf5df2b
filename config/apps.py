from django.apps import AppConfig


class ProjectConfig(AppConfig):
    """Makes the commands of the process house (``up``, ``clock``, ``grants``, ``migrate``) visible to Django."""

    name = "config"
    verbose_name = "Lastgood"
