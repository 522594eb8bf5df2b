"""Forms of the engine's pages."""

from django import forms

from incidents.rollback.models import PlanKind
from registry.models import Endpoint, Version


class ProposeForm(forms.Form):
    """A plan proposed by hand; on an incident's page most of it is filled in."""

    kind = forms.ChoiceField(
        choices=[(kind.value, kind.label) for kind in (PlanKind.ROLLBACK, PlanKind.RELEASE, PlanKind.DRILL)]
    )
    endpoint = forms.ModelChoiceField(Endpoint.objects.select_related("model").order_by("slug"), to_field_name="slug")
    to_version = forms.ModelChoiceField(Version.objects.select_related("model").order_by("model__slug", "-number"))
    incident_ref = forms.CharField(max_length=40, required=False)
    reason = forms.CharField(max_length=2000, widget=forms.Textarea(attrs={"rows": 3}))


class ReasonForm(forms.Form):
    """Why a person moves a run."""

    reason = forms.CharField(max_length=500)
