"""Forms of what people do in an incident beside its lifecycle."""

from collections.abc import Iterator
from typing import Any

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import Role, User
from incidents.models import Impact, IncidentRole, Urgency
from incidents.working.models import Runbook, Step, Task
from incidents.working.times import TIMES
from monitoring.models import RuleKind
from registry.models import Model

SEVERITIES = [(number, str(number)) for number in (1, 2, 3, 4)]
MOMENT = forms.DateTimeInput(attrs={"type": "datetime-local", "step": "1"}, format="%Y-%m-%dT%H:%M:%S")
REASON = forms.Textarea(attrs={"rows": 2})


def responders() -> Any:
    """Who works on incidents, by name."""
    roles = [Role.RESPONDER, Role.COMMANDER]
    people = User.objects.filter(is_active=True, role_grants__role__in=roles, role_grants__until=None)
    return people.distinct().order_by("first_name", "username")


class RoleForm(forms.Form):
    """`holders` is who held each role when the form was opened, as `commander:3 scribe:0`: the guard against a
    hand-over that nobody saw."""

    holders = forms.CharField(widget=forms.HiddenInput, required=False, max_length=200)
    role = forms.ChoiceField(choices=IncidentRole, label=_("Role"))
    user = forms.ModelChoiceField(
        queryset=User.objects.none(),
        label=_("Who"),
        help_text=_(
            "Yourself: you take it over at once. Another person: it is offered, and changes hands when accepted."
        ),
    )
    note = forms.CharField(widget=REASON, max_length=1000, required=False, label=_("What they should know"))

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.fields["user"].queryset = responders()

    def seen_holder(self, role: str) -> int | None:
        pairs = (pair.partition(":") for pair in self.cleaned_data["holders"].split())
        return next((int(key) for name, _, key in pairs if name == role and key.isdecimal()), None)

    def clean(self) -> dict[str, Any]:
        typed: dict[str, Any] = super().clean()
        if "role" in typed:
            typed["seen_holder"] = self.seen_holder(typed["role"])
        return typed


class OfferForm(forms.Form):
    """Which offer is answered."""

    role = forms.ChoiceField(choices=IncidentRole, label=_("Role"))
    reason = forms.CharField(widget=REASON, max_length=1000, required=False, label=_("Reason"))


class TimeForm(forms.Form):
    version = forms.IntegerField(widget=forms.HiddenInput, required=False)
    which = forms.ChoiceField(choices=list(TIMES.items()), label=_("Which time"))
    at = forms.DateTimeField(widget=MOMENT, label=_("It was (UTC)"))
    reason = forms.CharField(
        widget=REASON,
        max_length=1000,
        label=_("How do you know?"),
        help_text=_("What stood there before stays on record."),
    )


class MatrixForm(forms.Form):
    """One select for each pair of impact and urgency, and why the table changes."""

    edition = forms.IntegerField(widget=forms.HiddenInput)
    reason = forms.CharField(widget=REASON, max_length=1000, label=_("Why does the table change?"))

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        for impact in Impact:
            for urgency in Urgency:
                label = gettext("Severity where %(impact)s, and %(urgency)s") % {
                    "impact": impact.label.lower(),
                    "urgency": f"{urgency.label[0].lower()}{urgency.label[1:]}",
                }
                self.fields[f"cell_{impact}_{urgency}"] = forms.TypedChoiceField(
                    choices=SEVERITIES, coerce=int, label=label
                )

    @staticmethod
    def initial_of(edition: int, cells: list[list[int]]) -> dict[str, int]:
        found = {"edition": edition}
        for impact in Impact:
            for urgency in Urgency:
                found[f"cell_{impact}_{urgency}"] = cells[impact - 1][urgency - 1]
        return found

    @property
    def cells(self) -> list[list[int]]:
        return [[self.cleaned_data[f"cell_{impact}_{urgency}"] for urgency in Urgency] for impact in Impact]

    def rows(self) -> Iterator[tuple[str, list[forms.BoundField]]]:
        """The selects as rows of a table, each with the impact that it is about."""
        for impact in Impact:
            yield str(impact.label), [self[f"cell_{impact}_{urgency}"] for urgency in Urgency]


class NoteForm(forms.Form):
    text = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 3}), max_length=4000, label=_("What should be remembered?")
    )


class EventForm(forms.Form):
    """An event of the incident, by its number there."""

    seq = forms.IntegerField(min_value=1, label=_("Number of the event"))


class AmendForm(EventForm, NoteForm):
    """`text` stands beside the event from then on; what the event said stays."""


class RunbookForm(forms.Form):
    """What a runbook says and when it is offered."""

    version = forms.IntegerField(widget=forms.HiddenInput, required=False)
    title = forms.CharField(max_length=200, label=_("Title"))
    model = forms.ModelChoiceField(
        queryset=Model.objects.order_by("slug"),
        to_field_name="slug",
        required=False,
        empty_label=_("any model"),
        label=_("Model"),
    )
    kind = forms.ChoiceField(
        choices=[("", _("any kind")), *RuleKind.choices],
        required=False,
        label=_("Kind of rule that opened the incident"),
    )
    body = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 16}),
        max_length=20_000,
        label=_("What to do, in Markdown"),
        help_text=_("A line such as “- [ ] Ask the data team.” is a step that is ticked off in the incident."),
    )
    reason = forms.CharField(widget=REASON, max_length=1000, required=False, label=_("Why it changes"))


class NewRunbookForm(RunbookForm):
    slug = forms.SlugField(
        max_length=50, label=_("Short name"), help_text=_("Part of its address, such as stale-features.")
    )
    field_order = ["slug"]


class TakeUpForm(forms.Form):
    runbook = forms.ModelChoiceField(
        queryset=Runbook.objects.filter(retired_at=None), to_field_name="slug", empty_label=None, label=_("Runbook")
    )


class StepForm(forms.Form):
    step = forms.ModelChoiceField(
        queryset=Step.objects.select_related("use__runbook", "use__incident"), label=_("Step")
    )


class TaskForm(forms.Form):
    text = forms.CharField(max_length=500, label=_("What is to be done"))
    owner = forms.ModelChoiceField(
        queryset=User.objects.none(), required=False, label=_("Who"), empty_label=_("nobody yet")
    )
    due_at = forms.DateTimeField(widget=MOMENT, required=False, label=_("By when (UTC)"))

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.fields["owner"].queryset = responders()


class OneTaskForm(forms.Form):
    task = forms.ModelChoiceField(queryset=Task.objects.select_related("incident"), label=_("Task"))
    reason = forms.CharField(widget=REASON, max_length=1000, required=False, label=_("Reason"))


class AssignForm(OneTaskForm):
    seen_owner = forms.IntegerField(widget=forms.HiddenInput, required=False, min_value=0)
    owner = forms.ModelChoiceField(queryset=User.objects.none(), label=_("Who does it"))

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.fields["owner"].queryset = responders()


class SaveViewForm(forms.Form):
    name = forms.CharField(max_length=80, label=_("Name"))
    query = forms.CharField(max_length=2000, required=False, label=_("Query"))
    shared = forms.BooleanField(required=False, label=_("Shared"))
