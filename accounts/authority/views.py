"""Pages of people and their roles, for administrators, and of the roles that a person lends."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext, ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.actions import (
    AccountError,
    actor_for,
    create_user,
    deactivate_user,
    end_sessions_of,
    reactivate_user,
)
from accounts.authority.actions import (
    AuthorityRefused,
    confirm_role,
    delegate,
    end_delegation,
    end_grant,
    give_role,
    refuse_role,
)
from accounts.authority.forms import LoanForm, PersonForm, RefusalForm, RoleForm
from accounts.authority.models import Delegation, RoleGrant, RoleProposal
from accounts.authority.queries import borrowed_roles, loans_of, open_proposals, people
from accounts.holdings import grants_that_count
from accounts.models import User
from accounts.permissions import APPROVING_ROLES, require
from accounts.step_up import last_authentication, require_fresh_proof


def get_person_for(request: HttpRequest, username: str) -> User:
    """Lookup and permission in one: somebody, for an administrator."""
    require(request, "admin")
    return get_object_or_404(people(), username=username)


def _attempt(request: HttpRequest, act: Callable[[], Any], done: str) -> None:
    """Do it and say so, or say why not."""
    try:
        act()
        messages.success(request, done)
    except AccountError as error:
        messages.error(request, str(error))


@login_required
@require_GET
def person_list(request: HttpRequest) -> HttpResponse:
    require(request, "admin")
    proposals, everybody, lent = list(open_proposals()), list(people()), borrowed_roles()
    for person in everybody:
        person.loans = lent.get(person.pk, [])
    active = sum(person.is_active for person in everybody)
    waiting = len(proposals)
    told = [ngettext("%(n)s person can sign in", "%(n)s people can sign in", active) % {"n": active}]
    if waiting:
        told.append(
            ngettext(
                "%(n)s role waits for a second administrator", "%(n)s roles wait for a second administrator", waiting
            )
            % {"n": waiting}
        )
    context = {
        "sentence": f"{'; '.join(told)}.",
        "tone": "warn" if waiting else "quiet",
        "everybody": everybody,
        "proposals": proposals,
        "now": timezone.now(),
        "refusal_form": RefusalForm(auto_id=False),
    }
    return render(request, "people/list.html", context)


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def person_new(request: HttpRequest) -> HttpResponse:
    require(request, "admin")
    form = PersonForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            made = create_user(**form.cleaned_data, roles=[], actor=actor_for(request=request))
            messages.success(
                request, gettext("%(made)s can sign in, and may do nothing yet. Give a role.") % {"made": made}
            )
            return redirect("person-detail", username=made.username)
        except (AccountError, ValidationError) as error:
            form.add_error(None, str(error))
    return render(request, "people/new.html", {"form": form})


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def person_detail(request: HttpRequest, username: str) -> HttpResponse:
    """A person's roles; a post gives one, or proposes it where a second administrator must agree."""
    person = get_person_for(request, username)
    form = RoleForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        role = form.cleaned_data["role"]
        try:
            give_role(
                user=person,
                role=role,
                scope=form.scope(),
                by=request.user,
                reason=form.cleaned_data["reason"],
                actor=actor_for(request=request),
            )
            waits = role in APPROVING_ROLES
            messages.success(
                request,
                gettext("It is proposed. Another administrator must confirm it.")
                if waits
                else gettext("The role counts now."),
            )
            return redirect("person-detail", username=username)
        except AuthorityRefused as refused:
            form.add_error(None, refused.sentence)
    return render(request, "people/detail.html", _person_context(request, person, form))


def _person_context(request: HttpRequest, person: User, form: RoleForm) -> dict[str, Any]:
    past = RoleGrant.objects.filter(user=person).exclude(until=None).order_by("-until")[:20]
    return {
        "person": person,
        "form": form,
        "now": timezone.now(),
        "grants": person.live_grants,
        "past": past.select_related("granted_by", "confirmed_by"),
        "proposals": open_proposals().filter(user=person),
        "loans": loans_of(person),
        "refusal_form": RefusalForm(auto_id=False),
        "is_self": person.pk == request.user.pk,
    }


@login_required
@require_POST
def proposal_confirm(request: HttpRequest, pk: str) -> HttpResponse:
    require(request, "admin")
    proposal = get_object_or_404(RoleProposal.objects.select_related("user"), pk=pk)
    require_fresh_proof(request)
    method, auth_time = last_authentication(request) or ("session", None)
    _attempt(
        request,
        lambda: confirm_role(
            proposal_id=proposal.pk,
            by=request.user,
            auth_method=method,
            auth_time=auth_time,
            actor=actor_for(request=request),
        ),
        gettext("You confirmed it. The page says from when it counts."),
    )
    return redirect("person-detail", username=proposal.user.username)


@login_required
@require_POST
def proposal_refuse(request: HttpRequest, pk: str) -> HttpResponse:
    require(request, "admin")
    proposal = get_object_or_404(RoleProposal.objects.select_related("user"), pk=pk)
    reason = request.POST.get("reason", "")[:1000]
    _attempt(
        request,
        lambda: refuse_role(proposal_id=proposal.pk, by=request.user, reason=reason, actor=actor_for(request=request)),
        gettext("You refused it."),
    )
    return redirect("person-detail", username=proposal.user.username)


@login_required
@require_POST
def grant_end(request: HttpRequest, pk: str) -> HttpResponse:
    require(request, "admin")
    grant = get_object_or_404(RoleGrant.objects.select_related("user"), uuid=pk)
    _attempt(request, lambda: end_grant(grant=grant, actor=actor_for(request=request)), gettext("The role has ended."))
    return redirect("person-detail", username=grant.user.username)


@login_required
@require_POST
def person_deactivate(request: HttpRequest, username: str) -> HttpResponse:
    person = get_person_for(request, username)
    _attempt(
        request,
        lambda: deactivate_user(user=person, by=request.user, actor=actor_for(request=request)),
        gettext("%(person)s can't sign in any more, and has no role.") % {"person": person},
    )
    return redirect("person-detail", username=username)


@login_required
@require_POST
def person_reactivate(request: HttpRequest, username: str) -> HttpResponse:
    person = get_person_for(request, username)
    done = gettext("%(person)s can sign in again, without any role.") % {"person": person}
    _attempt(request, lambda: reactivate_user(user=person, actor=actor_for(request=request)), done)
    return redirect("person-detail", username=username)


@login_required
@require_POST
def person_sign_out(request: HttpRequest, username: str) -> HttpResponse:
    person = get_person_for(request, username)
    ended = end_sessions_of(user=person, actor=actor_for(request=request))
    said = ngettext("%(n)s session of %(person)s ended.", "%(n)s sessions of %(person)s ended.", ended) % {
        "n": ended,
        "person": person,
    }
    messages.success(request, said)
    return redirect("person-detail", username=username)


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def loan_list(request: HttpRequest) -> HttpResponse:
    """Roles that the reader lends and has borrowed; a post lends one."""
    require(request, "view" if request.method == "GET" else "role.lend")
    own = grants_that_count().filter(user=request.user).values_list("role", flat=True)
    form = LoanForm(request.POST or None, lender=request.user, roles=sorted(set(own)))
    if request.method == "POST" and form.is_valid():
        require_fresh_proof(request)
        wish = {name: form.cleaned_data[name] for name in ("borrower", "role", "starts", "ends", "reason")}
        try:
            delegate(lender=request.user, scope=form.scope(), actor=actor_for(request=request), **wish)
            messages.success(
                request, gettext("%(borrower)s holds the role in that time.") % {"borrower": wish["borrower"]}
            )
            return redirect("loan-list")
        except AuthorityRefused as refused:
            form.add_error(None, refused.sentence)
    context = {"form": form, "loans": loans_of(request.user), "lendable": form.fields["role"].choices}
    return render(request, "people/loans.html", context)


@login_required
@require_POST
def loan_end(request: HttpRequest, pk: str) -> HttpResponse:
    """The lender, the borrower or an administrator ends a loan."""
    require(request, "view")
    loan = get_object_or_404(Delegation.objects.select_related("lender", "borrower"), pk=pk)
    if request.user.pk not in (loan.lender_id, loan.borrower_id):
        require(request, "admin")
    _attempt(
        request, lambda: end_delegation(delegation=loan, actor=actor_for(request=request)), gettext("The loan is over.")
    )
    return redirect("loan-list")
