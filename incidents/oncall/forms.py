"""What is typed on the pages of on-call."""

import re
from decimal import Decimal
from typing import Any

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import Roster, User
from accounts.permissions import may
from incidents.oncall.contacts import contacts
from incidents.oncall.models import Policy, Rotation
from incidents.oncall.policies import EVERYBODY
from incidents.telling.models import Kind

DAYS = list(enumerate(("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")))
SEVERITIES = [(1, _("1, the worst")), (2, "2"), (3, "3"), (4, "4")]
LENGTHS = [(12, "12 hours"), (24, "a day"), (48, "2 days"), (168, "a week"), (336, "2 weeks"), (672, "4 weeks")]
STEPS = 4


def responders() -> list[User]:
    """Active people who may work on incidents, by name."""
    found = [user for user in User.objects.filter(is_active=True) if may(user, "incident.respond")]
    return sorted(found, key=lambda user: str(user).casefold())


def clock(label: str, *, required: bool = True, help_text: str = "") -> forms.TimeField:
    return forms.TimeField(
        label=label, required=required, help_text=help_text, widget=forms.TimeInput(attrs={"type": "time"})
    )


def wall(label: str) -> forms.DateTimeField:
    """A moment of the rotation's own clock."""
    return forms.DateTimeField(
        label=label,
        help_text=_("By the rotation's clock."),
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
    )


class RotationForm(forms.Form):
    team = forms.CharField(max_length=100, help_text=_("As it stands at the team's models."), label=_("Team"))
    name = forms.CharField(max_length=100, help_text=_("Such as primary or secondary."), label=_("Name"))
    zone = forms.CharField(
        max_length=64,
        label=_("Time zone"),
        initial="UTC",
        help_text=_("Of the place whose clock counts: Europe/Berlin."),
    )


class LayerForm(forms.Form):
    """People who take turns; on top of the layers that are there."""

    people = forms.CharField(
        max_length=2000, label=_("Who, in order"), help_text=_("User names, with commas between them.")
    )
    begins = wall(_("The first shift begins"))
    hours = forms.TypedChoiceField(choices=LENGTHS, coerce=int, initial=168, label=_("A shift lasts"))
    days = forms.TypedMultipleChoiceField(
        choices=DAYS, coerce=int, required=False, label=_("Only on"), widget=forms.CheckboxSelectMultiple,
        help_text=_("None chosen: on all days."),
    )  # fmt: skip
    start = clock(_("Only from"), required=False)
    until = clock(_("until"), required=False, help_text=_("Not later than from: until then on the next day."))

    def clean_people(self) -> list[str]:
        typed = [name for name in re.split(r"[,\s]+", self.cleaned_data["people"]) if name]
        known = dict(User.objects.filter(username__in=typed).values_list("username", "pseudonym"))
        missing = [name for name in typed if name not in known]
        if missing:
            raise forms.ValidationError(gettext("Nobody has the user name %(missing)s.") % {"missing": missing[0]})
        return [known[name] for name in typed]

    def clean(self) -> dict[str, Any]:
        typed = super().clean() or {}
        if (typed.get("start") is None) != (typed.get(_("until")) is None):
            self.add_error(_("until"), gettext("Give both times, or none."))
        elif typed.get("days") and typed.get("start") is None:
            self.add_error("start", gettext("Give the hours of those days; 00:00 to 00:00 is all day."))
        return typed

    def layer(self) -> dict[str, Any]:
        """As a rotation keeps it."""
        typed = self.cleaned_data
        windows = []
        if typed["start"] is not None:
            days = typed["days"] or list(range(7))
            windows = [{"days": days, "start": f"{typed['start']:%H:%M}", "until": f"{typed['until']:%H:%M}"}]
        begins = typed["begins"].replace(tzinfo=None).isoformat(timespec="minutes")
        return {"people": typed["people"], "begins": begins, "hours": typed["hours"], "windows": windows}


class OverrideForm(forms.Form):
    person = forms.ChoiceField(label=_("Who takes it"))
    starts = wall(_("From"))
    ends = wall(_("Until"))
    reason = forms.CharField(max_length=500, label=_("Why"))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["person"].choices = [(user.username, str(user)) for user in responders()]  # type: ignore[attr-defined]


class PolicyForm(forms.Form):
    name = forms.CharField(max_length=100, label=_("Name"))
    team = forms.CharField(
        max_length=100,
        required=False,
        help_text=_("None: for teams that have no policy of their own."),
        label=_("Team"),
    )
    severities = forms.TypedMultipleChoiceField(
        choices=SEVERITIES, coerce=int, widget=forms.CheckboxSelectMultiple, label=_("For severity")
    )
    repeats = forms.IntegerField(
        min_value=0,
        max_value=20,
        initial=1,
        label=_("The steps begin anew"),
        help_text=_("So many times; then everybody is called."),
    )
    silence_minutes = forms.IntegerField(
        min_value=0, max_value=10080, initial=60, label=_("Minutes of silence"),
        help_text=_("Who has it and does nothing for so long is called again. 0: never."),
    )  # fmt: skip
    version = forms.IntegerField(widget=forms.HiddenInput, required=False)


def targets() -> list[tuple[str, list[tuple[str, str]]]]:
    """Whom a step can call, in groups."""
    rotations = Rotation.objects.filter(retired_at=None)
    teams = Roster.objects.order_by("team").values_list("team", flat=True)
    return [
        ("Rotations", [(f"rotation:{one.pk}", str(one)) for one in rotations]),
        (
            "Calendars",
            [(f"calendar:{team}", gettext("whoever is on call for %(team)s") % {"team": team}) for team in teams],
        ),
        ("People", [(f"person:{user.pseudonym}", str(user)) for user in responders()]),
        ("Channels", [(f"channel:{one.pk}", f"{one.team}: {one.name}") for one in contacts().filter(user=None)]),
        ("All", [(EVERYBODY, gettext("everybody who may work on it"))]),
    ]


class StepForm(forms.Form):
    targets = forms.MultipleChoiceField(
        required=False, label=_("Call"), help_text=_("Several: all at once. None: there is no such step."),
        widget=forms.SelectMultiple(attrs={"size": 5}),
    )  # fmt: skip
    minutes = forms.DecimalField(
        required=False,
        min_value=Decimal("0.2"),
        max_value=1440,
        decimal_places=2,
        initial=5,
        label=_("Minutes for an answer"),
    )

    def __init__(self, *args: Any, choices: list[Any], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["targets"].choices = choices  # type: ignore[attr-defined]


def step_forms(data: Any, policy: Policy | None) -> list[StepForm]:
    """A form for each step that there is, and some for more."""
    choices, known = targets(), policy.steps if policy else []
    rows = []
    for number in range(max(STEPS, len(known) + 2)):
        step = known[number] if number < len(known) else None
        initial = {"targets": step["targets"], "minutes": _minutes(step["seconds"])} if step else {}
        rows.append(StepForm(data, prefix=f"step{number + 1}", initial=initial, choices=choices))
    return rows


def _minutes(seconds: int) -> str:
    return f"{seconds / 60:.2f}".rstrip("0").rstrip(".")


def steps_of(forms_: list[StepForm]) -> list[dict[str, Any]]:
    """The steps that were filled in."""
    return [
        {"targets": form.cleaned_data["targets"], "seconds": round((form.cleaned_data["minutes"] or 5) * 60)}
        for form in forms_
        if form.cleaned_data["targets"]
    ]


class WayForm(forms.Form):
    kind = forms.ChoiceField(choices=Kind, label=_("How"))
    name = forms.CharField(max_length=100, required=False, help_text=_("What it is called here."), label=_("Name"))
    address = forms.CharField(
        max_length=1000, required=False, label=_("Address"),
        help_text=_("An e-mail address; a webhook's https address; for a chat or push service one as apprise reads "
        "it, such as ntfys://ntfy.example.org/topic, mmosts://chat.example.org/token, slack://…, workflows://….")
    )  # fmt: skip
    key = forms.CharField(
        max_length=100,
        required=False,
        label=_("Integration key"),
        help_text=_("Of PagerDuty's Events API v2, and only there."),
    )
    least_severity = forms.TypedChoiceField(
        choices=[(4, "all"), (3, _("1 to 3")), (2, _("1 and 2")), (1, "1 only")], coerce=int, label=_("For severity")
    )
    quiet_from = clock(_("Quiet from"), required=False)
    quiet_until = clock(_("until"), required=False)
    quiet_severity = forms.TypedChoiceField(
        choices=[(1, "1 only"), (2, _("1 and 2")), (3, _("1 to 3")), (0, "none")],
        coerce=int,
        label=_("Even then for severity"),
    )
    zone = forms.CharField(max_length=64, initial="UTC", label=_("Time zone of the quiet hours"))


class ChannelForm(WayForm):
    team = forms.CharField(max_length=100, help_text=_("As it stands at the team's models."), label=_("Team"))
    field_order = ("team",)
