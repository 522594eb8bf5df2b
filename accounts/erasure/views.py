"""The page on which an administrator erases a person."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts.actions import actor_for
from accounts.authority.views import get_person_for
from accounts.erasure.actions import erase_person
from accounts.erasure.forms import ErasureForm
from accounts.errors import AccountError
from accounts.step_up import require_fresh_proof
from audit.holds import hold_on_subject, in_words


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def person_erase(request: HttpRequest, username: str) -> HttpResponse:
    """What is erased and what stays, and the form that does it, after a proof of who the administrator is."""
    person = get_person_for(request, username)
    form = ErasureForm(request.POST or None, expected=person.username)
    if request.method == "POST" and form.is_valid():
        require_fresh_proof(request)
        try:
            erased = erase_person(
                user=person, by=request.user, reason=form.cleaned_data["reason"], actor=actor_for(request=request)
            )
        except AccountError as error:
            form.add_error(None, str(error))
        else:
            rows = sum(erased.rows.values())
            messages.success(
                request,
                gettext("Erased: %(texts)s texts can't be opened any more, %(rows)s rows changed.")
                % {"texts": erased.texts, "rows": rows},
            )
            return redirect("person-detail", username=person.pseudonym)
    hold = hold_on_subject(person.pseudonym)
    context = {"person": person, "form": form, "hold": in_words(hold) if hold else ""}
    return render(request, "people/erase.html", context)
