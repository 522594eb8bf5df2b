"""What people type in for a grouping rule."""

from typing import Any

from django import forms
from django.utils.text import format_lazy
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from incidents.grouping.actions import Terms
from incidents.grouping.deciding import NotAMatcher, read_matchers, written
from incidents.grouping.models import GroupingRule

KNOWN = _("sender, source, endpoint, model, team, version, host, rule, or a label that its sender gave it")


class RuleForm(forms.Form):
    name = forms.CharField(max_length=100, label=_("Name"))
    matchers = forms.CharField(
        required=False,
        label=_("Which alerts"),
        help_text=format_lazy(
            _(
                "A line each: name = value or name != value; * stands for anything. All must hold; nothing here means "
                "every alert. Names are {names}."
            ),
            names=KNOWN,
        ),
        widget=forms.Textarea(attrs={"rows": 3, "placeholder": "alertname = Slow*"}),
    )
    by = forms.CharField(
        required=False,
        max_length=500,
        label=_("One incident for each"),
        help_text=_("Labels with commas between, as endpoint, alertname. Nothing here: all that match are one."),
    )
    window_minutes = forms.FloatField(
        min_value=0,
        max_value=10_080,
        label=_("Minutes after the last alert in which another joins"),
        help_text=_("0: as long as the incident is open."),
    )
    at_least = forms.IntegerField(min_value=1, max_value=1000, label=_("Alerts before an incident is opened"))
    within_minutes = forms.FloatField(min_value=0.1, max_value=1440, label=_("Within so many minutes"))
    severity_label = forms.CharField(
        required=False, max_length=100, label=_("Label that says how bad it is"), help_text=_("Such as tier.")
    )
    severities = forms.CharField(
        required=False,
        label=_("What its values mean"),
        help_text=_(
            "A line each: value = 1 to 4, where 1 is worst; * for any other value. Else an alert keeps its own."
        ),
        widget=forms.Textarea(attrs={"rows": 2, "placeholder": "gold = 1"}),
    )
    revision = forms.IntegerField(required=False, widget=forms.HiddenInput)

    def clean_matchers(self) -> list[list[str]]:
        try:
            return read_matchers(self.cleaned_data["matchers"])
        except NotAMatcher as error:
            raise forms.ValidationError(str(error)) from error

    def clean_by(self) -> list[str]:
        names = [name.strip() for name in self.cleaned_data["by"].split(",")]
        return list(dict.fromkeys(name for name in names if name))[:20]

    def clean_severities(self) -> dict[str, int]:
        found = {}
        for line in filter(None, (line.strip() for line in self.cleaned_data["severities"].splitlines())):
            value, _, severity = (part.strip() for part in line.rpartition("="))
            if not value or severity not in ("1", "2", "3", "4"):
                raise forms.ValidationError(
                    gettext("“%(line)s” is not read: write a value, = and 1, 2, 3 or 4.") % {"line": line[:60]}
                )
            found[value] = int(severity)
        return found

    def terms(self) -> Terms:
        """What was typed, once it is valid."""
        typed = self.cleaned_data
        return Terms(
            window_seconds=round(typed["window_minutes"] * 60),
            within_seconds=round(typed["within_minutes"] * 60),
            **{name: typed[name] for name in ("name", "matchers", "by", "at_least", "severity_label", "severities")},
        )


def initial(rule: GroupingRule | None) -> dict[str, Any]:
    """What the form of a rule shows before anything is typed."""
    if rule is None:
        return {"window_minutes": 0, "at_least": 1, "within_minutes": 10}
    return {
        "name": rule.name,
        "matchers": written(rule.matchers),
        "by": ", ".join(rule.by),
        "window_minutes": round(rule.window_seconds / 60, 2),
        "at_least": rule.at_least,
        "within_minutes": round(rule.within_seconds / 60, 2),
        "severity_label": rule.severity_label,
        "severities": "\n".join(f"{value} = {severity}" for value, severity in rule.severities.items()),
        "revision": rule.revision,
    }
