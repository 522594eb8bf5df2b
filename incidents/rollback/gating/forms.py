"""The forms of registered gates."""

import json
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from incidents.rollback.gating.acts import ENVIRONMENTS, PLAN_KINDS
from incidents.rollback.gating.models import AskedWhen, GateKind
from registry.models import Model


class GateForm(forms.Form):
    """A gate to be registered."""

    model = forms.ModelChoiceField(Model.objects.order_by("slug"), to_field_name="slug", label=_("Model"))
    name = forms.SlugField(
        max_length=40, help_text=_("Small letters, digits and dashes, such as smoke-tests."), label=_("Name")
    )
    kind = forms.ChoiceField(
        choices=GateKind.choices, help_text=_("The examples below show what each kind takes."), label=_("Kind")
    )
    question = forms.CharField(
        max_length=200, help_text=_("As its readers will see it, such as “Can people pay?”"), label=_("Question")
    )
    body = forms.CharField(
        label=_("What is asked, as JSON"),
        widget=forms.Textarea(attrs={"rows": 10, "spellcheck": "false", "class": "form-control mono"}),
    )
    plan_kinds = forms.MultipleChoiceField(
        choices=[(kind, kind) for kind in PLAN_KINDS],
        initial=PLAN_KINDS,
        widget=forms.CheckboxSelectMultiple,
        label=_("Plans that ask it"),
    )
    environment = forms.ChoiceField(
        choices=[(name, name) for name in ENVIRONMENTS], initial="any", label=_("Environment")
    )
    when = forms.ChoiceField(choices=AskedWhen.choices, initial=AskedWhen.WAVE, required=False, label=_("Asked"))
    reason = forms.CharField(max_length=500, label=_("Why"), help_text=_("For whoever approves it."))

    def clean_when(self) -> str:
        return str(self.cleaned_data["when"] or AskedWhen.WAVE)

    def clean_body(self) -> Any:
        try:
            return json.loads(self.cleaned_data["body"])
        except ValueError as error:
            raise forms.ValidationError(_("This is no JSON: %(error)s") % {"error": error}) from error


class RetireForm(forms.Form):
    """Why a gate is asked no more."""

    reason = forms.CharField(max_length=300, label=_("Why"))


class AcceptForm(forms.Form):
    """What a named person says."""

    reason = forms.CharField(max_length=500, required=False, label=_("Reason"))
