"""The verbs of authority: grant, propose, confirm, refuse and end a role; lend one, and end the loan."""

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now
from django.utils.translation import gettext

from accounts.authority.models import Delegation, ProposalState, Role, RoleGrant, RoleProposal
from accounts.errors import AccountError
from accounts.holdings import grants_that_count, normal_scope, within
from accounts.models import User
from accounts.permissions import APPROVING_ROLES, SCOPED_ROLES, forget_roles, may
from audit.actions import Actor, Target, record
from audit.canonical import instant
from audit.clock import database_now
from audit.english import in_english

FRESH_PROOF = datetime.timedelta(minutes=5)
PROPOSAL_STANDS = datetime.timedelta(days=7)
LONGEST_LOAN = datetime.timedelta(days=31)


class AuthorityRefused(AccountError):
    """A change of authority that is not allowed. `code` is for programs, the message is a sentence for people."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


@transaction.atomic
def grant_role(
    *, user: User, role: str, granted_by: User | None, actor: Actor, scope: dict[str, Any] | None = None
) -> RoleGrant:
    """Give a role that counts at once; giving one that is held already, for the same scope, changes nothing.

    A role on which approvals rest is given so only by a program on the machine itself (a service actor), at set-up.
    Raises AuthorityRefused with code unknown_role, bad_scope or two_people_needed.
    """
    limits = _checked(role, scope)
    if role in APPROVING_ROLES and actor.kind != "service":
        raise AuthorityRefused(
            "two_people_needed",
            gettext("The role %(label)s is proposed, and counts when another administrator confirms.")
            % {"label": _label(role)},
        )
    grant, created = RoleGrant.objects.get_or_create(
        user=user, role=role, scope=limits, until=None, defaults={"granted_by": granted_by}
    )
    if created:
        grant.refresh_from_db(fields=["since", "counts_from"])
        roles_changed(user=user)
        data = {**_facts(grant), "counts_from": instant(grant.counts_from)}
        record(action="role.grant", target=Target("user", user.pseudonym), actor=actor, data=data)
    return grant


def propose_role(
    *, user: User, role: str, proposer: User, actor: Actor, scope: dict[str, Any] | None = None, reason: str = ""
) -> RoleProposal:
    """Ask for a role that a second administrator must confirm. It can be confirmed for seven days.

    Raises AuthorityRefused with code unknown_role, bad_scope, own_role, not_an_administrator, already_held or
    already_proposed.
    """
    with transaction.atomic():
        limits = _checked(role, scope)
        if role not in APPROVING_ROLES:
            raise AuthorityRefused(
                "unknown_role",
                gettext("The role %(label)s needs no second person. Grant it.") % {"label": _label(role)},
            )
        if user.pk == proposer.pk:
            raise AuthorityRefused(
                "own_role", gettext("You can't propose a role for yourself. Ask another administrator.")
            )
        if not may(proposer, "admin"):
            raise AuthorityRefused("not_an_administrator", gettext("Only an administrator proposes roles."))
        if RoleGrant.objects.filter(user=user, role=role, scope=limits, until=None).exists():
            raise AuthorityRefused(
                "already_held",
                gettext("%(user)s has the role %(label)s already.") % {"user": user, "label": _label(role)},
            )
        User.objects.select_for_update().get(pk=user.pk)
        same = RoleProposal.objects.filter(user=user, role=role, scope=limits, state=ProposalState.OPEN)
        if same.filter(expires_at__gt=Now()).exists():
            raise AuthorityRefused(
                "already_proposed",
                gettext("The role %(label)s was proposed for %(user)s already.")
                % {"label": _label(role), "user": user},
            )
        for old in same:
            expire_proposal(proposal_id=old.pk, actor=actor)
        proposal = RoleProposal.objects.create(
            user=user, role=role, scope=limits, proposer=proposer, expires_at=database_now() + PROPOSAL_STANDS
        )
        data = {**_facts(proposal), "proposer": proposer.pseudonym}
        target = Target("role_grant", str(proposal.id))
        record(action="role.propose", target=target, actor=actor, data=data, reason=reason)
        return proposal


def give_role(
    *, user: User, role: str, scope: dict[str, Any] | None, by: User, actor: Actor, reason: str = ""
) -> RoleGrant | RoleProposal:
    """What an administrator can do alone: a grant that counts at once, or for a role that approves, its proposal.

    Raises AuthorityRefused as `grant_role` and `propose_role` do.
    """
    if role in APPROVING_ROLES:
        return propose_role(user=user, role=role, proposer=by, actor=actor, scope=scope, reason=reason)
    return grant_role(user=user, role=role, granted_by=by, actor=actor, scope=scope)


def confirm_role(
    *, proposal_id: Any, by: User, auth_method: str, auth_time: datetime.datetime | None, actor: Actor
) -> RoleGrant:
    """Make the proposed grant. It counts after it has rested for LASTGOOD_ROLE_REST_SECONDS, by the database's clock.

    Raises AuthorityRefused with code not_open, expired, own_proposal, own_role, not_an_administrator, proposer_gone or
    step_up_needed; the refusal is on record and changes nothing else.
    """
    with _on_record("role.confirm", proposal_id, by, actor):
        return _confirm(proposal_id, by, auth_method, auth_time, actor)


def _confirm(
    proposal_id: Any, by: User, auth_method: str, auth_time: datetime.datetime | None, actor: Actor
) -> RoleGrant:
    proposal = _open_proposal(proposal_id, by)
    if proposal.proposer_id == by.pk:
        raise AuthorityRefused(
            "own_proposal", gettext("You proposed this role, so another administrator must confirm it.")
        )
    if proposal.user_id == by.pk:
        raise AuthorityRefused("own_role", gettext("The role is for you, so another administrator must confirm it."))
    if not grants_that_count().filter(user=proposal.proposer_id, role=Role.ADMINISTRATOR).exists():
        raise AuthorityRefused(
            "proposer_gone", gettext("Who proposed it is no administrator any more. Propose it anew.")
        )
    now = database_now()
    if proposal.expires_at <= now:
        raise AuthorityRefused("expired", gettext("This proposal has expired. Propose the role anew."))
    if auth_time is None or now - auth_time > FRESH_PROOF:
        raise AuthorityRefused(
            "step_up_needed", gettext("Confirm who you are first: this needs a proof of the last minutes.")
        )
    _settle(proposal, ProposalState.CONFIRMED, by)
    rest = datetime.timedelta(seconds=settings.LASTGOOD_ROLE_REST_SECONDS)
    grant, created = RoleGrant.objects.get_or_create(
        user=proposal.user,
        role=proposal.role,
        scope=proposal.scope,
        until=None,
        defaults={
            "uuid": proposal.id,
            "granted_by": proposal.proposer,
            "confirmed_by": by,
            "since": now,
            "counts_from": now + rest,
        },
    )
    if not created:
        raise AuthorityRefused(
            "already_held",
            gettext("%(user)s has the role %(label)s already.")
            % {"user": proposal.user, "label": _label(proposal.role)},
        )
    roles_changed(user=proposal.user)
    data = {
        **_facts(grant),
        "by": by.pseudonym,
        "proposer": proposal.proposer.pseudonym,
        "counts_from": instant(grant.counts_from),
        "rest_seconds": int(rest.total_seconds()),
        "auth_method": auth_method,
        "auth_time": instant(auth_time),
    }
    record(action="role.confirm", target=Target("role_grant", str(grant.uuid)), actor=actor, data=data)
    return grant


def refuse_role(*, proposal_id: Any, by: User, reason: str, actor: Actor) -> None:
    """Close a proposal for good; who proposed it may take it back so.

    Raises AuthorityRefused with code not_open, not_an_administrator or reason_needed.
    """
    with _on_record("role.refuse", proposal_id, by, actor):
        proposal = _open_proposal(proposal_id, by)
        if not reason.strip():
            raise AuthorityRefused("reason_needed", gettext("Say in a sentence why you refuse it."))
        _settle(proposal, ProposalState.REFUSED, by)
        data = {"grant": str(proposal.id), "by": by.pseudonym}
        target = Target("role_grant", str(proposal.id))
        record(action="role.refuse", target=target, actor=actor, data=data, reason=reason)


@transaction.atomic
def expire_proposal(*, proposal_id: Any, actor: Actor) -> bool:
    """Close a proposal that nobody decided on in its time. False when it was decided, or still has time."""
    late = RoleProposal.objects.filter(pk=proposal_id, state=ProposalState.OPEN, expires_at__lte=Now())
    if not late.update(state=ProposalState.EXPIRED, decided_at=Now()):
        return False
    proposal = RoleProposal.objects.select_related("user").get(pk=proposal_id)
    target = Target("role_grant", str(proposal_id))
    record(action="role.expire", target=target, actor=actor, data=_facts(proposal))
    return True


@contextmanager
def _on_record(action: str, proposal_id: Any, by: User, actor: Actor) -> Iterator[None]:
    """One transaction; its refusal goes into the log in another."""
    try:
        with transaction.atomic():
            yield
    except AuthorityRefused as refused:
        data = {"grant": str(proposal_id), "by": by.pseudonym, "refused": refused.code}
        target = Target("role_grant", str(proposal_id))
        record(action=action, target=target, actor=actor, data=data, outcome="denied")
        raise


def _open_proposal(proposal_id: Any, by: User) -> RoleProposal:
    """The proposal, locked, for an administrator who decides on it."""
    forget_roles(by)
    if not may(by, "admin"):
        raise AuthorityRefused("not_an_administrator", gettext("Only an administrator decides on roles."))
    locked = RoleProposal.objects.select_for_update(of=("self",)).select_related("user", "proposer")
    proposal = locked.filter(pk=proposal_id).first()
    if proposal is None or proposal.state != ProposalState.OPEN:
        raise AuthorityRefused("not_open", gettext("This proposal was decided before. Nothing was changed."))
    return proposal


def _settle(proposal: RoleProposal, state: str, by: User) -> None:
    moved = RoleProposal.objects.filter(pk=proposal.pk, state=ProposalState.OPEN).update(
        state=state, decided_by=by, decided_at=Now()
    )
    if moved != 1:
        raise AuthorityRefused(
            "not_open", gettext("Another administrator decided at the same moment. Load the page again.")
        )


@transaction.atomic
def end_role(*, user: User, role: str, actor: Actor) -> None:
    """Take a role away from now on, in every scope. Raises AccountError when it is not held."""
    if not _end(RoleGrant.objects.filter(user=user, role=role, until=None), actor):
        raise AccountError(gettext("%(user)s does not hold the role %(role)s.") % {"user": user, "role": role})


@transaction.atomic
def end_grant(*, grant: RoleGrant, actor: Actor) -> None:
    """End one grant from now on. Raises AccountError when it was ended before."""
    if not _end(RoleGrant.objects.filter(pk=grant.pk, until=None), actor):
        raise AccountError(gettext("This role was ended before."))


def _end(grants: QuerySet[RoleGrant], actor: Actor) -> int:
    """End them, one event each, and say how many there were. The last administrator stays one."""
    ending = list(grants.select_for_update(of=("self",)).select_related("user"))
    ended = RoleGrant.objects.filter(pk__in=[grant.pk for grant in ending], until=None).update(until=Now())
    if ended != len(ending):
        raise AccountError(gettext("Somebody ended one of these roles at the same moment. Load the page again."))
    for grant in ending:
        data = {"grant": str(grant.uuid), "user": grant.user.pseudonym, "role": grant.role}
        record(action="role.end", target=Target("user", grant.user.pseudonym), actor=actor, data=data)
        borrowers = User.objects.filter(borrowed__grant=grant, borrowed__ended_at=None)
        for person in {grant.user, *borrowers}:
            roles_changed(user=person)
    by_a_person = actor.kind != "service" and any(grant.role == Role.ADMINISTRATOR for grant in ending)
    if by_a_person and not grants_that_count().filter(role=Role.ADMINISTRATOR).exists():
        raise AuthorityRefused(
            "last_administrator", gettext("Somebody must stay administrator. Make another one first.")
        )
    return len(ending)


def delegate(
    *,
    lender: User,
    borrower: User,
    role: str,
    starts: datetime.datetime,
    ends: datetime.datetime,
    actor: Actor,
    scope: dict[str, Any] | None = None,
    reason: str = "",
) -> Delegation:
    """Lend a role that the lender holds by a grant of their own, from `starts` to `ends`, at most 31 days.

    What was lent can't be lent on. Raises AuthorityRefused with code not_lendable, to_oneself, bad_time, bad_scope,
    not_held or already_held.
    """
    with transaction.atomic():
        if role not in SCOPED_ROLES:
            raise AuthorityRefused(
                "not_lendable", gettext("The role %(label)s can't be lent.") % {"label": _label(role)}
            )
        if lender.pk == borrower.pk or not borrower.is_active:
            raise AuthorityRefused("to_oneself", gettext("Lend a role to another person who can sign in."))
        now = database_now()
        if not now < ends or not starts < ends or ends - max(starts, now) > LONGEST_LOAN:
            raise AuthorityRefused("bad_time", gettext("A loan ends after it starts, in the future, within 31 days."))
        limits = _checked(role, scope)
        own = grants_that_count().select_for_update(of=("self",)).filter(user=lender, role=role)
        grant = next((grant for grant in own.order_by("pk") if within(limits, grant.scope)), None)
        if grant is None:
            raise AuthorityRefused(
                "not_held",
                gettext("You hold no role %(label)s of your own that covers this.") % {"label": _label(role)},
            )
        if grants_that_count().filter(user=borrower, role=role, scope={}).exists():
            raise AuthorityRefused(
                "already_held",
                gettext("%(borrower)s holds the role %(label)s anyway.")
                % {"borrower": borrower, "label": _label(role)},
            )
        loan = Delegation.objects.create(
            grant=grant, lender=lender, borrower=borrower, role=role, scope=limits, starts=max(starts, now), ends=ends
        )
        roles_changed(user=borrower)
        data = {
            "delegation": str(loan.id),
            "grant": str(grant.uuid),
            "from": lender.pseudonym,
            "to": borrower.pseudonym,
            "role": role,
            "scope": limits,
            "starts": instant(loan.starts),
            "ends": instant(loan.ends),
        }
        target = Target("delegation", str(loan.id))
        record(action="delegation.create", target=target, actor=actor, data=data, reason=reason)
        return loan


@transaction.atomic
def end_delegation(*, delegation: Delegation, actor: Actor) -> None:
    """End a loan before its time. Raises AccountError when it is over."""
    if not Delegation.objects.filter(pk=delegation.pk, ended_at=None, ends__gt=Now()).update(ended_at=Now()):
        raise AccountError(gettext("This loan is over."))
    roles_changed(user=delegation.borrower)
    data = {
        "delegation": str(delegation.pk),
        "from": delegation.lender.pseudonym,
        "to": delegation.borrower.pseudonym,
        "role": delegation.role,
    }
    record(action="delegation.end", target=Target("delegation", str(delegation.pk)), actor=actor, data=data)


@transaction.atomic
def roles_changed(*, user: User) -> None:
    """Pages that the user has open are out of date; and when that will next be so by the passing of time alone."""
    now = database_now()
    grants = RoleGrant.objects.filter(user=user, until=None, counts_from__gt=now).values_list("counts_from", flat=True)
    loans = Delegation.objects.filter(borrower=user, ended_at=None, ends__gt=now).values_list("starts", "ends")
    ahead = [*grants, *(moment for loan in loans for moment in loan if moment > now)]
    User.objects.filter(pk=user.pk).update(
        permission_epoch=F("permission_epoch") + 1, roles_change_at=min(ahead, default=None)
    )
    forget_roles(user)


def _checked(role: str, scope: dict[str, Any] | None) -> dict[str, list[str]]:
    if role not in Role.values:
        raise AuthorityRefused(
            "unknown_role",
            gettext("There is no role %(role)s. The roles are: %(names)s.")
            % {"role": role, "names": ", ".join(Role.values)},
        )
    try:
        limits = normal_scope(scope)
    except ValueError as error:
        raise AuthorityRefused("bad_scope", str(error)) from None
    if limits and role not in SCOPED_ROLES:
        raise AuthorityRefused(
            "bad_scope",
            gettext("The role %(label)s holds everywhere; leave teams and models empty.") % {"label": _label(role)},
        )
    return limits


def _facts(grant: RoleGrant | RoleProposal) -> dict[str, Any]:
    ref = grant.uuid if isinstance(grant, RoleGrant) else grant.pk
    return {"grant": str(ref), "user": grant.user.pseudonym, "role": grant.role, "scope": grant.scope}


def _label(role: str) -> str:
    return in_english(Role(role).label).lower() if role in Role.values else role[:20]
