from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from audit.clock import database_now
from registry.models import CompositionKind, Version

MOST_UPLOAD = 32 * 2**20


class ReasonForm(forms.Form):
    reason = forms.CharField(label=_("Why"), max_length=500, widget=forms.TextInput(attrs={"autocomplete": "off"}))


class SpanForm(ReasonForm):
    """For how long, and why."""

    hours = forms.IntegerField(label=_("For how many hours"), min_value=1, max_value=720, initial=4)

    @property
    def until(self) -> datetime:
        return database_now() + timedelta(hours=self.cleaned_data["hours"])


class FallbackForm(ReasonForm):
    """Which version is kept warm, none where it is empty, and why."""

    version = forms.IntegerField(label=_("Version"), min_value=1, required=False)


class LiftForm(ReasonForm):
    """Which freeze is lifted, and why."""

    window = forms.IntegerField(label=_("Freeze"), min_value=1)


class FreezeForm(SpanForm):
    """From when, for how long, and why."""

    in_hours = forms.IntegerField(
        label=_("Beginning in how many hours (0: now)"), min_value=0, max_value=719, initial=0, required=False
    )

    @property
    def starts(self) -> datetime | None:
        hours = self.cleaned_data["in_hours"]
        return database_now() + timedelta(hours=hours) if hours else None

    @property
    def until(self) -> datetime:
        return (self.starts or database_now()) + timedelta(hours=self.cleaned_data["hours"])


class CompareForm(forms.Form):
    """Two versions of one model."""

    left = forms.ModelChoiceField(Version.objects.none(), to_field_name="number", empty_label=None, label=_("Left"))
    right = forms.ModelChoiceField(Version.objects.none(), to_field_name="number", empty_label=None, label=_("Right"))

    def __init__(self, *args: Any, versions: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        for field in self.fields.values():
            field.queryset = versions


class ComposeForm(forms.Form):
    """A base, a version that a part is taken from, and which part."""

    base = forms.ModelChoiceField(
        Version.objects.none(), to_field_name="number", empty_label=None, label=_("Start from version")
    )
    kind = forms.ChoiceField(choices=CompositionKind.choices, label=_("and take its"))
    other = forms.ModelChoiceField(
        Version.objects.none(), to_field_name="number", empty_label=None, label=_("of version")
    )
    patterns = forms.CharField(
        required=False,
        max_length=4000,
        label=_("Which layers"),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    incident_ref = forms.CharField(required=False, max_length=40, widget=forms.HiddenInput)

    def __init__(self, *args: Any, versions: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        for name in ("base", "other"):
            self.fields[name].queryset = versions

    @property
    def wish(self) -> dict[str, Any]:
        """The arguments of registry.actions.ask_composition."""
        patterns = tuple(self.cleaned_data["patterns"].replace(",", " ").split())
        return {**self.cleaned_data, "patterns": patterns}


class HoldoutForm(forms.Form):
    """A holdout set as a file."""

    holdout = forms.FileField(
        label=_("Labelled rows, as a Parquet file"),
        help_text=_(
            "With every input as it is sent, and the column label: rows that the version was not trained on, best "
            "those that its figures are of. At most 32 MiB; a larger set goes by the API."
        ),
    )

    def clean_holdout(self) -> bytes:
        file = self.cleaned_data["holdout"]
        if file.size > MOST_UPLOAD:
            raise forms.ValidationError(
                _("The file is larger than 32 MiB. Upload it by the API, or hand in fewer rows.")
            )
        return bytes(file.read())


class MomentForm(forms.Form):
    """A moment in UTC."""

    at = forms.DateTimeField(
        label=_("Live at (UTC)"),
        required=False,
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S"],
        widget=forms.DateTimeInput(format="%Y-%m-%dT%H:%M", attrs={"type": "datetime-local", "step": 1}),
    )
