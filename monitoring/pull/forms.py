"""The forms of pulled metrics. What they hold is checked once more where it is acted on."""

from django import forms
from django.core.validators import validate_slug

from monitoring.pull.models import Credential, Exporter
from registry.models import Endpoint, Host

QUIET = forms.TextInput(attrs={"autocomplete": "off"})


class CredentialForm(forms.Form):
    credential = forms.ChoiceField(choices=Credential.choices, label="Credential")
    username = forms.CharField(max_length=100, required=False, label="User", widget=QUIET)
    secret = forms.CharField(
        max_length=2000, required=False, label="Token or password", help_text="Sealed, and never shown again.",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )  # fmt: skip


class SourceForm(CredentialForm):
    name = forms.CharField(max_length=40, validators=[validate_slug], label="Name", widget=QUIET)
    address = forms.URLField(
        max_length=500,
        label="Address",
        assume_scheme="https",
        help_text="Without /api/v1, such as http://10.0.0.5:9090",
    )
    field_order = ("name", "address")


class QueryForm(forms.Form):
    endpoint = forms.ModelChoiceField(Endpoint.objects.order_by("slug"), to_field_name="slug", label="Endpoint")
    name = forms.CharField(max_length=60, label="Metric's name here", widget=QUIET)
    promql = forms.CharField(max_length=2000, label="PromQL", widget=QUIET)
    unit = forms.CharField(max_length=20, required=False, label="Unit", widget=QUIET)
    step_seconds = forms.IntegerField(min_value=15, max_value=3600, initial=60, label="Step, seconds")


class ScrapeForm(forms.Form):
    host = forms.ModelChoiceField(Host.objects.order_by("name"), to_field_name="name", label="Host")
    exporter = forms.ChoiceField(choices=Exporter.choices, label="What it is")
    address = forms.URLField(
        max_length=500,
        label="Address",
        assume_scheme="http",
        help_text="With its path, such as http://10.0.0.5:9400/metrics",
    )
    every_seconds = forms.IntegerField(min_value=5, max_value=3600, initial=15, label="Every, seconds")


class AskForm(forms.Form):
    """What is asked of a source for a chart that is not kept."""

    query = forms.CharField(max_length=2000, label="PromQL", widget=QUIET)
    hours = forms.TypedChoiceField(
        choices=[(1, "1 h"), (6, "6 h"), (24, "24 h"), (168, "7 days"), (720, "30 days")], coerce=int, label="Over"
    )
