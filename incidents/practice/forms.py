"""Forms of the pages of practice."""

from typing import Any

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from incidents.models import Incident
from incidents.practice.queries import spare_hosts
from incidents.practice.rules import Terms
from registry.models import Endpoint, Placement, Version

HOUR = _("Of the day in UTC.")


class DrillForm(forms.Form):
    """A drill by button."""

    staging = forms.ModelChoiceField(Endpoint.objects.none(), to_field_name="slug", label=_("On"), empty_label=None)
    version = forms.ModelChoiceField(Version.objects.none(), label=_("To"), empty_label=None)
    reason = forms.CharField(max_length=500, initial=_("To know how long it takes."), label=_("Why"))

    def __init__(self, *args: Any, endpoint: Endpoint, **more: Any) -> None:
        super().__init__(*args, **more)
        fields: dict[str, Any] = self.fields
        fields["staging"].queryset = Endpoint.objects.filter(model=endpoint.model, environment="staging")
        versions = Version.objects.filter(model=endpoint.model, quarantined_at=None, golden__isnull=False)
        fields["version"].queryset = versions.select_related("model").defer("manifest").order_by("-number")


class ScheduleForm(forms.Form):
    """When drills come by themselves."""

    staging = forms.ModelChoiceField(Endpoint.objects.none(), to_field_name="slug", label=_("On"), empty_label=None)
    every_days = forms.IntegerField(min_value=1, max_value=366, initial=14, label=_("Every so many days"))
    from_hour = forms.IntegerField(min_value=0, max_value=23, initial=8, label=_("From the hour"), help_text=HOUR)
    to_hour = forms.IntegerField(min_value=1, max_value=24, initial=16, label=_("To the hour"), help_text=HOUR)
    active = forms.BooleanField(required=False, initial=True, label=_("Drill on this schedule"))

    def __init__(self, *args: Any, endpoint: Endpoint, **more: Any) -> None:
        super().__init__(*args, **more)
        fields: dict[str, Any] = self.fields
        fields["staging"].queryset = Endpoint.objects.filter(model=endpoint.model, environment="staging")


class SpareForm(forms.Form):
    """A host that serves nothing, for drills of a model."""

    host = forms.ModelChoiceField(spare_hosts(), to_field_name="name", label=_("Spare host"), empty_label=None)


class RuleForm(forms.Form):
    """When a rollback of a model may start by itself."""

    severity = forms.TypedChoiceField(
        choices=[(1, _("1 or worse")), (2, _("2 or worse")), (3, _("3 or worse")), (4, _("4 or worse"))],
        coerce=int,
        initial=2,
        label=_("Severity"),
    )
    error_percent = forms.DecimalField(
        min_value=0, max_value=99, initial=5, label=_("Percent of answers wrong beyond what was promised"),
        help_text=_("Surely, by the interval over the labelled answers of the incident."),
    )  # fmt: skip
    from_hour = forms.IntegerField(min_value=0, max_value=23, initial=0, label=_("From the hour"), help_text=HOUR)
    to_hour = forms.IntegerField(min_value=1, max_value=24, initial=24, label=_("To the hour"), help_text=HOUR)
    dwell_minutes = forms.IntegerField(min_value=1, initial=60, label=_("Minutes between two rollbacks, at least"))
    most = forms.IntegerField(min_value=1, max_value=20, initial=2, label=_("At most so many"))
    window_hours = forms.IntegerField(min_value=1, max_value=720, initial=24, label=_("Within so many hours"))
    drill_days = forms.IntegerField(min_value=1, max_value=365, initial=30, label=_("A drill holds for so many days"))
    reason = forms.CharField(max_length=500, label=_("Why"), widget=forms.Textarea(attrs={"rows": 2}))

    @property
    def terms(self) -> Terms:
        """What was asked for."""
        wish = self.cleaned_data
        return Terms(
            severity=wish["severity"],
            error_budget=float(wish["error_percent"]) / 100,
            from_hour=wish["from_hour"],
            to_hour=wish["to_hour"],
            dwell_seconds=wish["dwell_minutes"] * 60,
            most=wish["most"],
            window_seconds=wish["window_hours"] * 3600,
            drill_days=wish["drill_days"],
        )


class WhyForm(forms.Form):
    """A reason, for the record."""

    reason = forms.CharField(max_length=500, label=_("Why"))


class ByHandForm(forms.Form):
    """What was done on a host by hand."""

    placement = forms.ModelChoiceField(Placement.objects.none(), label=_("On"), empty_label=None)
    incident = forms.ModelChoiceField(
        Incident.objects.none(), to_field_name="ref", label=_("Incident"), empty_label=None
    )
    at = forms.DateTimeField(label=_("When (UTC)"), help_text=_("Such as 2026-11-22 03:40."))
    told = forms.CharField(max_length=1000, label=_("What was done, by whom"), widget=forms.Textarea(attrs={"rows": 2}))

    def __init__(self, *args: Any, endpoint: Endpoint, found: list[Placement], **more: Any) -> None:
        super().__init__(*args, **more)
        fields: dict[str, Any] = self.fields
        rows = Placement.objects.filter(pk__in=[row.pk for row in found]).select_related("host", "endpoint__model")
        fields["placement"].queryset = rows
        versions = dict(Version.objects.filter(model=endpoint.model_id).values_list("digest", "number"))
        fields["placement"].label_from_instance = lambda row: (
            gettext("%(host)s, which serves version %(versions)s")
            % {"host": row.host.name, "versions": versions.get(row.observed_digest, "?")}
        )
        fields["incident"].queryset = Incident.objects.filter(endpoint=endpoint).order_by("-number")
        fields["incident"].label_from_instance = lambda row: f"{row.ref}: {row.title}"
