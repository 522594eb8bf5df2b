"""What an auditor may search for."""

from typing import Any

from django import forms

from audit.models import Outcome
from audit.names import display
from audit.queries import Filters, listed

MOMENT = forms.DateTimeInput(attrs={"type": "datetime-local", "step": "1"}, format="%Y-%m-%dT%H:%M:%S")


class FilterForm(forms.Form):
    """All optional. Moments are UTC."""

    actor = forms.ChoiceField(label="Who", required=False)
    action = forms.ChoiceField(label="Did what", required=False)
    incident = forms.CharField(label="Incident", required=False, max_length=60)
    target = forms.CharField(label="To what", required=False, max_length=260)
    outcome = forms.ChoiceField(label="Outcome", required=False, choices=[("", "any"), *Outcome.choices])
    since = forms.DateTimeField(label="From (UTC)", required=False, widget=MOMENT)
    until = forms.DateTimeField(label="Before (UTC)", required=False, widget=MOMENT)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        actors, actions = listed("actor"), listed("action")
        nouns = {action.split(".")[0] for action in actions}
        people = sorted(display(actors).items(), key=lambda item: item[1].lower())
        self._choices("actor", people)
        self._choices("action", [(one, one.replace(".", " ")) for one in sorted({*nouns, *actions})])

    def _choices(self, name: str, choices: list[tuple[str, str]]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [("", "anybody" if name == "actor" else "anything"), *choices]

    def filters(self) -> Filters:
        """The search, once the form is valid."""
        return Filters(**self.cleaned_data)


class ExportForm(forms.Form):
    """One incident, or a span, or nothing for the whole log."""

    incident = forms.CharField(required=False, max_length=60, widget=forms.HiddenInput)
    since = forms.DateTimeField(required=False, widget=forms.HiddenInput)
    until = forms.DateTimeField(required=False, widget=forms.HiddenInput)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("incident") and (cleaned.get("since") or cleaned.get("until")):
            raise forms.ValidationError("Choose an incident or a span of time, not both.")
        return cleaned
