"""Forms of learning."""

from typing import Any

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from incidents.forms import EditForm, ReviewForm
from incidents.learning.begun import MOST
from incidents.learning.models import Cause, SignatureKind
from incidents.models import Review
from incidents.reviews import SECTIONS


class CausesForm(forms.Form):
    """A check and a note for each cause of the taxonomy."""

    version = forms.IntegerField(widget=forms.HiddenInput)

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        for kind in Cause:
            self.fields[f"is_{kind}"] = forms.BooleanField(required=False, label=kind.label)
            self.fields[f"note_{kind}"] = forms.CharField(
                max_length=500, required=False, label=gettext("What speaks for it: %(kind)s") % {"kind": kind.label}
            )

    @staticmethod
    def initial_of(review: Review) -> dict[str, Any]:
        found: dict[str, Any] = {"version": review.version}
        for one in review.contributing.all():
            found |= {f"is_{one.kind}": True, f"note_{one.kind}": one.note}
        return found

    @property
    def causes(self) -> dict[str, str]:
        return {str(kind): self.cleaned_data[f"note_{kind}"] for kind in Cause if self.cleaned_data[f"is_{kind}"]}

    def rows(self) -> list[tuple[forms.BoundField, forms.BoundField]]:
        return [(self[f"is_{kind}"], self[f"note_{kind}"]) for kind in Cause]


class TemplateForm(EditForm):
    """What each section of a review begins with, and why that changes."""

    reason = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 2}), max_length=1000, label=_("Why do reviews begin otherwise?")
    )

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        for name, field in ReviewForm.base_fields.items():
            if name in SECTIONS:
                self.fields[name] = forms.CharField(
                    widget=forms.Textarea(attrs={"rows": 3}), max_length=MOST, required=False, label=field.label
                )
        self.order_fields([*SECTIONS, "reason"])

    @property
    def texts(self) -> dict[str, str]:
        return {name: self.cleaned_data[name] for name in SECTIONS}


class AskForm(forms.Form):
    kind = forms.ChoiceField(choices=SignatureKind, label=_("For what"))
    user = forms.ModelChoiceField(queryset=User.objects.none(), label=_("Whom"))

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        people = User.objects.filter(is_active=True, role_grants__until=None, role_grants__isnull=False)
        self.fields["user"].queryset = people.distinct().order_by("first_name", "username")


class AnswerForm(forms.Form):
    accepted = forms.TypedChoiceField(
        choices=[("yes", "Yes"), ("no", "No")], coerce=lambda value: value == "yes", label=_("Your answer")
    )
    words = forms.CharField(widget=forms.Textarea(attrs={"rows": 2}), max_length=1000, required=False, label=_("Words"))
