from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from accounts.permissions import MACHINE_SCOPES, SCOPES, WORDS, may


class TokenForm(forms.Form):
    name = forms.CharField(max_length=100, label=_("What is it for?"))
    scopes = forms.MultipleChoiceField(widget=forms.CheckboxSelectMultiple, label=_("What may it do?"))
    days = forms.IntegerField(min_value=1, max_value=366, initial=90, label=_("Days until it expires"))

    def __init__(self, *args: Any, owner: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        allowed = [scope for scope in sorted(SCOPES) if may(owner, "admin" if scope in MACHINE_SCOPES else scope)]
        self.fields["scopes"].choices = [(scope, f"{WORDS[scope]} ({scope})") for scope in allowed]
