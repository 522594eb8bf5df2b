"""The form in which another rule of retention is asked about."""

from django import forms
from django.utils.translation import gettext_lazy as _


class RetentionForm(forms.Form):
    """Days after which a file that nothing needs would go; 0 for never, empty for the rule in force."""

    days = forms.IntegerField(
        required=False,
        min_value=0,
        max_value=3650,
        label=_("Days after which a file goes"),
        help_text=_("Only asked about; the rule in force stays as it is."),
    )
