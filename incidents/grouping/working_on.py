"""Alerts that are expected because people work on what they are about."""

from incidents.telling.maintenance import maintenance_of
from incidents.telling.models import Maintenance
from monitoring.models import Alert

KIND = "maintenance"


def why(alert: Alert) -> str:
    """Names the maintenance under way in which the alert is expected; "" for none."""
    if alert.endpoint is None:
        return ""
    window = maintenance_of(alert.endpoint)
    return f"{KIND}:{window.pk}" if window is not None else ""


def words(mark: str) -> str:
    """The same as a sentence."""
    window = Maintenance.objects.filter(pk=mark or 0).first()
    if window is None:
        return "Maintenance is under way."
    return f"Expected during the maintenance “{window.title}”, until {window.ends_at:%Y-%m-%d %H:%M} UTC."
