"""Pages: a person's own tokens."""

import datetime

from allauth.usersessions.internal.flows.sessions import end_sessions
from allauth.usersessions.models import UserSession
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from accounts.actions import AccountError, actor_for, issue_token, revoke_token
from accounts.forms import TokenForm
from accounts.models import ApiToken
from accounts.permissions import require
from accounts.step_up import require_fresh_proof
from audit.clock import database_now


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def token_list(request: HttpRequest) -> HttpResponse:
    require(request, "view")
    form = TokenForm(request.POST or None, owner=request.user)
    secret = ""
    if request.method == "POST" and form.is_valid():
        proved_at = require_fresh_proof(request)
        try:
            _, secret = issue_token(
                owner=request.user,
                name=form.cleaned_data["name"],
                scopes=form.cleaned_data["scopes"],
                expires_at=database_now() + datetime.timedelta(days=form.cleaned_data["days"]),
                actor=actor_for(request=request),
                proved_at=proved_at,
            )
            form = TokenForm(owner=request.user)
        except AccountError as error:
            form.add_error(None, str(error))
    tokens = ApiToken.objects.filter(owner=request.user).order_by("-created_at")
    return render(request, "accounts/token_list.html", {"form": form, "tokens": tokens, "secret": secret})


@login_required
@require_POST
def token_revoke(request: HttpRequest, pk: str) -> HttpResponse:
    token = get_object_or_404(ApiToken, pk=pk, owner=request.user)
    try:
        revoke_token(token=token, actor=actor_for(request=request))
        messages.success(request, gettext("The token %(name)s no longer works.") % {"name": token.name})
    except AccountError as error:
        messages.error(request, str(error))
    return redirect("token-list")


@login_required
@require_POST
def session_end(request: HttpRequest, pk: int) -> HttpResponse:
    """Sign one of the reader's own browsers out: from its next request on it is nobody's."""
    session = get_object_or_404(UserSession, pk=pk, user=request.user)
    end_sessions(request, [session])
    messages.success(request, gettext("That session has ended."))
    return redirect("usersessions_list")
