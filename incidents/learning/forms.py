"""Forms of learning."""

from typing import Any

from django import forms

from accounts.models import User
from incidents.learning.models import Cause, SignatureKind
from incidents.models import Review


class CausesForm(forms.Form):
    """A check and a note for each cause of the taxonomy."""

    version = forms.IntegerField(widget=forms.HiddenInput)

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        for kind in Cause:
            self.fields[f"is_{kind}"] = forms.BooleanField(required=False, label=kind.label)
            self.fields[f"note_{kind}"] = forms.CharField(
                max_length=500, required=False, label=f"What speaks for it: {kind.label}"
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


class AskForm(forms.Form):
    kind = forms.ChoiceField(choices=SignatureKind, label="For what")
    user = forms.ModelChoiceField(queryset=User.objects.none(), label="Whom")

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        people = User.objects.filter(is_active=True, role_grants__until=None, role_grants__isnull=False)
        self.fields["user"].queryset = people.distinct().order_by("first_name", "username")


class AnswerForm(forms.Form):
    accepted = forms.TypedChoiceField(
        choices=[("yes", "Yes"), ("no", "No")], coerce=lambda value: value == "yes", label="Your answer"
    )
    words = forms.CharField(widget=forms.Textarea(attrs={"rows": 2}), max_length=1000, required=False)
