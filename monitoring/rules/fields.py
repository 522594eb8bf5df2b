"""What a rule's params may be: each is taken from what was given, checked, and refused in a sentence."""

from typing import Any

from django.utils.translation import gettext

ANY, LEAST = 1e300, 1e-12
"""Ends of what a number may be where it may be any, and the least that is above 0."""


class UnfitRule(ValueError):
    """The rule can't be asked so. The message is a sentence that says what would be acceptable."""


def number(given: dict[str, Any], name: str, low: float, high: float, default: float | None = None) -> float:
    """A number from `low` to `high`, taken out of `given`. Raises UnfitRule."""
    value = given.pop(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        if high != ANY:
            said = gettext("%(name)s must be a number from %(low)s to %(high)s.")
        else:
            said = {
                0.0: gettext("%(name)s must be a number not below 0."),
                LEAST: gettext("%(name)s must be a number above 0."),
            }.get(low, gettext("%(name)s must be a number."))
        raise UnfitRule(said % {"name": name, "low": f"{low:g}", "high": f"{high:g}"})
    return float(value)


def word(given: dict[str, Any], name: str, words: tuple[str, ...], default: str) -> str:
    """One of the words, taken out of `given`. Raises UnfitRule."""
    value = given.pop(name, default)
    if value not in words:
        raise UnfitRule(
            gettext("%(name)s must be %(names)s or %(words)s.")
            % {"name": name, "names": ", ".join(words[:-1]), "words": words[-1]}
        )
    return str(value)


def text(given: dict[str, Any], name: str) -> str:
    """A text, taken out of `given`; "" without one. Raises UnfitRule."""
    value = given.pop(name, "")
    if not isinstance(value, str):
        raise UnfitRule(gettext("%(name)s must be a text.") % {"name": name})
    return value
