"""The escalation's panel on an incident's page: `{% load oncall %}{% escalation_panel incident %}`."""

from typing import Any

from django import template

from incidents.models import Incident
from incidents.oncall.queries import panel

register = template.Library()


@register.inclusion_tag("oncall/panel.html", takes_context=True)
def escalation_panel(context: template.Context, incident: Incident) -> dict[str, Any]:
    """Who was called, when and by what, what they answered, and the reader's answers. Until the incident is
    acknowledged, the page's own next step is to say so, and no second button does."""
    shown = panel(incident, context["request"].user)
    above = {"acknowledged_above": incident.acknowledged_at is None, "csrf_token": context.get("csrf_token")}
    return shown | above | {"incident": incident}
