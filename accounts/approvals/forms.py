from django import forms

from accounts.approvals.models import Verdict


class DecisionForm(forms.Form):
    decision = forms.ChoiceField(choices=[("approve", "approve"), ("deny", "deny"), ("revoke", "revoke")])
    subject_hash = forms.RegexField(r"^[0-9a-f]{64}$")
    evidence = forms.RegexField(r"^[0-9a-f]{64}$")
    reason = forms.CharField(required=False, max_length=2000, widget=forms.Textarea(attrs={"rows": 2}))


class DenialForm(forms.Form):
    reason = forms.CharField(max_length=2000, label="Why?", widget=forms.Textarea(attrs={"rows": 2}))


class RetireForm(forms.Form):
    reason = forms.CharField(max_length=2000, label="Why?", widget=forms.Textarea(attrs={"rows": 2}))


class GlassForm(forms.Form):
    """What breaking glass names, and why it can't wait."""

    subject_hash = forms.RegexField(r"^[0-9a-f]{64}$", widget=forms.HiddenInput)
    evidence = forms.RegexField(r"^[0-9a-f]{64}$", widget=forms.HiddenInput)
    reason = forms.CharField(
        max_length=2000,
        label="Why can't it wait for its approvals? Everybody reads this.",
        widget=forms.Textarea(attrs={"rows": 3}),
    )


class ReviewForm(forms.Form):
    verdict = forms.ChoiceField(choices=Verdict.choices, widget=forms.RadioSelect, label="What do you find?")
    reason = forms.CharField(max_length=2000, label="Why?", widget=forms.Textarea(attrs={"rows": 3}))
