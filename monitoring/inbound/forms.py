"""What is asked of the ledger of arrivals."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from monitoring.inbound import formats, queries
from monitoring.inbound.models import Decision


class LedgerForm(forms.Form):
    sender = forms.ChoiceField(required=False, label=_("Sender"))
    source = forms.ChoiceField(required=False, label=_("Format"))
    decision = forms.ChoiceField(required=False, label=_("What came of it"))

    def __init__(self, data: Any) -> None:
        super().__init__(data)
        given = {
            "sender": [(name, name) for name in queries.senders()],
            "source": [(name, NAMES[name]) for name in formats.READERS],
            "decision": Decision.choices,
        }
        for name, choices in given.items():
            self.fields[name].choices = [("", "All"), *choices]  # type: ignore[attr-defined]

    def filters(self) -> queries.Filters:
        """The filters that are valid; one that names nothing counts as none."""
        self.is_valid()
        return queries.Filters(**{name: self.cleaned_data.get(name) or "" for name in self.fields})


NAMES = {
    formats.ALERTMANAGER: "Alertmanager",
    formats.GRAFANA: "Grafana",
    formats.PAGERDUTY: _("PagerDuty events"),
    formats.JSON: _("Plain JSON"),
}
