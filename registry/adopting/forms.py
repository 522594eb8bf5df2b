"""The form in which an engine's address is given."""

import json
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from registry.adopting.capture import NotCaptured, read_rows
from registry.models import Environment
from registry.serving.foreign import ENGINES


class AdoptForm(forms.Form):
    """Where a running engine is, and how it shall be called. The token is asked for each time, and not shown again."""

    url = forms.CharField(
        max_length=200, label=_("Address of the engine"), help_text=_("Such as http://10.0.0.5:8000, without a path.")
    )
    engine = forms.ChoiceField(
        choices=[("", _("ask it")), *((name, name) for name in ENGINES)], required=False, label=_("Engine")
    )
    token = forms.CharField(
        max_length=500,
        required=False,
        label=_("Control token"),
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text=_(
            "Of the bundled host; of TorchServe its two keys, as <management key>:<inference key>. Give it again to "
            "register."
        ),
    )
    options = forms.CharField(
        max_length=2000,
        required=False,
        label=_("Options of its driver, as JSON"),
        help_text=_('Such as {"management": "http://10.0.0.5:8081"} for TorchServe; see docs/engines.md.'),
    )
    rows = forms.FileField(
        required=False,
        label=_("Rows to ask"),
        help_text=_(
            'A JSON file: {"model": {"input": [values]}}; of 100 rows a reference for drift is made. Without it, the '
            "bundled host is asked values of its last live requests, and rows are made up where there are none."
        ),
    )
    name = forms.SlugField(max_length=50, label=_("Name of the host here"))
    team = forms.CharField(max_length=60, label=_("Team of models that are new"))
    environment = forms.ChoiceField(choices=Environment.choices, initial=Environment.STAGING, label=_("Environment"))

    def clean_options(self) -> dict[str, str]:
        text = self.cleaned_data["options"].strip()
        try:
            value = json.loads(text) if text else {}
        except ValueError as error:
            raise forms.ValidationError(_("This is no JSON: %(error)s") % {"error": error}) from error
        if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
            raise forms.ValidationError(_("Options are an object whose values are texts."))
        return value

    def clean_rows(self) -> Any:
        file = self.cleaned_data["rows"]
        if file is None:
            return None
        try:
            return read_rows(file.read(2**22))
        except NotCaptured as error:
            raise forms.ValidationError(str(error)) from error
