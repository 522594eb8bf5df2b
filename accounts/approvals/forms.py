from django import forms


class DecisionForm(forms.Form):
    decision = forms.ChoiceField(choices=[("approve", "approve"), ("deny", "deny"), ("revoke", "revoke")])
    subject_hash = forms.RegexField(r"^[0-9a-f]{64}$")
    evidence = forms.RegexField(r"^[0-9a-f]{64}$")
    reason = forms.CharField(required=False, max_length=2000, widget=forms.Textarea(attrs={"rows": 2}))


class DenialForm(forms.Form):
    reason = forms.CharField(max_length=2000, label="Why?", widget=forms.Textarea(attrs={"rows": 2}))
