from datetime import datetime, timedelta
from typing import Any

from django import forms

from audit.clock import database_now
from registry.models import Version


class ReasonForm(forms.Form):
    reason = forms.CharField(label="Why", max_length=500, widget=forms.TextInput(attrs={"autocomplete": "off"}))


class SpanForm(ReasonForm):
    """For how long, and why."""

    hours = forms.IntegerField(label="For how many hours", min_value=1, max_value=720, initial=4)

    @property
    def until(self) -> datetime:
        return database_now() + timedelta(hours=self.cleaned_data["hours"])


class FreezeForm(SpanForm):
    """From when, for how long, and why."""

    in_hours = forms.IntegerField(
        label="Beginning in how many hours (0: now)", min_value=0, max_value=719, initial=0, required=False
    )

    @property
    def starts(self) -> datetime | None:
        hours = self.cleaned_data["in_hours"]
        return database_now() + timedelta(hours=hours) if hours else None

    @property
    def until(self) -> datetime:
        return (self.starts or database_now()) + timedelta(hours=self.cleaned_data["hours"])


class CompareForm(forms.Form):
    """Two versions of one model."""

    left = forms.ModelChoiceField(Version.objects.none(), to_field_name="number", empty_label=None)
    right = forms.ModelChoiceField(Version.objects.none(), to_field_name="number", empty_label=None)

    def __init__(self, *args: Any, versions: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        for field in self.fields.values():
            field.queryset = versions


class MomentForm(forms.Form):
    """A moment in UTC."""

    at = forms.DateTimeField(
        label="Live at (UTC)",
        required=False,
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S"],
        widget=forms.DateTimeInput(format="%Y-%m-%dT%H:%M", attrs={"type": "datetime-local", "step": 1}),
    )
