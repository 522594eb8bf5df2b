"""Forms of people and their roles."""

from typing import Any

from django import forms
from django.contrib.auth.password_validation import validate_password
from django.utils.translation import gettext_lazy as _

from accounts.authority.models import Role
from accounts.models import User
from accounts.permissions import SCOPED_ROLES


def names_in(text: str) -> list[str]:
    """The names in a comma-separated line."""
    return [name.strip() for name in text.split(",") if name.strip()]


class ScopeForm(forms.Form):
    """A role, limited or not; `scope()` is the scope that was asked for."""

    models = forms.CharField(
        required=False,
        max_length=2000,
        label=_("For these models only"),
        help_text=_("Slugs, with commas between them."),
    )
    teams = forms.CharField(
        required=False,
        max_length=2000,
        label=_("For the models of these teams only"),
        help_text=_("Names, with commas."),
    )

    def scope(self) -> dict[str, list[str]]:
        return {kind: names_in(self.cleaned_data[kind]) for kind in ("models", "teams")}


class RoleForm(ScopeForm):
    role = forms.ChoiceField(choices=Role, label=_("Role"))
    reason = forms.CharField(
        max_length=1000, label=_("Why?"), widget=forms.Textarea(attrs={"rows": 2}), help_text=_("It goes on record.")
    )
    field_order = ["role", "models", "teams", "reason"]


class RefusalForm(forms.Form):
    reason = forms.CharField(max_length=1000, label=_("Why not?"), widget=forms.Textarea(attrs={"rows": 2}))


class PersonForm(forms.Form):
    username = forms.RegexField(
        r"^[\w.@+-]+$", max_length=150, label=_("User name"), help_text=_("It can't be changed.")
    )
    full_name = forms.CharField(max_length=200, label=_("Full name"))
    email = forms.EmailField(max_length=254, label=_("E-mail address"))
    password = forms.CharField(
        max_length=500,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=_("Tell it to the person, who should change it after the first sign-in."),
        label=_("Password"),
    )

    def clean_password(self) -> str:
        validate_password(self.cleaned_data["password"])
        return str(self.cleaned_data["password"])


class LoanForm(ScopeForm):
    borrower = forms.ModelChoiceField(queryset=User.objects.none(), label=_("To whom?"))
    role = forms.ChoiceField(choices=[], label=_("Which role?"))
    starts = forms.DateTimeField(label=_("From (UTC)"), widget=forms.DateTimeInput(attrs={"type": "datetime-local"}))
    ends = forms.DateTimeField(label=_("Until (UTC)"), widget=forms.DateTimeInput(attrs={"type": "datetime-local"}))
    reason = forms.CharField(max_length=1000, label=_("Why?"), widget=forms.Textarea(attrs={"rows": 2}))
    field_order = ["borrower", "role", "starts", "ends", "models", "teams", "reason"]

    def __init__(self, *args: Any, lender: User, roles: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        others = User.objects.filter(is_active=True).exclude(pk=lender.pk)
        self.fields["borrower"].queryset = others.order_by("first_name", "username")
        self.fields["role"].choices = [(role, Role(role).label) for role in roles if role in SCOPED_ROLES]
