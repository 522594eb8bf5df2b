"""Forms of the pages of practice."""

from typing import Any

from django import forms

from incidents.practice.queries import spare_hosts
from registry.models import Endpoint, Version

HOUR = "Of the day in UTC."


class DrillForm(forms.Form):
    """A drill by button."""

    staging = forms.ModelChoiceField(Endpoint.objects.none(), to_field_name="slug", label="On", empty_label=None)
    version = forms.ModelChoiceField(Version.objects.none(), label="To", empty_label=None)
    reason = forms.CharField(max_length=500, initial="To know how long it takes.", label="Why")

    def __init__(self, *args: Any, endpoint: Endpoint, **more: Any) -> None:
        super().__init__(*args, **more)
        fields: dict[str, Any] = self.fields
        fields["staging"].queryset = Endpoint.objects.filter(model=endpoint.model, environment="staging")
        versions = Version.objects.filter(model=endpoint.model, quarantined_at=None, golden__isnull=False)
        fields["version"].queryset = versions.select_related("model").defer("manifest").order_by("-number")


class ScheduleForm(forms.Form):
    """When drills come by themselves."""

    staging = forms.ModelChoiceField(Endpoint.objects.none(), to_field_name="slug", label="On", empty_label=None)
    every_days = forms.IntegerField(min_value=1, max_value=366, initial=14, label="Every so many days")
    from_hour = forms.IntegerField(min_value=0, max_value=23, initial=8, label="From the hour", help_text=HOUR)
    to_hour = forms.IntegerField(min_value=1, max_value=24, initial=16, label="To the hour", help_text=HOUR)
    active = forms.BooleanField(required=False, initial=True, label="Drill on this schedule")

    def __init__(self, *args: Any, endpoint: Endpoint, **more: Any) -> None:
        super().__init__(*args, **more)
        fields: dict[str, Any] = self.fields
        fields["staging"].queryset = Endpoint.objects.filter(model=endpoint.model, environment="staging")


class SpareForm(forms.Form):
    """A host that serves nothing, for drills of a model."""

    host = forms.ModelChoiceField(spare_hosts(), to_field_name="name", label="Spare host", empty_label=None)
