"""The one verb of erasure, and what it does to the rows of accounts."""

from collections.abc import Sequence

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib.auth.hashers import make_password
from django.db import transaction

from accounts.actions import deactivate_user
from accounts.approvals.models import Act, ApprovalDecision, BreakGlass
from accounts.approvals.redaction import forget
from accounts.errors import AccountError
from accounts.models import ApiToken, Shift, User
from audit.actions import Actor
from audit.erasure import ERASED, AlreadyErased, Erased, Written, erase_subject
from audit.holds import Held


@transaction.atomic
def erase_person(*, user: User, by: User | None, reason: str, actor: Actor) -> Erased:
    """Sign the person out everywhere, end roles and tokens, put the pseudonym for name, user name and e-mail address,
    and destroy the key of everything that they wrote. It can't be taken back. The log keeps every leaf and proof.

    `by` is the administrator, None for a program on the machine itself. Raises AccountError for oneself, for the last
    administrator, without a reason, for one who was erased before, and while a legal hold keeps the person's texts.
    """
    user = User.objects.select_for_update().get(pk=user.pk)
    if user.is_active:
        deactivate_user(user=user, by=by, actor=actor)
    try:
        return erase_subject(subject=user.pseudonym, actor=actor, reason=reason)
    except (Held, AlreadyErased, ValueError) as error:
        raise AccountError(str(error)) from error


def erase_account(subject: str, written: Sequence[Written]) -> dict[str, int]:
    """What stands in the rows of accounts about the person or in their words; counts by table."""
    quoted = {"accounts_approvalevidence": forget(written)}
    user = User.objects.filter(pseudonym=subject).first()
    if user is None:
        return quoted | _single(written)
    renamed = User.objects.filter(pk=user.pk).update(
        username=subject, first_name="", last_name="", email="", password=make_password(None), last_login=None
    )
    return {
        "accounts_user": renamed,
        "accounts_apitoken": ApiToken.objects.filter(owner=user).update(name=ERASED),
        "accounts_approvaldecision": ApprovalDecision.objects.filter(by=user).exclude(reason="").update(reason=ERASED),
        "accounts_act": Act.objects.filter(proposer=user).exclude(reason="").update(reason=ERASED),
        "accounts_breakglass": BreakGlass.objects.filter(by=user).update(reason=ERASED)
        + BreakGlass.objects.filter(reviewed_by=user).update(review_reason=ERASED),
        "accounts_shift": Shift.objects.filter(user=user).delete()[0],
        "account_emailaddress": EmailAddress.objects.filter(user=user).delete()[0],
        "mfa_authenticator": Authenticator.objects.filter(user=user).delete()[0],
        "usersessions_usersession": UserSession.objects.filter(user=user).delete()[0],
        **_outside_identities(user),
        **quoted,
    }


def _single(written: Sequence[Written]) -> dict[str, int]:
    """What stands in rows in the words of single events, whoever wrote them."""
    counts = {"accounts_approvaldecision": 0, "accounts_act": 0, "accounts_breakglass": 0}
    for one in written:
        if one.event.action == "approval.decide":
            theirs = ApprovalDecision.objects.filter(request=one.row, by__pseudonym=one.event.actor, reason=one.text)
            counts["accounts_approvaldecision"] += theirs.update(reason=ERASED)
        elif one.event.action == "act.propose":
            counts["accounts_act"] += Act.objects.filter(pk=one.row).update(reason=ERASED)
        elif one.event.action == "approval.break_glass":
            counts["accounts_breakglass"] += BreakGlass.objects.filter(request=one.row).update(reason=ERASED)
        elif one.event.action == "approval.break_glass.review":
            counts["accounts_breakglass"] += BreakGlass.objects.filter(request=one.row).update(review_reason=ERASED)
    return counts


def _outside_identities(user: User) -> dict[str, int]:
    """Identities at other providers, where signing in by them is set up."""
    from django.apps import apps

    if not apps.is_installed("allauth.socialaccount"):
        return {}
    social = apps.get_model("socialaccount", "SocialAccount")
    return {"socialaccount_socialaccount": social.objects.filter(user=user).delete()[0]}
