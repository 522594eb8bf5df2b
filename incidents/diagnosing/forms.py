"""The form of a model's cost formula."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from incidents.diagnosing.costs import LARGEST, Terms


def _amount(label: str, places: int, text: str) -> forms.DecimalField:
    return forms.DecimalField(
        min_value=0, max_value=LARGEST, decimal_places=places, max_digits=14, label=label, help_text=text
    )


class CostForm(forms.Form):
    """Three amounts, their currency, and where they come from."""

    currency = forms.RegexField(
        r"^[A-Za-z]{3}$", max_length=3, initial="EUR", label=_("Currency"), help_text=_("Three letters.")
    )
    wrong_positive = _amount(_("One wrong positive answer"), 4, _("A yes that should have been a no."))
    wrong_negative = _amount(_("One wrong negative answer"), 4, _("A no that should have been a yes."))
    degraded_hour = _amount(_("An hour of degraded service"), 2, _("Whatever it answers."))
    reason = forms.CharField(max_length=500, label=_("Where the amounts come from"), widget=forms.Textarea({"rows": 2}))

    @property
    def terms(self) -> Terms:
        """What was asked for."""
        wish: dict[str, Any] = self.cleaned_data
        return Terms(wish["currency"].upper(), wish["wrong_positive"], wish["wrong_negative"], wish["degraded_hour"])
