"""What practice tells on pages of others."""

from django import template

from incidents.practice.queries import drilled_words
from registry.models import Version

register = template.Library()


@register.simple_tag
def drilled(version: Version) -> str:
    """“Ready, about 40 s: …” for a version whose drill has passed lately; else "". One query."""
    return drilled_words(version)
