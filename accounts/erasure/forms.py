from django import forms
from django.utils.translation import gettext_lazy as _


class ErasureForm(forms.Form):
    """Why a person is erased, and their user name once more: it can't be taken back."""

    reason = forms.CharField(label=_("Why?"), max_length=2000, widget=forms.Textarea(attrs={"rows": 2}))
    username = forms.CharField(label=_("Type their user name"), max_length=150)

    def __init__(self, *args: object, expected: str, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.expected = expected

    def clean_username(self) -> str:
        typed: str = self.cleaned_data["username"]
        if typed != self.expected:
            raise forms.ValidationError(_("That is not %(name)s. Nothing was erased.") % {"name": self.expected})
        return typed
