"""Forms of incidents, status pages and reviews. `version` is what the person had read: the guard against lost edits."""

from django import forms
from django.utils.translation import gettext_lazy as _

from incidents.models import (
    ActionItem,
    ComponentState,
    DutyState,
    Impact,
    IncidentState,
    PostStatus,
    Quality,
    Urgency,
)
from incidents.telling.forms import SomeComponents, some_components

SEVERITIES = [(1, "1, worst"), (2, "2"), (3, "3"), (4, "4, least")]

MOMENT = forms.DateTimeInput(attrs={"type": "datetime-local", "step": "1"}, format="%Y-%m-%dT%H:%M:%S")


def text_area(rows: int = 3) -> forms.Textarea:
    return forms.Textarea(attrs={"rows": rows})


class EditForm(forms.Form):
    """A change of something that others may change at the same time."""

    version = forms.IntegerField(widget=forms.HiddenInput, required=False)


class EmptyForm(forms.Form):
    """A verb that needs no more than the button."""


class TriageForm(EditForm):
    impact = forms.TypedChoiceField(choices=Impact, coerce=int, label=_("How many are affected, and how badly?"))
    urgency = forms.TypedChoiceField(choices=Urgency, coerce=int, label=_("What happens while we wait?"))
    assessment = forms.CharField(
        widget=text_area(),
        max_length=4000,
        label=_("What do you think it is?"),
        help_text=_("It becomes part of the record."),
    )


class SeverityForm(EditForm):
    severity = forms.TypedChoiceField(choices=SEVERITIES, coerce=int, label=_("Severity"))
    reason = forms.CharField(
        widget=text_area(2),
        max_length=1000,
        required=False,
        help_text=_("Needed when the severity is lowered."),
        label=_("Reason"),
    )


class UpdateForm(forms.Form):
    conditions = forms.CharField(widget=text_area(2), max_length=2000, label=_("Conditions: how do things stand?"))
    actions = forms.CharField(
        widget=text_area(2), max_length=2000, required=False, label=_("Actions: what is being done?")
    )
    needs = forms.CharField(widget=text_area(2), max_length=2000, required=False, label=_("Needs: what is missing?"))


class ProposeForm(forms.Form):
    to_version = forms.IntegerField(min_value=1, label=_("Version to go back to"))
    reason = forms.CharField(widget=text_area(2), max_length=1000, label=_("Why this one?"))


class ResolveForm(EditForm):
    reason = forms.CharField(widget=text_area(2), max_length=1000, label=_("How do you know that it is over?"))


class MoveForm(EditForm):
    to = forms.ChoiceField(choices=IncidentState, label=_("Move to"))
    reason = forms.CharField(widget=text_area(2), max_length=1000, label=_("Reason"))


class DutyForm(EditForm):
    """What is said of one duty to report. Moments are UTC."""

    state = forms.ChoiceField(choices=DutyState, widget=forms.RadioSelect, label=_("It"))
    aware_at = forms.DateTimeField(widget=MOMENT, required=False, label=_("The organisation became aware at (UTC)"))
    notified_at = forms.DateTimeField(
        widget=MOMENT, required=False, label=_("The report was sent at (UTC)"), help_text=_("Empty means now.")
    )
    reason = forms.CharField(
        widget=text_area(2), max_length=1000, label=_("Why, or to whom and how"), help_text=_("It goes on record.")
    )


class PostForm(SomeComponents):
    """What is told on a status page. The incident is the one that the text is about."""

    incident = forms.CharField(max_length=40, label=_("Incident"))
    status = forms.ChoiceField(choices=PostStatus, label=_("Status"))
    component_state = forms.ChoiceField(choices=ComponentState, label=_("The service is"))
    components = some_components(
        _("Which"), required=False, none=_("None chosen: those behind which the incident's endpoint stands.")
    )
    quality = forms.ChoiceField(
        choices=[("", _("Nothing more")), *Quality.choices], required=False, label=_("And, while it answers")
    )
    text = forms.CharField(
        widget=text_area(), max_length=2000, help_text=_("In words that a reader outside understands."), label=_("Text")
    )
    minutes = forms.IntegerField(min_value=1, max_value=1440, required=False, label=_("Next update in (minutes)"))


class ReviewForm(EditForm):
    summary = forms.CharField(widget=text_area(4), required=False, label=_("What happened"))
    impact = forms.CharField(widget=text_area(4), required=False, label=_("What it did to people"))
    causes = forms.CharField(widget=text_area(4), required=False, label=_("Why"))
    went_well = forms.CharField(widget=text_area(), required=False, label=_("What went well"))
    went_badly = forms.CharField(widget=text_area(), required=False, label=_("What went badly"))


class ActionItemForm(forms.ModelForm):
    class Meta:
        model = ActionItem
        fields = ["text", "owner", "due_on"]
        labels = {"text": _("What is to be done"), "owner": _("Who does it"), "due_on": _("By when")}
        widgets = {"due_on": forms.DateInput(attrs={"type": "date"})}
