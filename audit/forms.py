"""What an auditor may search for."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from audit.models import HoldKind, Outcome
from audit.names import display, find
from audit.queries import listed
from audit.search import Filters

MOMENT = forms.DateTimeInput(attrs={"type": "datetime-local", "step": "1"}, format="%Y-%m-%dT%H:%M:%S")


def offering(names: str, example: object) -> forms.TextInput:
    """A line of text beside which the browser offers the `<datalist>` of that id."""
    return forms.TextInput(attrs={"placeholder": example} | ({"list": names} if names else {}))


class FilterForm(forms.Form):
    """All optional. Moments are UTC. `known` holds what the fields offer while one types."""

    actor = forms.CharField(label=_("Who"), required=False, max_length=100, widget=offering("known-actors", "a name"))
    action = forms.CharField(
        label=_("Did what"), required=False, max_length=80, widget=offering("known-actions", "words")
    )
    incident = forms.CharField(label=_("Incident"), required=False, max_length=60, widget=offering("", "INC-1"))
    target = forms.CharField(
        label=_("To what"), required=False, max_length=260, widget=offering("known-kinds", _("kind, id or person"))
    )
    outcome = forms.ChoiceField(label=_("Outcome"), required=False, choices=[("", _("any")), *Outcome.choices])
    since = forms.DateTimeField(label=_("From (UTC)"), required=False, widget=MOMENT)
    until = forms.DateTimeField(label=_("Before (UTC)"), required=False, widget=MOMENT)

    def known(self) -> dict[str, list[str]]:
        """What was recorded before, for the lists beside the fields."""
        actions = listed("action")
        nouns = {action.split(".")[0] for action in actions}
        return {
            "known-actors": sorted(display(listed("actor")).values(), key=str.lower),
            "known-actions": sorted({*nouns, *actions}),
            "known-kinds": [kind.replace("_", " ") for kind in listed("target_kind")],
        }

    def filters(self) -> Filters:
        """The search, once the form is valid."""
        return Filters(**self.cleaned_data)


class SpanForm(forms.Form):
    """A span of time in UTC; either end may be open."""

    since = forms.DateTimeField(label=_("From (UTC)"), required=False, widget=MOMENT)
    until = forms.DateTimeField(label=_("Before (UTC)"), required=False, widget=MOMENT)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        since, until = cleaned.get("since"), cleaned.get("until")
        if since and until and since >= until:
            raise forms.ValidationError(_("The span ends before it begins."))
        return cleaned


class MomentForm(forms.Form):
    """One moment in UTC; empty is now."""

    at = forms.DateTimeField(label=_("At (UTC)"), required=False, widget=MOMENT)


class LiveForm(SpanForm):
    """An endpoint, and a span."""

    endpoint = forms.ChoiceField(label=_("Endpoint"), required=False)

    field_order = ("endpoint", "since", "until")

    def __init__(self, *args: Any, endpoints: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["endpoint"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [(slug, slug) for slug in endpoints]


class ExportForm(forms.Form):
    """One incident, or a span, or nothing for the whole log."""

    incident = forms.CharField(required=False, max_length=60, widget=forms.HiddenInput)
    since = forms.DateTimeField(required=False, widget=forms.HiddenInput)
    until = forms.DateTimeField(required=False, widget=forms.HiddenInput)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("incident") and (cleaned.get("since") or cleaned.get("until")):
            raise forms.ValidationError(_("Choose an incident or a span of time, not both."))
        return cleaned


class PartForm(forms.Form):
    """A part of the log to take away: of one incident, one model or one person."""

    kind = forms.ChoiceField(
        label=_("All of one"), choices=[("incident", _("incident")), ("model", _("model")), ("person", _("person"))]
    )
    name = forms.CharField(label=_("Which"), max_length=100, widget=offering("known-actors", _("INC-1, or a name")))

    def scope(self) -> dict[str, str]:
        """What to export, once the form is valid."""
        return {self.cleaned_data["kind"]: self.cleaned_data["name"]}

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("kind") == "person" and cleaned.get("name"):
            found = find(cleaned["name"])
            if len(found) > 1:
                told = ", ".join(f"{name} ({pseudonym})" for pseudonym, name in sorted(display(found).items())[:5])
                said = _("More than one person is called so: %(told)s. Write the pseudonym.") % {"told": told}
                raise forms.ValidationError(said)
            cleaned["name"] = found[0] if found else cleaned["name"]
        return cleaned


class RevealForm(forms.Form):
    """Why a sealed text is read."""

    reason = forms.CharField(
        label=_("Why do you read it?"),
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text=_("On record."),
    )


class HoldForm(forms.Form):
    """On what a legal hold is placed, until when (UTC), and why."""

    kind = forms.ChoiceField(label=_("On a"), choices=HoldKind.choices)
    ref = forms.CharField(
        label=_("Which?"),
        max_length=100,
        help_text=_("A person by user name, an incident such as INC-1, or a model by its short name."),
    )
    until = forms.DateTimeField(
        label=_("Until (UTC)"), required=False, widget=MOMENT, help_text=_("Empty: until it is lifted.")
    )
    reason = forms.CharField(label=_("Why?"), max_length=2000, widget=forms.Textarea(attrs={"rows": 2}))


class LiftForm(forms.Form):
    """Why a legal hold ends."""

    reason = forms.CharField(label=_("Why?"), max_length=2000, widget=forms.Textarea(attrs={"rows": 2}))
