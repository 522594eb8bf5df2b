from django import forms
from django.utils.translation import gettext_lazy as _

from accounts.approvals.models import Verdict


class DecisionForm(forms.Form):
    decision = forms.ChoiceField(
        choices=[("approve", _("approve")), ("deny", _("deny")), ("revoke", _("revoke"))], label=_("Decision")
    )
    subject_hash = forms.RegexField(r"^[0-9a-f]{64}$", label=_("Subject hash"))
    evidence = forms.RegexField(r"^[0-9a-f]{64}$", label=_("Evidence"))
    reason = forms.CharField(
        required=False, max_length=2000, widget=forms.Textarea(attrs={"rows": 2}), label=_("Reason")
    )


class DenialForm(forms.Form):
    reason = forms.CharField(max_length=2000, label=_("Why?"), widget=forms.Textarea(attrs={"rows": 2}))


class RetireForm(forms.Form):
    reason = forms.CharField(max_length=2000, label=_("Why?"), widget=forms.Textarea(attrs={"rows": 2}))


class GlassForm(forms.Form):
    """What breaking glass names, and why it can't wait."""

    subject_hash = forms.RegexField(r"^[0-9a-f]{64}$", widget=forms.HiddenInput)
    evidence = forms.RegexField(r"^[0-9a-f]{64}$", widget=forms.HiddenInput)
    reason = forms.CharField(
        max_length=2000,
        label=_("Why can't it wait for its approvals? Everybody reads this."),
        widget=forms.Textarea(attrs={"rows": 3}),
    )


class ReviewForm(forms.Form):
    verdict = forms.ChoiceField(choices=Verdict.choices, widget=forms.RadioSelect, label=_("What do you find?"))
    reason = forms.CharField(max_length=2000, label=_("Why?"), widget=forms.Textarea(attrs={"rows": 3}))
