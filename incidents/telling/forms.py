"""What is typed on the pages behind a status page."""

from datetime import UTC
from typing import Any

from django import forms
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from accounts.models import Role
from incidents.models import PostStatus, StatusComponent, StatusPage
from incidents.status_impacts import shown
from incidents.status_words import FIELDS
from registry.models import Endpoint, Model


class PageForm(forms.Form):
    name = forms.CharField(max_length=200, label=_("Name"))
    description = forms.CharField(max_length=300, required=False, label=_("Description"))
    public = forms.BooleanField(required=False, label=_("For everybody, without signing in"))
    readers = forms.MultipleChoiceField(
        choices=Role,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        label=_("Else for these roles"),
        help_text=_("None chosen: for everybody who is signed in and may look."),
    )
    by_itself = forms.BooleanField(
        required=False,
        label=_("Changes of an incident are told at once"),
        help_text=_("Else each is proposed as a draft, which a person sends."),
    )


class NewPageForm(PageForm):
    slug = forms.SlugField(max_length=50, label=_("Name in its address"))
    field_order = ("slug", "name", "description", "public", "readers", "by_itself")


class EditPageForm(PageForm):
    version = forms.IntegerField(widget=forms.HiddenInput)


class ComponentForm(forms.Form):
    """A component is an endpoint, a model, or a group; nothing chosen is a component that people set."""

    name = forms.CharField(max_length=200, help_text=_("A name that readers know."), label=_("Name"))
    description = forms.CharField(max_length=300, required=False, label=_("Description"))
    endpoint = forms.ModelChoiceField(
        Endpoint.objects.order_by("slug"), required=False, to_field_name="slug", label=_("Endpoint")
    )
    model = forms.ModelChoiceField(
        Model.objects.order_by("slug"), required=False, to_field_name="slug", label=_("Model")
    )
    is_group = forms.BooleanField(required=False, label=_("It is a group of other components"))
    group = forms.ModelChoiceField(StatusComponent.objects.none(), required=False, label=_("In the group"))

    def __init__(self, *args: Any, page: StatusPage, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["group"].queryset = shown(page).filter(is_group=True)  # type: ignore[attr-defined]


class SomeComponents(forms.Form):
    """A choice among the components of a page."""

    def __init__(self, *args: Any, page: StatusPage, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["components"].queryset = shown(page).filter(is_group=False)  # type: ignore[attr-defined]


class WordsForm(forms.Form):
    status = forms.ChoiceField(choices=PostStatus, label=_("When an incident is"))
    text = forms.CharField(
        max_length=2000, required=False, widget=forms.Textarea(attrs={"rows": 3}), label=_("It says"),
        help_text=format_lazy(
            _("Filled in: {fields}. Nothing: Lastgood's own sentence."),
            fields=", ".join(f"{{{name}}}" for name in FIELDS),
        ),
    )  # fmt: skip


def some_components(
    label: str, *, required: bool, none: str = _("None chosen: of all.")
) -> forms.ModelMultipleChoiceField:  # fmt: skip
    return forms.ModelMultipleChoiceField(
        StatusComponent.objects.none(), required=required, label=label, widget=forms.CheckboxSelectMultiple,
        help_text="" if required else none,
    )  # fmt: skip


class SubscribeForm(SomeComponents):
    address = forms.EmailField(
        max_length=254, label=_("E-mail address"), widget=forms.EmailInput(attrs={"autocomplete": "email"})
    )
    components = some_components(_("Of what"), required=False)


class WebhookForm(SomeComponents):
    address = forms.URLField(max_length=500, label=_("Address"), assume_scheme="https")
    components = some_components(_("Of what"), required=False)


def moment(label: str) -> forms.DateTimeField:
    return forms.DateTimeField(
        label=label, widget=forms.DateTimeInput(attrs={"type": "datetime-local"}), help_text=_("In UTC.")
    )


class MaintenanceForm(SomeComponents):
    title = forms.CharField(max_length=200, label=_("What is done"))
    text = forms.CharField(
        max_length=1000, widget=forms.Textarea(attrs={"rows": 3}), label=_("What readers should know")
    )
    starts_at = moment(_("Begins"))
    ends_at = moment(_("Ends"))
    components = some_components(_("What is worked on"), required=True)

    def clean(self) -> dict[str, Any]:
        typed = super().clean() or {}
        for name in ("starts_at", "ends_at"):
            if typed.get(name):
                typed[name] = typed[name].astimezone(UTC)
        return typed
