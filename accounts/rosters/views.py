"""The page of rosters: everybody sees who is on call, administrators say where the calendars are."""

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext, gettext_lazy
from django.views.decorators.http import require_http_methods, require_POST

from accounts import oncall
from accounts.actions import AccountError, actor_for
from accounts.permissions import may, require
from accounts.rosters.actions import remove_roster, set_roster
from accounts.rosters.calendars import MOST_BYTES
from accounts.rosters.models import Roster


class RosterForm(forms.Form):
    team = forms.CharField(
        max_length=100, label=gettext_lazy("Team"), help_text=gettext_lazy("As it stands at the team's models.")
    )
    address = forms.CharField(
        max_length=2000, required=False, label=gettext_lazy("Address of its calendar (iCalendar)")
    )
    file = forms.FileField(required=False, label=gettext_lazy("Or the calendar as a file"))

    def calendar(self) -> str:
        """The file's text. Raises AccountError for one that is too long or is no text."""
        file = self.cleaned_data["file"]
        if not file:
            return ""
        if file.size > MOST_BYTES:
            raise AccountError(gettext("The calendar is longer than 1 MiB."))
        try:
            return str(file.read().decode())
        except UnicodeDecodeError:
            raise AccountError(gettext("The file is no text in UTF-8.")) from None


@login_required
@require_http_methods(["GET", "POST"])
def roster_list(request: HttpRequest) -> HttpResponse:
    require(request, "view" if request.method == "GET" else "admin")
    form = RosterForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        wish = form.cleaned_data
        try:
            set_roster(
                team=wish["team"],
                address=wish["address"],
                calendar=form.calendar(),
                actor=actor_for(request=request),
            )
            messages.success(request, gettext("The roster of %(team)s is set.") % {"team": wish["team"]})
            return redirect("roster-list")
        except AccountError as error:
            form.add_error(None, str(error))
    listed = list(oncall.rosters())
    troubled = [roster.team for roster in listed if roster.problem]
    sentence = gettext("Who is on call now, by team.")
    if troubled:
        sentence = gettext("The calendar of %(what)s can't be read; the last good one counts.") % {
            "what": ", ".join(troubled)
        }
    context = {
        "rosters": listed,
        "form": form,
        "may_set": may(request.user, "admin"),
        "sentence": sentence,
        "tone": "warn" if troubled else "",
    }
    return render(request, "people/rosters.html", context)


@login_required
@require_POST
def roster_remove(request: HttpRequest, pk: int) -> HttpResponse:
    require(request, "admin")
    roster = get_object_or_404(Roster, pk=pk)
    remove_roster(roster=roster, actor=actor_for(request=request))
    messages.success(request, gettext("The roster of %(team)s is gone.") % {"team": roster.team})
    return redirect("roster-list")
