"""Forms of the engine's pages."""

from datetime import timedelta
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from audit.clock import database_now
from incidents.rollback.models import PlanKind
from incidents.rollback.outcomes import Wish
from registry.models import Endpoint, Version

WAVES = [
    ("count", _("hosts in each wave")),
    ("percent", _("percent of the hosts after each")),
    ("label", _("one a label value")),
]

STRATEGY_WORDS = [
    ("", _("as each host's memory allows")),
    ("blue_green", _("both versions in memory, one switch")),
    ("recreate", _("out of service, unload, load, back")),
    ("weighted", _("the canary takes more and more of its requests")),
]
SHADOW_FIELDS = ("seconds", "percent", "rows", "max_differing", "max_moved")


class ProposeForm(forms.Form):
    """A plan proposed by hand; on an incident's page most of it is filled in."""

    kind = forms.ChoiceField(
        choices=[(kind.value, kind.label) for kind in (PlanKind.ROLLBACK, PlanKind.RELEASE, PlanKind.DRILL)],
        label=_("Kind"),
    )
    endpoint = forms.ModelChoiceField(
        Endpoint.objects.select_related("model").order_by("slug"), to_field_name="slug", label=_("Endpoint")
    )
    to_version = forms.ModelChoiceField(
        Version.objects.select_related("model").order_by("model__slug", "-number"), label=_("To version")
    )
    incident_ref = forms.CharField(max_length=40, required=False, label=_("Incident ref"))
    reason = forms.CharField(max_length=2000, widget=forms.Textarea(attrs={"rows": 3}), label=_("Reason"))
    strategy = forms.ChoiceField(choices=STRATEGY_WORDS, required=False, label=_("Strategy"))
    waves = forms.ChoiceField(choices=WAVES, required=False, label=_("Waves by"))
    wave_value = forms.CharField(
        max_length=100,
        required=False,
        label=_("Waves"),
        help_text=_("Such as “1, 10”, “10, 50, 100” or the label “rack”. Empty: one host, then the rest."),
    )
    quorum_percent = forms.IntegerField(
        min_value=1, max_value=100, required=False, label=_("Percent of each wave that must succeed")
    )
    failure_budget = forms.IntegerField(min_value=0, required=False, label=_("Hosts that may fail in the whole run"))
    tolerated_absences = forms.IntegerField(min_value=0, required=False, label=_("Hosts that may be absent"))
    min_hosts_serving = forms.IntegerField(min_value=0, required=False, label=_("Hosts that serve all the while"))
    wave_soak_seconds = forms.IntegerField(
        min_value=0, max_value=86_400, required=False, label=_("Seconds between two waves")
    )

    shadow = forms.BooleanField(
        required=False,
        label=_("First ask the version beside what answers (a shadow)"),
        help_text=_("Of a release: it gets the same live requests, answers nobody, and is compared before any switch."),
    )
    shadow_seconds = forms.IntegerField(
        min_value=1, max_value=604_800, required=False, label=_("Seconds of the shadow"), help_text=_("Empty: 600.")
    )
    shadow_percent = forms.IntegerField(
        min_value=1,
        max_value=100,
        required=False,
        label=_("Percent of the requests it is asked"),
        help_text=_("Empty: 100."),
    )
    shadow_rows = forms.IntegerField(
        min_value=1, required=False, label=_("Rows that have to be compared"), help_text=_("Empty: 1,000.")
    )
    shadow_max_differing = forms.DecimalField(
        min_value=0,
        max_value=100,
        required=False,
        label=_("Percent of outputs that may differ"),
        help_text=_("Empty: 5."),
    )
    shadow_max_moved = forms.DecimalField(
        min_value=0,
        max_value=1,
        required=False,
        label=_("How far scores may move on average"),
        help_text=_("Empty: 0.05."),
    )

    def clean(self) -> dict[str, Any]:
        """Fold the fields on waves into `wave_by` and `quorum`, those on a shadow into `shadow`, and leave out what was
        left empty."""
        cleaned = dict(super().clean() or {})
        how, value = cleaned.pop("waves", "") or "count", cleaned.pop("wave_value", "").strip()
        percent = cleaned.pop("quorum_percent", None)
        if value and how == "label":
            cleaned["wave_by"] = {"label": value}
        elif value:
            try:
                cleaned["wave_by"] = {how: [int(part) for part in value.split(",")]}
            except ValueError:
                self.add_error("wave_value", _("Give whole numbers with commas between them, such as 1, 10."))
        if percent:
            cleaned["quorum"] = {"percent": percent}
        if not cleaned.get("strategy"):
            cleaned.pop("strategy", None)
        wish = {name: cleaned.pop(f"shadow_{name}", None) for name in SHADOW_FIELDS}
        if wish["max_differing"] is not None:
            wish["max_differing"] /= 100
        asked = {name: value for name, value in wish.items() if value is not None}
        if cleaned.pop("shadow", False):
            cleaned["shadow"] = asked
        elif asked:
            self.add_error("shadow", _("Tick this as well, or leave the fields of the shadow empty."))
        return {name: value for name, value in cleaned.items() if value is not None}

    def first_fields(self) -> list[forms.BoundField]:
        """What every plan says."""
        return [self[name] for name in ("kind", "endpoint", "to_version", "incident_ref", "reason")]

    def further_fields(self) -> list[forms.BoundField]:
        """What few plans say otherwise than the endpoint's defaults."""
        return [self[name] for name in self.fields if name not in [field.name for field in self.first_fields()]]


class SteerForm(forms.Form):
    """Hosts out of service or back in it, or a freeze."""

    outcome = forms.ChoiceField(
        choices=[
            ("drain", _("take hosts out of service")),
            ("bring_back", _("bring hosts back into service")),
            ("freeze", _("freeze: no deployments until it ends")),
        ],
        label=_("What"),
    )
    endpoint = forms.ModelChoiceField(
        Endpoint.objects.select_related("model").order_by("slug"), to_field_name="slug", label=_("Endpoint")
    )
    hosts = forms.CharField(
        max_length=2000,
        required=False,
        help_text=_("Names with commas between them; of a freeze, none."),
        label=_("Hosts"),
    )
    hours = forms.IntegerField(min_value=1, max_value=720, required=False, label=_("Hours that a freeze lasts"))
    min_hosts_serving = forms.IntegerField(min_value=0, required=False, label=_("Hosts that serve all the while"))
    incident_ref = forms.CharField(max_length=40, required=False, label=_("Incident ref"))
    reason = forms.CharField(max_length=2000, widget=forms.Textarea(attrs={"rows": 3}), label=_("Reason"))

    @property
    def wish(self) -> Wish:
        wish, hours = self.cleaned_data, self.cleaned_data["hours"]
        return Wish(
            wish["outcome"],
            wish["endpoint"],
            [name.strip() for name in wish["hosts"].split(",") if name.strip()],
            database_now() + timedelta(hours=hours) if hours else None,
            wish["min_hosts_serving"],
        )


class ReasonForm(forms.Form):
    """Why a person moves a run."""

    reason = forms.CharField(max_length=500, label=_("Reason"))
