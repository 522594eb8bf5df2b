"""The forms of pulled metrics. What they hold is checked once more where it is acted on."""

from django import forms
from django.core.validators import validate_slug
from django.utils.translation import gettext_lazy as _

from monitoring.pull.models import Credential, Exporter
from registry.models import Endpoint, Host

QUIET = forms.TextInput(attrs={"autocomplete": "off"})


class CredentialForm(forms.Form):
    credential = forms.ChoiceField(choices=Credential.choices, label=_("Credential"))
    username = forms.CharField(max_length=100, required=False, label=_("User"), widget=QUIET)
    secret = forms.CharField(
        max_length=2000, required=False, label=_("Token or password"), help_text=_("Sealed, and never shown again."),
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )  # fmt: skip


class SourceForm(CredentialForm):
    name = forms.CharField(max_length=40, validators=[validate_slug], label=_("Name"), widget=QUIET)
    address = forms.URLField(
        max_length=500,
        label=_("Address"),
        assume_scheme="https",
        help_text=_("Without /api/v1, such as http://10.0.0.5:9090"),
    )
    field_order = ("name", "address")


class QueryForm(forms.Form):
    endpoint = forms.ModelChoiceField(Endpoint.objects.order_by("slug"), to_field_name="slug", label=_("Endpoint"))
    name = forms.CharField(max_length=60, label=_("Metric's name here"), widget=QUIET)
    promql = forms.CharField(max_length=2000, label=_("PromQL"), widget=QUIET)
    unit = forms.CharField(max_length=20, required=False, label=_("Unit"), widget=QUIET)
    step_seconds = forms.IntegerField(min_value=15, max_value=3600, initial=60, label=_("Step, seconds"))


class ScrapeForm(forms.Form):
    host = forms.ModelChoiceField(Host.objects.order_by("name"), to_field_name="name", label=_("Host"))
    exporter = forms.ChoiceField(choices=Exporter.choices, label=_("What it is"))
    address = forms.URLField(
        max_length=500,
        label=_("Address"),
        assume_scheme="http",
        help_text=_("With its path, such as http://10.0.0.5:9400/metrics"),
    )
    every_seconds = forms.IntegerField(min_value=5, max_value=3600, initial=15, label=_("Every, seconds"))


class AskForm(forms.Form):
    """What is asked of a source for a chart that is not kept."""

    query = forms.CharField(max_length=2000, label=_("PromQL"), widget=QUIET)
    hours = forms.TypedChoiceField(
        choices=[(1, _("1 h")), (6, _("6 h")), (24, _("24 h")), (168, _("7 days")), (720, _("30 days"))],
        coerce=int,
        label=_("Over"),
    )
