"""The importance of a version's inputs, on its page."""

from typing import Any

from django import template

from accounts.permissions import may_on
from monitoring.importance.panel import shown
from registry.models import Version

register = template.Library()


@register.inclusion_tag("importance/panel.html", takes_context=True)
def importance_panel(context: template.Context, version: Version) -> dict[str, Any]:
    """As a panel, with a button where the reader may have it measured."""
    request = context["request"]
    return {"shown": shown(version), "may_ask": may_on(request.user, "registry.write", version), "request": request}
