"""The forms of registered gates."""

import json
from typing import Any

from django import forms

from incidents.rollback.gating.acts import ENVIRONMENTS, PLAN_KINDS
from incidents.rollback.gating.models import AskedWhen, GateKind
from registry.models import Model


class GateForm(forms.Form):
    """A gate to be registered."""

    model = forms.ModelChoiceField(Model.objects.order_by("slug"), to_field_name="slug")
    name = forms.SlugField(max_length=40, help_text="Small letters, digits and dashes, such as smoke-tests.")
    kind = forms.ChoiceField(choices=GateKind.choices, help_text="The examples below show what each kind takes.")
    question = forms.CharField(max_length=200, help_text="As its readers will see it, such as “Can people pay?”")
    body = forms.CharField(
        label="What is asked, as JSON",
        widget=forms.Textarea(attrs={"rows": 10, "spellcheck": "false", "class": "form-control mono"}),
    )
    plan_kinds = forms.MultipleChoiceField(
        choices=[(kind, kind) for kind in PLAN_KINDS],
        initial=PLAN_KINDS,
        widget=forms.CheckboxSelectMultiple,
        label="Plans that ask it",
    )
    environment = forms.ChoiceField(choices=[(name, name) for name in ENVIRONMENTS], initial="any")
    when = forms.ChoiceField(choices=AskedWhen.choices, initial=AskedWhen.WAVE, required=False, label="Asked")
    reason = forms.CharField(max_length=500, label="Why", help_text="For whoever approves it.")

    def clean_when(self) -> str:
        return str(self.cleaned_data["when"] or AskedWhen.WAVE)

    def clean_body(self) -> Any:
        try:
            return json.loads(self.cleaned_data["body"])
        except ValueError as error:
            raise forms.ValidationError(f"This is no JSON: {error}") from error


class RetireForm(forms.Form):
    """Why a gate is asked no more."""

    reason = forms.CharField(max_length=300, label="Why")


class AcceptForm(forms.Form):
    """What a named person says."""

    reason = forms.CharField(max_length=500, required=False)
