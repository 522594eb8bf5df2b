"""What a model's errors cost, on its page."""

from typing import Any

from django import template

from incidents.diagnosing.costs import formula_of
from registry.models import Model

register = template.Library()


@register.inclusion_tag("diagnosing/cost_panel.html")
def cost_panel(model: Model) -> dict[str, Any]:
    """The formula in force as a panel. One query."""
    return {"model": model, "formula": formula_of(model)}
